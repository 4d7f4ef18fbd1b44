package watch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// goodbye is how long a container that could not be written to may take to turn out to have ended, which is no failure.
const goodbye = 2 * time.Second

// difference is what the host's files have and a service's image has not, and how far each running container has got.
//
// Every change has a number. An image has the changes up to its own number, since it was built of the files as they were
// then; a container begins with those of its image, and gets what is newer as soon as it runs: so also a pod that is
// replaced, and a container that is started again, have every change.
type difference struct {
	copy func(ctx context.Context, o kube.CopyOptions) error

	mu       sync.Mutex
	entries  map[string]entry // by target
	last     int64            // number of the last change
	released int64            // changes after this one wait for a rebuild or a new layer
	images   map[string]int64 // the changes that images have, by full name
	running  map[instance]*progressOf
	seen     bool          // the pods were listed
	wake     chan struct{} // holds a token when there may be something to copy
	news     chan struct{} // closed and replaced whenever a container got further, came or went
}

type entry struct {
	host   string
	number int64
}

// instance is one run of one container.
type instance struct{ pod, container, id string }

// progressOf is how far a container is.
type progressOf struct {
	applied int64
	failed  int64 // up to this one it could not be done
	err     error
	busy    bool
	late    bool // it began when there were changes already, and has none of them yet
}

func newDifference(copier func(context.Context, kube.CopyOptions) error) *difference {
	return &difference{
		copy: copier, entries: map[string]entry{}, images: map[string]int64{}, running: map[instance]*progressOf{},
		wake: make(chan struct{}, 1), news: make(chan struct{}),
	}
}

// record notes changes and returns their number. Without release, running containers do not get them yet.
func (d *difference) record(files []File, release bool) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	for _, f := range files {
		d.entries[f.Target] = entry{f.Host, d.last}
	}
	if release {
		d.released = d.last
		d.nudge()
	}
	return d.last
}

// release lets running containers have all changes up to now.
func (d *difference) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = d.last
	d.nudge()
}

// has says that an image has all changes up to a number, but for those of files that kept finds to be none of its: they are
// changes of every container to come.
func (d *difference) has(image string, number int64, kept func(host string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images[image] = number
	if kept == nil {
		return
	}
	d.last++
	for target, e := range d.entries {
		if e.number <= number && kept(e.host) {
			d.entries[target] = entry{e.host, d.last}
			d.released = d.last
		}
	}
	d.nudge()
}

// now is the number of the last change.
func (d *difference) now() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// since is the changes after what an image has, and their last number.
func (d *difference) since(image string) (files []File, upTo int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.between(d.images[image], d.last), d.last
}

// between is the changes with numbers above the first and up to the second, sorted by target.
func (d *difference) between(after, upTo int64) []File {
	var files []File
	for target, e := range d.entries {
		if e.number > after && e.number <= upTo {
			files = append(files, File{e.host, target})
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Target, b.Target) })
	return files
}

// see takes note of the pods that there are. container is the service's in each of them.
func (d *difference) see(pods []*corev1.Pod, container string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	there := map[instance]bool{}
	if !d.seen {
		d.seen = true
		d.tell()
	}
	for _, p := range pods {
		for _, cs := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if cs.Name != container || cs.State.Running == nil || p.DeletionTimestamp != nil {
				continue
			}
			key := instance{p.Name, cs.Name, cs.ContainerID}
			there[key] = true
			if d.running[key] == nil {
				applied := d.images[imageOf(p, container)]
				d.running[key] = &progressOf{applied: applied, late: d.released > applied}
				d.tell()
			}
		}
	}
	for key := range d.running {
		if !there[key] {
			delete(d.running, key)
			d.tell()
		}
	}
	d.nudge()
}

// imageOf is the image that a container was told to run; its status may have another name of it.
func imageOf(p *corev1.Pod, container string) string {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}

func (d *difference) nudge() {
	select {
	case d.wake <- struct{}{}:
	default: // a token is there already
	}
}

func (d *difference) tell() {
	close(d.news)
	d.news = make(chan struct{})
}

// batch is what several containers get alike.
type batch struct {
	after, upTo int64
	files       []File
	to          []instance
}

// due takes what is to be copied, and marks the containers as busy.
func (d *difference) due() []batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	var batches []batch
	for key, p := range d.running {
		if p.busy || p.applied >= d.released || p.failed >= d.released {
			continue
		}
		p.busy = true
		i := slices.IndexFunc(batches, func(b batch) bool { return b.after == p.applied })
		if i < 0 {
			i = len(batches)
			batches = append(batches, batch{after: p.applied, upTo: d.released, files: d.between(p.applied, d.released)})
		}
		batches[i].to = append(batches[i].to, key)
	}
	return batches
}

// run copies what is due until ctx is done. again is told when a container that came later got the changes before it.
func (d *difference) run(ctx context.Context, namespace string, again func(pod string, files int)) {
	var copies sync.WaitGroup
	defer copies.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
		for _, b := range d.due() {
			copies.Go(func() { d.send(ctx, namespace, b, again) })
		}
	}
}

// send copies one batch to its containers, side by side.
func (d *difference) send(ctx context.Context, namespace string, b batch, again func(string, int)) {
	a := &archive{}
	var err error
	if len(b.files) > 0 {
		a, err = pack(b.files, false)
	}
	if err == nil {
		defer a.close()
	}
	var each sync.WaitGroup
	for _, to := range b.to {
		each.Go(func() {
			err := err
			if err == nil && (len(a.removed) > 0 || a.count > 0) {
				err = d.copy(ctx, kube.CopyOptions{Namespace: namespace, Pod: to.pod, Container: to.container, Remove: a.removed, Archive: a.reader()})
			}
			if late := d.done(to, b.upTo, err); late && err == nil && len(b.files) > 0 {
				again(to.pod, len(b.files))
			}
		})
	}
	each.Wait()
}

// done notes how a copy went. late is true for a container that was not there when the changes were made.
func (d *difference) done(to instance, upTo int64, err error) (late bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.tell()
	p := d.running[to]
	if p == nil {
		return false
	}
	late = p.late
	p.busy, p.late, p.err = false, false, err
	if err != nil {
		p.failed = upTo
	} else {
		p.applied = upTo
	}
	d.nudge() // there may be more by now
	return late
}

// settled waits until every running container has the changes up to a number. It says how many have, and what went wrong
// with the others; one that ends meanwhile is neither.
func (d *difference) settled(ctx context.Context, number int64) (pods int, err error) {
	var grace <-chan time.Time
	for {
		pods, busy, news, failed := d.look(number)
		if !busy && failed == nil {
			return pods, nil
		}
		if failed != nil && !busy {
			if fault.HintOf(failed) != "" {
				return pods, failed
			}
			if grace == nil {
				grace = time.After(goodbye)
			}
		}
		select {
		case <-ctx.Done():
			return pods, context.Cause(ctx)
		case <-news:
		case <-grace:
			return pods, failed
		}
	}
}

// look counts the containers that have the changes up to a number.
func (d *difference) look(number int64) (pods int, busy bool, news <-chan struct{}, failed error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	busy = !d.seen
	var failures []string
	for key, p := range d.running {
		switch {
		case p.applied >= number:
			pods++
		case p.failed >= number && p.err != nil:
			failures = append(failures, p.err.Error())
			if failed == nil || key.pod < failures[0] {
				failed = p.err
			}
		default:
			busy = true
		}
	}
	if len(failures) > 1 {
		slices.Sort(failures)
		failed = fault.New(fault.KindOf(failed), fault.HintOf(failed), "%s (and %d more)", failures[0], len(failures)-1)
	}
	return pods, busy, d.news, failed
}

// containers are those that run now, sorted by pod.
func (d *difference) containers() []instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []instance
	for key := range d.running {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b instance) int { return strings.Compare(a.pod, b.pod) })
	return all
}

// amount is how many files a message speaks of, or the one.
func amount(files []File) string {
	if len(files) == 1 {
		return files[0].Target
	}
	return fmt.Sprintf("%d files", len(files))
}
