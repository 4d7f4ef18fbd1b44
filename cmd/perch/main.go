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

	"github.com/perch-k8s/perch/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: working directory:", err)
		return 1
	}
	interrupts := make(chan os.Signal, 2) // two, so that the second is not lost while the first is handled
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return cli.Run(context.Background(), cli.Env{
		In:          os.Stdin,
		Out:         os.Stdout,
		Err:         os.Stderr,
		Environ:     os.Environ(),
		WorkDir:     dir,
		UID:         os.Geteuid(),
		Now:         time.Now,
		Interrupts:  interrupts,
		FreeSignals: func() { signal.Stop(interrupts) },
		ExitAtOnce:  os.Exit,
	}, os.Args[1:])
}
