package e2e

import (
	"net"
	"strings"
	"testing"
)

// testRefused gives perch what it cannot work with. Each must be refused with its exit code, what is wrong, and what to do
// about it; nothing may be half done.
func testRefused(t *testing.T, n *node) {
	const port = "@PORT@" // taken by this test
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, number, _ := net.SplitHostPort(taken.Addr().String())
	cases := []struct {
		name    string
		compose string
		files   map[string]string
		args    []string
		code    int
		says    []string
	}{
		{
			name: "no compose file", code: 11,
			says: []string{"compose.yaml"},
		},
		{
			name: "invalid YAML", code: 11,
			compose: "services:\n  web:\n    image: busybox:1.36\n   command: [sh\n",
			says:    []string{"compose.yaml:4"},
		},
		{
			name: "unknown key", code: 11,
			compose: "services:\n  web:\n    image: busybox:1.36\n    port:\n      - 80\n",
			says:    []string{"compose.yaml:4", `"port"`, `"ports"`},
		},
		{
			name: "several mistakes at once", code: 11,
			compose: "services:\n  web:\n    imagee: busybox:1.36\n  two:\n    image: busybox:1.36\n    commnd: sh\n",
			says:    []string{"compose.yaml:3", "compose.yaml:6", `"image"`, `"command"`},
		},
		{
			name: "missing variable", code: 11,
			compose: "services:\n  web:\n    image: busybox:${TAG_OF_E2E:?say which}\n",
			says:    []string{"compose.yaml:3", "TAG_OF_E2E", "say which"},
		},
		{
			name: "unknown service", code: 2,
			compose: "services:\n  web:\n    image: busybox:1.36\n",
			args:    []string{"up", "-d", "wbe"},
			says:    []string{`"wbe"`},
		},
		{
			name: "failing build", code: 10,
			compose: "services:\n  web:\n    build: .\n",
			files:   map[string]string{"Dockerfile": "FROM busybox:1.36\nRUN echo the last words && exit 3\n"},
			says:    []string{"Dockerfile:2", "the last words", "exit code 3", `"web"`},
		},
		{
			name: "failing Go build", code: 10,
			compose: "services:\n  web:\n    build: .\n",
			files:   map[string]string{"go.mod": "module example.com/broken\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { undefinedHere() }\n"},
			says:    []string{"main.go:3", "undefinedHere", `"web"`},
		},
		{
			name: "no such image", code: 10,
			compose: "services:\n  web:\n    image: registry.invalid/nobody/nothing:1\n",
			says:    []string{"registry.invalid/nobody/nothing:1"},
		},
		{
			name: "port taken on the host", code: 1,
			compose: "services:\n  web:\n    image: busybox:1.36\n    command: httpd -f\n    ports: [\"" + port + ":80\"]\n",
			says:    []string{number, `"web"`},
		},
		{
			name: "unknown flag", code: 2,
			compose: "services:\n  web:\n    image: busybox:1.36\n",
			args:    []string{"up", "--detatch"},
			says:    []string{"--detatch"},
		},
		{
			name: "unknown job", code: 2,
			compose: "services:\n  web:\n    image: busybox:1.36\n",
			args:    []string{"run", "nothing"},
			says:    []string{`"nothing"`},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			name := "refused-" + strings.ReplaceAll(strings.ToLower(c.name), " ", "-")
			p := n.project(t, name, c.files)
			p.write(t, "README", "a folder with something in it")
			if c.compose != "" {
				p.write(t, "compose.yaml", strings.ReplaceAll(c.compose, port, number))
			}
			args := c.args
			if args == nil {
				args = []string{"up", "-d"}
			}
			r := n.exec(t.Context(), command{dir: p.dir, args: args})
			t.Log(r) // to be read with -v: whether an error is clear is for people to judge
			if n.namespaceExists(t, name) {
				t.Errorf("something was deployed: %v", n.shape(t, name))
			}
			if r.code != c.code {
				t.Errorf("wanted exit code %d: %s", c.code, r)
			}
			wantText(t, r.stderr, append(c.says, "error: ", "hint: ")...)
			if lines := strings.Count(r.stderr, "error: "); c.name != "several mistakes at once" && lines != 1 {
				t.Errorf("there are %d errors:\n%s", lines, r.stderr)
			}
		})
	}
}
