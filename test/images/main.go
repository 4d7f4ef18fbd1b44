// Command images builds the base images of the demo and the tests where no registry can be reached: archives in the form
// of "docker save", for "perch image load". What is in them comes from Debian's packages and from the Go of this machine.
// It needs no root: the files of a package go from its archive straight into the layer.
//
//	go run ./test/images -o .cache/images postgres:15 golang:1.26 busybox:1.36 conformance.test/agnhost:2.66.1
//
// It must not be part of the product, and nothing it makes is meant for production.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	folder := flags.String("o", ".cache/images", "folder for the archives and for what was downloaded")
	mirror := flags.String("mirror", "", "`URL` of a Debian archive; empty is the one that this machine's apt uses")
	update := flags.Bool("update", false, "fetch the mirror's package lists again")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("which images? there are %s", strings.Join(recipeNames(), ", "))
	}
	dir, err := filepath.Abs(*folder)
	if err != nil {
		return err
	}
	unlock, err := lock(dir, out)
	if err != nil {
		return err
	}
	defer unlock()
	if *mirror == "" {
		if *mirror, err = hostMirror("/etc/apt"); err != nil {
			return err
		}
	}
	debian, err := newApt(ctx, filepath.Join(dir, "apt"), *mirror)
	if err != nil {
		return err
	}
	if *update || !debian.hasLists() {
		fmt.Fprintf(out, "fetching package lists of Debian %s\n", suite)
		if err := debian.update(ctx); err != nil {
			return err
		}
	}
	var problems []error
	for _, name := range flags.Args() {
		if err := buildOne(ctx, debian, dir, name, out); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// lock waits until no other run uses the folder.
func lock(dir string, out io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		fmt.Fprintf(out, "waiting for another build in %s\n", dir)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// buildOne makes one archive unless there is one already that was made from the same inputs.
func buildOne(ctx context.Context, debian *apt, dir, name string, out io.Writer) error {
	start := time.Now()
	recipe, err := findRecipe(name)
	if err != nil {
		return err
	}
	in, err := recipe.inputs(ctx, dir, name)
	if err != nil {
		return err
	}
	key, err := stamp(debian, name, in)
	if err != nil {
		return err
	}
	target := filepath.Join(dir, archiveName(name))
	if old, err := os.ReadFile(target + ".stamp"); err == nil && string(old) == key {
		if _, err := os.Stat(target); err == nil {
			fmt.Fprintf(out, "%s is up to date: %s\n", name, target)
			return nil
		}
	}
	fmt.Fprintf(out, "building %s\n", name)
	size, err := writeArchive(ctx, debian, target, name, recipe, in)
	if err != nil {
		return err
	}
	// Again: newer package lists may have been needed on the way.
	if key, err = stamp(debian, name, in); err != nil {
		return err
	}
	if err := os.WriteFile(target+".stamp", []byte(key), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "built %s in %s, %d MB: %s\n", name, time.Since(start).Round(100*time.Millisecond), size>>20, target)
	return nil
}

// archiveName of "postgres:15" is "postgres-15.tar".
func archiveName(image string) string {
	return strings.NewReplacer(":", "-", "/", "-").Replace(image) + ".tar"
}
