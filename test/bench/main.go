// Command bench measures perch as a user meets it: it runs the binary, asks the page, and looks at processes. It prints a
// table of medians and writes all figures as JSON. It works in a cluster of its own, which it deletes at the end, and on
// a copy of the example. It must not be part of the product, and knows of it nothing but its command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	perch   string // the binary
	example string // folder of examples/kube-native
	images  string // script that loads base images into the cluster
	peer    string // folder of the programs that perch stands beside
	script  string // what starts them
	rounds  int
	only    string // names of steps, with commas; "": all
	json    string // file to write; "": none
}

func run(ctx context.Context, args []string) (err error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.perch, "perch", "bin/perch", "the `program` to measure")
	flags.StringVar(&s.example, "example", "examples/kube-native", "`folder` of the example")
	flags.StringVar(&s.images, "images", "tools/images.sh", "`script` that loads the base images")
	flags.StringVar(&s.peer, "peer", ".cache/tools/peer", "`folder` of the same components as programs")
	flags.StringVar(&s.script, "peer-script", "test/bench/peer/up.sh", "`script` that starts those")
	flags.IntVar(&s.rounds, "rounds", 5, "how `often` each thing is measured")
	flags.StringVar(&s.only, "only", "", "measure only these `steps`, with commas, as \"start,images,rollouts under load\"")
	flags.StringVar(&s.json, "json", "", "`file` for all figures")
	if err := flags.Parse(args); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "perch-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for _, path := range []*string{&s.perch, &s.example, &s.images, &s.peer, &s.script} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	app, err := copyExample(ctx, s.example, filepath.Join(work, "kube-native"))
	if err != nil {
		return err
	}
	b := &bench{
		perch:    program{path: s.perch, dir: app.dir, env: append(os.Environ(), "KUBECONFIG="+filepath.Join(work, "kubeconfig"), "PERCH_CLUSTER="+clusterName)},
		app:      app,
		images:   s.images,
		programs: s.peer,
		script:   s.script,
		rounds:   s.rounds,
		only:     strings.FieldsFunc(s.only, func(r rune) bool { return r == ',' }),
		proc:     procFS("/proc"),
		log:      os.Stderr,
	}
	report := b.all(ctx)
	report.table(os.Stdout)
	if s.json != "" {
		if err := report.write(s.json); err != nil {
			return err
		}
	}
	return report.failure()
}
