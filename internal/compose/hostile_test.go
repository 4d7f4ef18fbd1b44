package compose_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perch-k8s/perch/internal/compose"
)

// TestHostileFiles: what no person writes is refused with a line, and in time; see testdata/hostile-*.txtar for what people do.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	laughs := "x-a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
	merges := "x-a0: &a0 {a: 1}\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("x-a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
		merges += fmt.Sprintf("x-a%d: &a%d {<<: [%s]}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	cases := map[string]struct{ content, want string }{
		"empty":             {"", "compose.yaml:1: the file is empty"},
		"a comment":         {"# nothing\n", "compose.yaml:1: the file is empty"},
		"two documents":     {one + "---\nservices: {web: {imag: x}}\n", `compose.yaml:3: service "web": unknown key "imag"`},
		"binary":            {"\x00\x01\x02\xff\xfe services:", "compose.yaml:1: invalid YAML"},
		"UTF-16":            {"\xff\xfes\x00e\x00r\x00\n\x00", "compose.yaml:1: "},
		"bad UTF-8":         {"services:\n  web:\n    image: \"\xc3\x28\"\n", "invalid YAML"},
		"a list":            {"- a\n- b\n", "compose.yaml:1: a Compose file is a mapping, not a list"},
		"a word":            {"services", "compose.yaml:1: a Compose file is a mapping, not a string"},
		"tabs":              {"services:\n\tweb:\n\t\timage: x\n", "compose.yaml:2: invalid YAML"},
		"brackets":          {"services: " + strings.Repeat("[", 100_000), "compose.yaml:1: "},
		"nested":            {"services: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000), "compose.yaml:1: nested too deep"},
		"nested in x-":      {one + "x-a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "compose.yaml:2: nested too deep"},
		"billion laughs":    {laughs + one, "the anchors of this file stand for too much"},
		"billion merges":    {merges + "services:\n  web: {image: x, labels: {<<: *a11}}\n", "the anchors of this file stand for too much"},
		"too big":           {"# " + strings.Repeat("x", 8<<20), "compose.yaml: cannot be read: it is bigger than 8MiB"},
		"one long line":     {"services: {web: {imag: " + strings.Repeat("x", 1<<20) + "}}", `compose.yaml:1: service "web": unknown key "imag"`},
		"many services":     {"services:\n" + strings.Repeat("  web: {image: x}\n", 5000), `compose.yaml:3: services: key "web" is there twice, first on line 2`},
		"control character": {"services:\n  web: {image: \"a\x07b\"}\n", "invalid YAML"},
		"unknown anchor":    {"services: {web: *nothing}", "compose.yaml:1: invalid YAML"},
		"null":              {"~", "compose.yaml:1: a Compose file is a mapping, not empty"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{"compose.yaml": c.content})
			started := time.Now()
			_, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, Embedded: true})
			var problems compose.Problems
			if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %.300v, want %q", err, c.want)
			}
			if problems[0].Line == 0 && !strings.Contains(c.want, "cannot be read") {
				t.Errorf("no line: %+v", problems[0])
			}
			if took := time.Since(started); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestOddButFine: files that editors and systems make, and that are no mistake.
func TestOddButFine(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"byte order mark":  "\xef\xbb\xbf" + one,
		"CRLF":             "services:\r\n  web:\r\n    image: one\r\n",
		"no newline":       "services: {web: {image: one}}",
		"document markers": "---\n" + one + "...\n",
		"quoted":           `{"services": {"web": {"image": "one"}}}`,
		"a merged anchor":  "x-a: &a {image: one}\nservices: {web: {<<: *a}}\n",
		"merge of several": "x-a: &a {image: two}\nx-b: &b {restart: always}\nservices: {web: {<<: [*b, *a], image: one}}\n",
		"missing folder":   "services: {web: {image: one, build: ./nowhere}}\n",
	}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := load(t, compose.Options{WorkingDir: folder(t, map[string]string{"compose.yaml": content})})
			if got := p.Project.Services["web"].Image; got != "one" {
				t.Errorf("image %q", got)
			}
		})
	}
}

// TestAllAtOnce: the mistakes of several files, given with -f and on standard input, of an .env and an env file.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		".env": "A=1\n'bad\n", "app.env": "B=1\nC D\n",
		"a.yaml": "services:\n  web:\n    image: ${NOT_SET:?}\n    ports: [x]\n    env_file: app.env\n",
		"b.yaml": "services:\n  web:\n    restart: perhaps\n    depends_on: [db]\n",
	})
	o := compose.Options{
		WorkingDir: dir, Files: []string{"a.yaml", "b.yaml", "-"}, ProjectName: "Bad Name", Environment: map[string]string{},
		Stdin: strings.NewReader("services:\n  web:\n    user: [x]\n"),
	}
	_, err := compose.Load(t.Context(), o)
	want := []string{".env:", "Bad Name", "a.yaml:4", "b.yaml:3", "b.yaml:4", "<stdin>:3", "app.env:2"}
	text := fmt.Sprint(err)
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("nothing of %s in\n%s", part, text)
		}
	}
	if strings.Contains(text, "NOT_SET") {
		t.Errorf("a variable is asked for that may be in the .env that cannot be read:\n%s", text)
	}
	o.Files = []string{"a.yaml", "nowhere.yaml", "."}
	_, err = compose.Load(t.Context(), o)
	for _, part := range []string{"nowhere.yaml: cannot be read: no such file or directory", ".: cannot be read: it is a folder"} {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("nothing of %q in\n%v", part, err)
		}
	}
}

// TestFilesThatNeverEnd: a Compose file that names a device, a folder or a pipe where a file is wanted.
func TestFilesThatNeverEnd(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/dev/zero", "."} {
		dir := folder(t, map[string]string{"compose.yaml": fmt.Sprintf(`
include: [%[1]q]
services:
  web:
    image: x
    env_file: %[1]q
    label_file: %[1]q
    secrets: [s]
    configs: [c]
  more:
    extends: {file: %[1]q, service: x}
secrets:
  s: {file: %[1]q}
configs:
  c: {file: %[1]q}
`, path)})
		if err := os.Symlink("/dev/zero", filepath.Join(dir, ".env")); err != nil {
			t.Fatal(err)
		}
		_, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, Embedded: true})
		var problems compose.Problems
		if !errors.As(err, &problems) || len(problems) != 7 {
			t.Errorf("%s: %d problems, want 7: %v", path, len(problems), err)
		}
	}
}
