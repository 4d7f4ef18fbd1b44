package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestToolsAct(t *testing.T) {
	t.Parallel()
	cases := []struct {
		how  func([]string) string
		line string
		want string
	}{
		{kubectlActs, "", ""},
		{kubectlActs, "config use-context prod", ""},
		{kubectlActs, "get pods", actReads},
		{kubectlActs, "auth can-i create pods", actReads},
		{kubectlActs, "auth reconcile -f x", actChanges},
		{kubectlActs, "rollout status deployment/web", actReads},
		{kubectlActs, "rollout restart deployment/web", actChanges},
		{kubectlActs, "delete pod web", actChanges},
		{kubectlActs, "exec web -- ls", actChanges},
		{kubectlActs, "some-plugin get", actChanges},
		{helmActs, "repo add x y", ""},
		{helmActs, "list -A", actReads},
		{helmActs, "get values web", actReads},
		{helmActs, "uninstall web", actChanges},
	}
	for _, c := range cases {
		if got := c.how(strings.Fields(c.line)); got != c.want {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}

// TestToolsName: the cluster that kubectl's and helm's own flags name is the one that is guarded.
func TestToolsName(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config")
	content := `{apiVersion: v1, kind: Config, current-context: one, contexts: [{name: one, context: {cluster: a, user: u}}, {name: two, context: {cluster: b, user: u}}],
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}, {name: b, cluster: {server: "https://127.0.0.1:2"}}], users: [{name: u, user: {token: t}}]}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		tool, line    string
		context, host string
		acts          string
	}{
		{"kubectl", "get pods", "one", "https://127.0.0.1:1", actReads},
		{"kubectl", "-n shop --context two delete pod web", "two", "https://127.0.0.1:2", actChanges},
		{"kubectl", "delete pod web --context=two", "two", "https://127.0.0.1:2", actChanges},
		{"kubectl", "exec web -- get --context two", "one", "https://127.0.0.1:1", actChanges},
		{"kubectl", "create deployment web --dry-run=client", "one", "https://127.0.0.1:1", actReads},
		{"kubectl", "delete pod web -s https://127.0.0.1:3", "one", "https://127.0.0.1:3", actChanges},
		{"kubectl", "get pods --context three", "", "", ""}, // kubectl itself will say so
		{"helm", "uninstall web --kube-context two", "two", "https://127.0.0.1:2", actChanges},
		{"helm", "list", "one", "https://127.0.0.1:1", actReads},
		{"helm", "template x", "", "", ""},
	}
	for _, c := range cases {
		args := append(strings.Fields(c.line), "--kubeconfig", file)
		if i := strings.Index(c.line, " -- "); i >= 0 {
			args = append([]string{"--kubeconfig", file}, strings.Fields(c.line)...)
		}
		use := helmUse(Env{}, args)
		if c.tool == "kubectl" {
			use = kubectlUse(toolTarget{}, args)
		}
		host := ""
		if use.config != nil {
			host = use.config.Host
		}
		if use.context != c.context || host != c.host || use.acts != c.acts {
			t.Errorf("%s %s: %q of %q at %q", c.tool, c.line, use.acts, use.context, host)
		}
	}
}

// TestCommandsSayHowTheyAct: a new command of the app is guarded, or is named here.
func TestCommandsSayHowTheyAct(t *testing.T) {
	t.Parallel()
	free := map[string]bool{"config": true, "target": true, "secrets": true}
	root := (&app{globals: newGlobals()}).root()
	for _, c := range root.Commands() {
		if c.GroupID == groupApp && c.Annotations[actsKey] == "" && !free[c.Name()] {
			t.Errorf("%s: does it read or change the cluster?", c.Name())
		}
	}
	if up, _, err := root.Find([]string{"up"}); err != nil || up.Annotations[actsKey] != actChanges {
		t.Errorf("up: %v", err)
	}
}
