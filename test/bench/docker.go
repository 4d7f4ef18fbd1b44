package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// The names of docker compose's figures, and of those of perch that they stand beside.
const (
	dockerUp      = "docker compose up -d, images built, nothing deployed: page answers"
	dockerChanged = "docker compose up -d --build, one changed line of Go: page answers"
	nodeUp        = "up, node runs, nothing deployed: page answers"
	nodeChanged   = "up, one changed line of Go: page answers"
)

// docker measures what perch stands beside: the same application, and the same change, by docker compose, where a Docker
// engine is there.
func (b *bench) docker(ctx context.Context, r *report) (err error) {
	docker := program{path: "docker", dir: b.app.dir, env: os.Environ()}
	if _, err := docker.run(ctx, "info"); err != nil {
		fmt.Fprintln(b.log, "bench: no Docker engine here, so nothing to stand beside")
		return nil
	}
	if err := b.down(ctx); err != nil { // both publish the same port
		return err
	}
	compose := docker.with("compose")
	down := func(ctx context.Context) error { return errOf(compose.run(ctx, "down", "--volumes")) }
	defer func() { err = errors.Join(err, down(context.WithoutCancel(ctx))) }()
	up := compose.with("up", "--detach", "--scale", "web=1") // one container can have the port
	if _, err := up.run(ctx, "--build"); err != nil {
		return err
	}
	for range b.rounds {
		if err := down(ctx); err != nil {
			return err
		}
		if err := b.dockerUp(ctx, r, up); err != nil {
			return err
		}
	}
	err = b.eachChange(ctx, r, dockerChanged, func() error { return errOf(up.run(ctx, "--build")) }, nil)
	r.compare(nodeUp, dockerUp)
	r.compare(nodeChanged, dockerChanged)
	return err
}

// dockerUp measures up of the built application where nothing of it is there.
func (b *bench) dockerUp(ctx context.Context, r *report, up program) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("nothing after %s", patient))
	defer cancel()
	began := time.Now()
	if _, err := up.run(ctx); err != nil {
		return err
	}
	seen, err := watch(ctx, "")
	if err != nil {
		return err
	}
	r.seconds(dockerUp, seen.at.Sub(began))
	return nil
}
