// Command kube-native is the reference application of Perch: a small web page over PostgreSQL, written as a team would
// write one for Kubernetes. It shows which of its pods answered, which sisters that pod sees, and rows that all share.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/perch-k8s/perch/examples/kube-native/internal/command"
)

// version is set by the linker: -ldflags "-X main.version=1a2b3c4". Empty: the version control stamp of the build.
var version string

func main() {
	// Kubernetes and Compose both ask by SIGTERM; Ctrl-C sends SIGINT. A second signal ends the process at once,
	// since stop puts the default action back when the first one came.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	code := command.Run(ctx, command.Process{
		Args:    os.Args[1:],
		Getenv:  os.Getenv,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Version: version,
	})
	stop()
	os.Exit(code)
}
