package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// collect writes what one wants to read after a failure: what was said, the node's logs, the objects and their events.
// It does what it can and fails nothing.
func (u *user) collect(ctx context.Context, t *testing.T) {
	write := func(name, text string) {
		path := filepath.Join(u.artifacts, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Log(err)
			return
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Log(err)
		}
	}
	write("said.txt", strings.Join(u.said.all(), "\n"))
	status := u.exec(ctx, command{args: []string{"cluster", "status"}})
	write("status.txt", status.String())
	if status.code == 0 {
		for name, args := range map[string][]string{
			"objects.yaml": {"kubectl", "get", "all,configmaps,persistentvolumeclaims,persistentvolumes,leases,nodes", "-A", "-o", "yaml"},
			"objects.txt":  {"kubectl", "get", "all,configmaps,secrets,persistentvolumeclaims,persistentvolumes,nodes", "-A", "-o", "wide"},
			"events.txt":   {"kubectl", "events", "-A"},
			"releases.txt": {"helm", "list", "-A"},
		} {
			r := u.exec(ctx, command{args: args})
			write(name, r.stdout+r.stderr)
		}
	}
	logs, _ := filepath.Glob(filepath.Join(u.state, "*", "log", "*"))
	for _, log := range logs {
		if data, err := os.ReadFile(log); err == nil {
			write(filepath.Join("log", filepath.Base(log)), string(data))
		}
	}
	t.Logf("to read: %s", u.artifacts)
}
