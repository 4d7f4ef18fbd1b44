package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// bench holds what the measurements share.
type bench struct {
	perch  program
	app    app
	images string
	// What perch stands beside: the folder of its programs, and the script that starts them.
	programs, script string
	rounds           int
	only             []string // names of steps; empty: all
	proc             procFS
	log              io.Writer
}

const (
	settle  = 20 * time.Second // after the last change, before an idle platform is looked at
	window  = 10 * time.Second // how long it is looked at, in each round
	patient = 3 * time.Minute  // for one deploy; more is a fault
)

// all measures one thing after another. What fails is in the report; the rest goes on if it can.
func (b *bench) all(ctx context.Context) *report {
	r := &report{Rounds: b.rounds}
	defer func() {
		_, err := b.perch.run(context.WithoutCancel(ctx), "cluster", "delete", "--yes")
		r.fail("delete the cluster", err)
	}()
	steps := []struct {
		name    string
		measure func(context.Context, *report) error
	}{
		{"start", b.starts},
		{"time to k8s", b.timeToK8s},
		{"idle node", b.idleNode},
		{"replicas", b.replicas},
		{"kills", b.kills},
		{"images", b.prepare},
		{"up with no cluster", b.upFromNothing},
		{"up on a running node", b.upOnNode},
		{"up unchanged", b.upUnchanged},
		{"one changed line", b.upChanged},
		{"rollouts under load", b.rollouts},
		{"idle with the example", func(ctx context.Context, r *report) error { return b.idle(ctx, r, "node with the example") }},
		{"many services unchanged", b.manyUnchanged},
		{"watch rebuild", b.watchRebuild},
		{"watch sync", b.watchSync},
		{"docker compose", b.docker},
		{"time to k8s apart", b.peerTimeToK8s},
		{"idle node apart", b.peerIdle},
	}
	for _, step := range steps {
		if len(b.only) > 0 && !slices.Contains(b.only, step.name) {
			continue
		}
		fmt.Fprintf(b.log, "bench: %s\n", step.name)
		r.fail(step.name, step.measure(ctx, r))
		if ctx.Err() != nil {
			break
		}
	}
	return r
}

// starts measures `cluster start` where nothing is, and when each part was ready.
func (b *bench) starts(ctx context.Context, r *report) error {
	for range b.rounds {
		if _, err := b.perch.run(ctx, "cluster", "delete", "--yes"); err != nil {
			return err
		}
		took, err := b.perch.run(ctx, "cluster", "start")
		if err != nil {
			return err
		}
		r.seconds("cluster start, from nothing", took)
		status, err := b.perch.status(ctx)
		if err != nil {
			return err
		}
		for _, p := range status.phases() {
			r.seconds("  ready: "+p.name, p.after)
		}
	}
	return nil
}

// prepare loads the base images, builds the example's and leaves nothing running of it.
func (b *bench) prepare(ctx context.Context, _ *report) error {
	load := exec.CommandContext(ctx, b.images, "load", "postgres:15", "golang:1.26", "busybox:1.36")
	load.Env = append(b.perch.env, "PERCH="+b.perch.path)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", b.images, err, out)
	}
	if _, err := b.perch.run(ctx, "up", "--detach"); err != nil {
		return err
	}
	return b.down(ctx)
}

func (b *bench) down(ctx context.Context) error {
	_, err := b.perch.run(ctx, "down", "--volumes", "--yes")
	return err
}

// upFromNothing measures up where no node runs and no volume is; the images were built before.
func (b *bench) upFromNothing(ctx context.Context, r *report) error {
	for range b.rounds {
		if _, err := b.perch.run(ctx, "cluster", "stop"); err != nil {
			return err
		}
		if err := b.up(ctx, r, "up, no cluster, images built", ""); err != nil {
			return err
		}
		if err := b.down(ctx); err != nil {
			return err
		}
	}
	return nil
}

// upOnNode measures up on a node that has nothing deployed. The last one stays for the measurements that follow.
func (b *bench) upOnNode(ctx context.Context, r *report) error {
	for range b.rounds {
		if err := b.down(ctx); err != nil {
			return err
		}
		if err := b.up(ctx, r, "up, node runs, nothing deployed", ""); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) upUnchanged(ctx context.Context, r *report) error {
	for range b.rounds {
		took, err := b.perch.run(ctx, "up", "--detach")
		if err != nil {
			return err
		}
		r.seconds("up, nothing changed", took)
	}
	return nil
}

// manyUnchanged measures up of an app of many services where nothing changed.
func (b *bench) manyUnchanged(ctx context.Context, r *report) (err error) {
	const services = 20
	file := "name: bench-many\nservices:\n"
	for i := range services {
		file += fmt.Sprintf("  s%d: {image: \"busybox:1.36\", command: [sleep, \"1000000\"], init: true, environment: {N: \"%d\"}, stop_grace_period: 1s}\n", i, i)
	}
	p, err := b.beside("many", map[string]string{"compose.yaml": file})
	if err != nil {
		return err
	}
	if _, err := p.run(ctx, "up", "--detach"); err != nil {
		return err
	}
	defer func() {
		_, derr := p.run(context.WithoutCancel(ctx), "down", "--yes")
		err = errors.Join(err, derr)
	}()
	for range b.rounds {
		took, err := p.run(ctx, "up", "--detach")
		if err != nil {
			return err
		}
		r.seconds(fmt.Sprintf("up, nothing changed, %d services", services), took)
	}
	return nil
}

// upChanged measures one changed line of Go to the new version's answer, and counts requests that failed meanwhile.
func (b *bench) upChanged(ctx context.Context, r *report) error {
	if _, err := b.perch.run(ctx, "up", "--detach"); err != nil { // the first round is none of a first install either
		return err
	}
	began := strconv.FormatInt(time.Now().UnixNano(), 36) // a value that no earlier run has put into the build cache
	for round := range b.rounds {
		value := began + "-" + strconv.Itoa(round)
		if err := b.app.change(value); err != nil {
			return err
		}
		if err := b.up(ctx, r, "up, one changed line of Go", value); err != nil {
			return err
		}
	}
	return nil
}

// up runs up and asks the page at the same time: it records when the wanted version first answered, and when up ended.
func (b *bench) up(ctx context.Context, r *report, name, wanted string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("nothing after %s", patient))
	defer cancel()
	watching, give := context.WithCancelCause(ctx)
	defer give(nil)
	var seen answers
	var watched error
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		seen, watched = watch(watching, wanted)
	}()
	took, err := b.perch.run(ctx, "up", "--detach")
	if err != nil {
		give(errors.New("up failed"))
	}
	<-done
	if err := errors.Join(err, watched); err != nil {
		return err
	}
	r.seconds(name+": page answers", seen.at.Sub(began))
	r.seconds(name+": up ends", took)
	if wanted != "" {
		r.count(name+": failed requests", seen.failed)
	}
	return nil
}

// The names of the figures of an idle platform.
const (
	emptyNode = "empty node"
	memoryOf  = ": memory (PSS)"
	cpuOf     = ": CPU, of one core"
)

// idleNode measures a node at rest on which nothing was ever deployed.
func (b *bench) idleNode(ctx context.Context, r *report) error {
	for _, verb := range [][]string{{"delete", "--yes"}, {"start"}} {
		if _, err := b.perch.run(ctx, append([]string{"cluster"}, verb...)...); err != nil {
			return err
		}
	}
	return b.idle(ctx, r, emptyNode)
}

// idle measures the platform of perch at rest.
func (b *bench) idle(ctx context.Context, r *report, name string) error {
	return b.idleOf(ctx, r, name, b.platform)
}

// idleOf waits until nothing is going on, then takes memory and CPU time of processes, several times.
func (b *bench) idleOf(ctx context.Context, r *report, name string, list func() ([]process, error)) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	for range b.rounds {
		if err := b.observe(ctx, r, name, list); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) observe(ctx context.Context, r *report, name string, list func() ([]process, error)) error {
	before, err := list()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := pause(ctx, window); err != nil {
		return err
	}
	after, err := list()
	if err != nil {
		return err
	}
	used := map[int]uint64{}
	for _, p := range before {
		used[p.pid] = p.ticks
	}
	var ticks uint64
	for _, p := range after {
		ticks += p.ticks - used[p.pid]
	}
	took := time.Since(began)
	if err := b.memory(r, name, after); err != nil {
		return err
	}
	r.percent(name+cpuOf, float64(ticks)*10/float64(took.Milliseconds())*100)
	return nil
}

func (b *bench) memory(r *report, name string, list []process) error {
	byRole := map[string]int64{}
	var memory int64
	for _, p := range list {
		pss, err := b.proc.pss(p.pid)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		memory += pss
		byRole[p.role()] += pss
	}
	r.megabytes(name+memoryOf, memory)
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		r.megabytes("  "+name+": "+role, byRole[role])
	}
	return nil
}

func (b *bench) platform() ([]process, error) {
	all, err := b.proc.all()
	if err != nil {
		return nil, err
	}
	list := platform(all, clusterName)
	if len(list) == 0 {
		return nil, fmt.Errorf("no process of the cluster %q is there", clusterName)
	}
	return list, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
