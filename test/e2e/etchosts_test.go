package e2e

import (
	"path/filepath"
	"testing"
)

// TestEtcHosts starts the cluster where /etc/hosts is not what it is elsewhere: containerd makes no pod without one.
func TestEtcHosts(t *testing.T) {
	for name, change := range map[string]string{
		"missing": "rm hosts", "a link to nowhere": "ln -sf /nowhere hosts",
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, "h")
			before := u.mustLook(t)
			// A machine of its own, as far as /etc goes: a mount namespace, in which the cluster stays.
			u.want(t, 0, command{program: "unshare", args: []string{"--mount", "sh", "-ec", `
				cp -a /etc "$1" && cd "$1" && eval "$2"
				mount --bind "$1" /etc
				exec "$3" cluster start`, "sh", filepath.Join(u.dir, "etc"), change, u.program}})
			n := u.connect(t)
			n.load(t, "busybox:1.36")
			n.pod(t, "default", "one", "containers: [{command: [sleep, '1000']}]")
			got, err := n.run(t.Context(), "default", "one", "cat", "/etc/hosts")
			if err != nil {
				t.Fatal(err)
			}
			wantText(t, got, "127.0.0.1\tlocalhost", "\tone")
			seen := u.inside()
			u.perch(t, "", "cluster", "delete", "--yes")
			u.deleted(t, before, seen)
		})
	}
}
