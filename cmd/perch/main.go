// Command perch is `docker compose up`, but it is Kubernetes. It hands its arguments, streams and signals to package
// cli, and exits with the code that it answers. Nothing else.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/perch-k8s/perch/internal/cli"
	"github.com/perch-k8s/perch/internal/node/roles"
)

// version is Perch's own version, set by the linker (tools/ldflags.sh); "" in a build without that.
var version string //nolint:gochecknoglobals // the linker can set nothing else

func main() {
	if len(os.Args) > 2 && os.Args[1] == "node" {
		os.Exit(part(os.Args[2], os.Args[3:]))
	}
	os.Exit(run())
}

// part is what this program is when it has started itself as a part of the node. Nothing of the command line is built:
// a node starts several of them, and each millisecond counts.
func part(role string, args []string) int {
	if err := roles.Main(context.Background(), role, args); err != nil {
		fmt.Fprintf(os.Stderr, "perch node %s: %v\n", role, err)
		return 1
	}
	return 0
}

func run() int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: working directory:", err)
		return 1
	}
	executable, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: path of this program:", err)
		return 1
	}
	// Kubernetes' packages put flags of theirs here as they are linked in, and cobra would offer those with every command.
	pflag.CommandLine = pflag.NewFlagSet("perch", pflag.ContinueOnError)
	interrupts := make(chan os.Signal, 2) // two, so that the second is not lost while the first is handled
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return cli.Run(context.Background(), cli.Env{
		In:          os.Stdin,
		Out:         os.Stdout,
		Err:         os.Stderr,
		Environ:     os.Environ(),
		WorkDir:     dir,
		Executable:  executable,
		Version:     version,
		Now:         time.Now,
		Interrupts:  interrupts,
		FreeSignals: func() { signal.Stop(interrupts) },
		ExitAtOnce:  os.Exit,
	}, os.Args[1:])
}
