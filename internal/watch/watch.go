// Package watch keeps a project that is up in step with its files, by the rules of develop.watch: it copies changed files
// into running containers, builds and rolls services, restarts them and runs commands in them.
//
// It decides first (Plan, a pure function of rules and paths) and then does: what is done is asked of the street and of the
// cluster, which it is given. It reads no Compose file and prints nothing.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// Street builds and rolls one service. What is built or made has a name, which is told before a pod has it.
type Street interface {
	Rebuild(ctx context.Context, service string, built func(image string), r progress.Reporter) error
	Restart(ctx context.Context, service string, layer io.ReadSeeker, made func(image string), r progress.Reporter) error
}

// Cluster is where the pods are.
type Cluster interface {
	FollowPods(ctx context.Context, namespace, selector string, changed func(pods []*corev1.Pod)) error
	Copy(ctx context.Context, o kube.CopyOptions) error
	Exec(ctx context.Context, o kube.ExecOptions) (exitCode int, err error)
}

var _ Cluster = (*kube.Client)(nil)

// Place is where a service's containers are.
type Place struct {
	Namespace string
	Selector  string // of its pods
	Container string // in each of them
}

// Options say what is watched and who does the work.
type Options struct {
	Project *compose.Project
	Rules   []Rule
	Places  map[string]Place // of each service that has a rule
	Street  Street
	Cluster Cluster
	Report  progress.Reporter
}

// Watcher is a watch whose files are watched already: what changes from New on is seen by Run.
type Watcher struct {
	o        Options
	files    *Files
	services map[string]*service
}

// New begins to watch the files of the rules. It is called before what is deployed is built, so that no change is lost.
func New(rules []Rule) (*Watcher, error) {
	var roots []string
	for _, r := range rules {
		roots = append(roots, r.Path)
	}
	files, err := NewFiles(roots, func(dir string) bool {
		return !slices.ContainsFunc(rules, func(r Rule) bool { return !r.skips(dir) })
	})
	if err != nil {
		return nil, err
	}
	return &Watcher{files: files}, nil
}

// Run keeps the services in step until ctx is done, which is no error. A thing that fails is reported, and tried again with
// the next change that asks for it. ready is called when the pods are known and the first copies are made.
func (w *Watcher) Run(ctx context.Context, o Options, ready func()) error {
	w.o, w.services = o, map[string]*service{}
	told := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	fail := func(err error) {
		if err != nil {
			cancel(err)
		}
	}
	for name, place := range o.Places {
		s := newService(name, place, o)
		w.services[name] = s
		running.Go(func() { fail(o.Cluster.FollowPods(ctx, place.Namespace, place.Selector, s.pods)) })
		running.Go(func() { s.difference.run(ctx, place.Namespace, s.again) })
	}
	var first sync.WaitGroup
	for _, s := range w.services {
		first.Go(func() { s.begin(ctx) })
		running.Go(func() {
			first.Wait()
			s.work(ctx)
		})
	}
	running.Go(func() {
		first.Wait()
		if ctx.Err() == nil {
			ready()
		}
	})
	err := w.files.Run(ctx, w.changed)
	if err == nil && told.Err() == nil {
		err = context.Cause(ctx) // something that must go on ended
	}
	return err
}

// changed hands out what changed paths ask for.
func (w *Watcher) changed(paths []string) {
	for _, work := range Plan(w.o.Rules, paths) {
		w.services[work.Service].take(work)
	}
}

// service is one service and what is to be done for it.
type service struct {
	name       string
	place      Place
	o          Options
	difference *difference

	mu      sync.Mutex
	pending Work
	number  int64 // of the last change in pending
	waiting bool  // pending is not empty
	wake    chan struct{}

	built string // the image that was built last; "": by whoever brought the project up. Belongs to work
}

func newService(name string, place Place, o Options) *service {
	return &service{name: name, place: place, o: o, difference: newDifference(o.Cluster.Copy), wake: make(chan struct{}, 1)}
}

func (s *service) pods(pods []*corev1.Pod) { s.difference.see(pods, s.place.Container) }

func (s *service) report(status progress.Status, format string, args ...any) {
	s.o.Report.Report(progress.Event{ID: "watch " + s.name, Status: status, Text: fmt.Sprintf(format, args...)})
}

// again tells of a container that came later and was brought up to date.
func (s *service) again(pod string, files int) {
	s.o.Report.Report(progress.Event{
		ID: "watch " + s.name, Status: progress.Done, Text: fmt.Sprintf("pod %s: synced %s that changed before it was there", pod, many(files, "file")),
	})
}

// take notes work. Its files are in the difference from here on, whatever else is going on.
func (s *service) take(w Work) {
	now := !w.Rebuild && !w.Restart
	number := s.difference.record(w.Sync, now)
	s.mu.Lock()
	s.pending, s.number, s.waiting = s.pending.merge(w), number, true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // a token is there already
	}
}

// begin copies what the rules with initial_sync are about, once the pods are known.
func (s *service) begin(ctx context.Context) {
	if _, err := s.difference.settled(ctx, 0); err != nil {
		return // it ends
	}
	var files []File
	for _, r := range s.o.Rules {
		if r.Service == s.name && r.Initial && r.syncs() {
			files = append(files, all(r)...)
		}
	}
	if len(files) == 0 {
		return
	}
	s.sync(ctx, Work{Service: s.name, Sync: files}, s.difference.record(files, true))
}

// all is every path that a rule is about.
func all(r Rule) []File {
	var files []File
	_ = filepath.WalkDir(r.Path, func(name string, d fs.DirEntry, err error) error { // what cannot be read is passed over
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		if d.IsDir() && r.skips(name) {
			return fs.SkipDir
		}
		if target, ok := r.Match(name); ok && !d.IsDir() {
			files = append(files, File{name, target})
		}
		return nil
	})
	return files
}

// work does what is pending, one thing after the other, until ctx is done.
func (s *service) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		s.mu.Lock()
		w, number, waiting := s.pending, s.number, s.waiting
		s.pending, s.waiting = Work{}, false
		s.mu.Unlock()
		if waiting {
			s.do(ctx, w, number)
		}
	}
}

// do does one work. What follows a failed step is left out: it would be done to the old state.
func (s *service) do(ctx context.Context, w Work, number int64) {
	switch {
	case w.Rebuild:
		if !s.roll(ctx, func() error { return s.rebuild(ctx) }) {
			return
		}
		s.difference.release()
	case w.Restart:
		if !s.roll(ctx, func() error { return s.restart(ctx) }) {
			return
		}
		s.difference.release()
	}
	if len(w.Sync) > 0 && !w.Restart && !s.sync(ctx, w, number) {
		return
	}
	for _, index := range w.Exec {
		s.exec(ctx, index)
	}
}

// roll does something that replaces pods, and reports how it failed. The street has reported the rest.
func (s *service) roll(ctx context.Context, act func() error) bool {
	err := act()
	if err == nil {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		for _, line := range f.Output {
			s.report(progress.Output, "%s", line)
		}
	}
	s.report(progress.Failed, "%s", withHint(err))
	return false
}

func withHint(err error) string {
	text := err.Error()
	if hint := fault.HintOf(err); hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// rebuild builds and rolls the service. What changes from now on is not in the image for certain.
func (s *service) rebuild(ctx context.Context) error {
	before := s.difference.now()
	s.report(progress.Working, "rebuilding")
	err := s.o.Street.Rebuild(ctx, s.name, func(image string) {
		s.built = image
		s.difference.has(image, before, s.outside)
	}, s.o.Report)
	if err == nil {
		s.report(progress.Done, "rebuilt")
	}
	return err
}

// outside tells whether a path of the host may be none of the image's: it is not in the build context, or a rule has it
// copied to begin with.
func (s *service) outside(host string) bool {
	for _, r := range s.o.Rules {
		if r.Service != s.name || !r.Initial || !r.syncs() {
			continue
		}
		if _, ok := r.Match(host); ok {
			return true
		}
	}
	build := s.o.Project.Project.Services[s.name].Build
	if build == nil {
		return true
	}
	dir, err := filepath.EvalSymlinks(build.Context)
	return err != nil || !within(dir, host)
}

// restart gives the service new pods that have all changes from the start: as a layer on the image that was built.
func (s *service) restart(ctx context.Context) error {
	s.report(progress.Working, "restarting")
	files, upTo := s.difference.since(s.built)
	if len(files) == 0 {
		err := s.o.Street.Restart(ctx, s.name, nil, nil, s.o.Report)
		if err == nil {
			s.report(progress.Done, "restarted")
		}
		return err
	}
	a, err := pack(files, true)
	if err != nil {
		return err
	}
	defer a.close()
	made := func(image string) { s.difference.has(image, upTo, nil) }
	if err := s.o.Street.Restart(ctx, s.name, io.NewSectionReader(a.file, 0, a.size), made, s.o.Report); err != nil {
		return err
	}
	s.report(progress.Done, "restarted with %s", amount(files))
	return nil
}

// sync waits until the running containers have the changes, and reports it.
func (s *service) sync(ctx context.Context, w Work, number int64) bool {
	s.report(progress.Working, "syncing %s", amount(w.Sync))
	pods, err := s.difference.settled(ctx, number)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		s.report(progress.Failed, "%s", withHint(err))
		return false
	case pods == 0:
		s.report(progress.Done, "%s: no pod runs; the next one gets the change", amount(w.Sync))
	default:
		s.report(progress.Done, "synced %s to %s", amount(w.Sync), many(pods, "pod"))
	}
	return true
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// exec runs a rule's command in each container, and reports what it prints.
func (s *service) exec(ctx context.Context, index int) {
	i := slices.IndexFunc(s.o.Rules, func(r Rule) bool { return r.Service == s.name && r.Index == index })
	hook := s.o.Rules[i].Exec
	options := kube.ExecOptions{Namespace: s.place.Namespace, Command: hook.Command}
	stdin := ""
	if hook.WorkingDir != "" || len(hook.Environment) > 0 {
		// Values go through stdin: a command line is in the logs of API servers.
		options.Command = append([]string{"sh", "-c", `eval "$(cat)"; cd -- "$1" && shift && exec "$@"`, "perch", orElse(hook.WorkingDir, ".")}, hook.Command...)
		stdin = exports(hook.Environment)
	}
	var each sync.WaitGroup
	for _, to := range s.difference.containers() {
		each.Go(func() {
			o, said := options, &output{}
			o.Pod, o.Container, o.Stdout, o.Stderr = to.pod, to.container, said, said
			if stdin != "" {
				o.Stdin = strings.NewReader(stdin)
			}
			code, err := s.o.Cluster.Exec(ctx, o)
			s.executed(ctx, to.pod, hook.Command, said.String(), code, err)
		})
	}
	each.Wait()
}

// output takes both streams of a command in the order in which they come.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (s *service) executed(ctx context.Context, pod string, command []string, said string, code int, err error) {
	if ctx.Err() != nil {
		return
	}
	for line := range strings.Lines(said) {
		s.report(progress.Output, "%s", strings.TrimRight(line, "\n"))
	}
	switch {
	case err != nil:
		s.report(progress.Failed, "pod %s: %s: %s", pod, command[0], withHint(err))
	case code != 0:
		s.report(progress.Failed, "pod %s: %s ended with exit code %d", pod, command[0], code)
	default:
		s.report(progress.Done, "pod %s: ran %s", pod, command[0])
	}
}

// exports is a script of sh that sets variables. A variable without a value is one that the project's environment lacks.
func exports(environment map[string]*string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		if value := environment[name]; value != nil {
			b.WriteString("export " + name + "='" + strings.ReplaceAll(*value, "'", `'\''`) + "'\n")
		}
	}
	return b.String()
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
