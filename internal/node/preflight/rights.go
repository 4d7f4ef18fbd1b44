package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/node/sandbox"
)

func checkRights(_ context.Context, m Machine) Finding {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return unknown(err)
	}
	return judgeRights(m.UID, string(status))
}

// judgeRights takes the text of /proc/self/status.
func judgeRights(uid int, status string) Finding {
	if uid != 0 {
		return warn(fmt.Sprintf("user %d is not root, which cluster start, build and up need; what only root can see was not looked at", uid), "sudo perch doctor")
	}
	var lost []string
	for _, c := range []struct {
		name string
		bit  uint
	}{{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT}, {"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}, {"CAP_MKNOD", unix.CAP_MKNOD}} {
		if !sandbox.HasCapability(status, c.bit) {
			lost = append(lost, c.name)
		}
	}
	if len(lost) > 0 {
		return missing("root lacks "+strings.Join(lost, ", ")+", as in a container", "run it on the machine itself, or in a container that is privileged")
	}
	return ok("root, with what the node needs")
}

func checkKubeconfig(_ context.Context, m Machine) Finding {
	if m.Kubeconfig == "" {
		return ok("none: the context is written nowhere")
	}
	err := writable(m.Kubeconfig)
	return judgeKubeconfig(m.Kubeconfig, err, variable(m.Environ, "SUDO_USER"), m.UID)
}

// judgeKubeconfig takes why the file could not be written, and who called sudo.
func judgeKubeconfig(file string, err error, caller string, uid int) Finding {
	if err != nil {
		return warn(fmt.Sprintf("the context cannot be written: %v", err), "set KUBECONFIG to a file that you may write")
	}
	if uid == 0 && caller != "" && caller != "root" && strings.HasPrefix(file, "/root/") {
		return warn(fmt.Sprintf("the context goes into %s, where kubectl of user %s does not look", file, caller),
			"sudo --preserve-env=HOME,KUBECONFIG perch …, or: sudo perch cluster kubeconfig > perch.kubeconfig")
	}
	return ok(file + " can be written; contexts of others in it are left alone")
}

// writable says why a file could not be written, or made with the folders above it.
func writable(path string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if path, err = existingParent(filepath.Dir(path)); err != nil {
			return err
		}
	}
	if err := unix.Access(path, unix.W_OK); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// variable is the value of a variable in an environment, "" when it has none.
func variable(environ []string, name string) string {
	value := ""
	for _, entry := range environ {
		if key, v, found := strings.Cut(entry, "="); found && key == name {
			value = v
		}
	}
	return value
}
