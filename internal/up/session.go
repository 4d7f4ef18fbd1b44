package up

import (
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

// keptImages is how many images that a session made and replaced stay in the store: as many as revisions of a release are
// kept, so that a rollback finds its image.
const keptImages = 10

// Session is a project that is up and whose services are brought up again one by one, as its files change. The Compose file
// is read once; what does not change is not looked at again. Its methods may be called by several goroutines at once.
type Session struct {
	options Options
	project *compose.Project
	client  *kube.Client
	on      render.Target // the target with what its cluster has, from the time on that there is a client
	prune   bool

	deploying sync.Mutex // one deploy at a time: they take the same lock in the cluster

	mu     sync.Mutex
	images map[string]image.Image // the newest, by key; without layers of synced files
	made   []string               // full names of the images that this session deployed, oldest first
}

// SessionOptions say how a session begins.
type SessionOptions struct {
	Options
	NoUp  bool // the project is up already: begin with what is there
	Prune bool // remove images that the session made and replaced, but for those that a kept revision may need
}

// Open reads the project for a session. Nothing is changed until Up.
func Open(ctx context.Context, o SessionOptions) (*Session, error) {
	project, err := loadProject(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	return &Session{options: o.Options, project: project, on: target(o.Options, project), prune: o.Prune}, nil
}

// Project is the project as it was read.
func (s *Session) Project() *compose.Project { return s.project }

// Client is the cluster's, nil before Up or Attach.
func (s *Session) Client() *kube.Client { return s.client }

// Up brings the whole project up, as the function of that name.
func (s *Session) Up(ctx context.Context, r progress.Reporter) (Result, error) {
	result := s.result()
	return result, s.up(ctx, &result, r)
}

func (s *Session) result() Result {
	return Result{
		Project: s.project.Name, Namespace: namespaceOf(s.options, s.project), Context: s.options.Kube.Context, URLs: []string{},
		Warnings: s.project.Warnings,
	}
}

func (s *Session) up(ctx context.Context, result *Result, r progress.Reporter) (err error) {
	if err := s.options.fetchCharts(ctx, s.project); err != nil {
		return err
	}
	if err := s.options.checkCluster(ctx, s.project, r); err != nil {
		return err
	}
	if s.client, s.images, err = prepare(ctx, s.options, s.project, deployed(s.project), r); err != nil {
		return err
	}
	if s.on, err = targetOn(ctx, s.options, s.client, s.project); err != nil {
		return err
	}
	if s.project, err = s.options.recall(ctx, s.client, s.project); err != nil {
		return err
	}
	for {
		failed := s.bring(ctx, result, r)
		ended := s.learn(ctx, failed, r)
		if len(ended) == 0 && failed != nil {
			return failed
		}
		if len(ended) == 0 {
			break
		}
		if s.project, err = s.options.remember(s.project, ended); err != nil {
			return err
		}
	}
	// What was asked for once is done.
	s.options.Build, s.options.Pull, s.options.ForceRecreate, s.options.RemoveOrphans = false, false, false, false
	if result.Revisions, result.Deploy, err = revisions(ctx, s.client, result.Namespace); err != nil {
		return err
	}
	if result.Changed {
		keepBudget(ctx, s.options, s.client, r)
	}
	return tooMany(result.Proof, s.options.MaxFailures)
}

// bring deploys the project as it is known now, with its images.
func (s *Session) bring(ctx context.Context, result *Result, r progress.Reporter) error {
	o, project := s.options, s.project
	rendered, err := render.Objects(project, imagesOf(s.images), s.on)
	if err != nil {
		return err
	}
	if err := checkPorts(ctx, o, project, rendered); err != nil {
		return err
	}
	plan, err := plan(ctx, o, s.client, project, rendered, s.images)
	if err != nil {
		return err
	}
	result.Changed = result.Changed || plan.Changes()
	proven, err := prove(ctx, o, plan, rendered.Units, r, func(r progress.Reporter) error {
		err := release.Execute(ctx, s.client, plan, r, s.executing(ctx, plan.Changes()))
		if err == nil {
			result.URLs, err = awaitPublished(ctx, o, rendered)
		}
		return err
	})
	if proven != nil {
		result.Proof = proven
	}
	return err
}

// Attach takes the project as it is in the cluster, which must run. Nothing is built or deployed.
func (s *Session) Attach(ctx context.Context) (Result, error) {
	result := s.result()
	err := s.options.needRunning(ctx)
	if err == nil {
		s.client, err = kube.Load(s.options.Kube)
	}
	if err == nil {
		s.on, err = targetOn(ctx, s.options, s.client, s.project)
	}
	if err == nil {
		s.project, err = s.options.recall(ctx, s.client, s.project)
	}
	if err == nil {
		s.images, err = foresee(ctx, s.options, s.project)
	}
	if err == nil {
		result.Revisions, result.Deploy, err = revisions(ctx, s.client, result.Namespace)
	}
	return result, err
}

// Place is where a service's containers are.
type Place struct {
	Namespace string
	Selector  string // of its pods
	Container string // in each of them
}

// Place says where a service's containers are. One that shares the pod of another service is in that one's pods.
func (s *Session) Place(service string) (Place, error) {
	u, err := s.unit(service, s.known())
	if err != nil {
		return Place{}, err
	}
	namespace := namespaceOf(s.options, s.project)
	return Place{Namespace: namespace, Selector: kube.Selector(namespace, compose.Name(u.Service)), Container: compose.Name(service)}, nil
}

func (s *Session) known() map[string]image.Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.images)
}

// Rebuild builds the service's image and rolls the service when something changed. built is called with the name of the
// image before a pod has it.
func (s *Session) Rebuild(ctx context.Context, service string, built func(ref string), r progress.Reporter) error {
	images, err := image.Resolve(ctx, imageOptions(s.options, s.project, []string{service}), store(s.options), r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.images = maps.Clone(s.images)
	maps.Copy(s.images, images)
	s.mu.Unlock()
	built(images[service].Ref)
	_, err = s.deploy(ctx, service, s.known(), r)
	return err
}

// Restart gives the service new pods. With a layer, an uncompressed tar, their image is the one that was built with the
// layer on it, so that its files are there before any process starts; made is called with the name of that image before a
// pod has it.
func (s *Session) Restart(ctx context.Context, service string, layer io.ReadSeeker, made func(ref string), r progress.Reporter) error {
	images := s.known()
	if layer == nil {
		return s.again(ctx, service, images, r)
	}
	id := "image " + service
	r.Report(progress.Event{ID: id, Status: progress.Working, Text: "adding the synced files"})
	base, ok := images[service]
	if !ok {
		return fault.New(fault.Other, "", "service %q has no image", service)
	}
	with, err := store(s.options).AddLayer(ctx, base, layer)
	if err != nil {
		r.Report(progress.Event{ID: id, Status: progress.Failed, Text: err.Error()})
		return err
	}
	r.Report(progress.Event{ID: id, Status: progress.Done, Text: with.Ref})
	made(with.Ref)
	images[service] = with
	changed, err := s.deploy(ctx, service, images, r)
	if err != nil || changed {
		return err
	}
	return s.again(ctx, service, images, r) // it has this layer already
}

// again restarts the pods of a service as they are.
func (s *Session) again(ctx context.Context, service string, images map[string]image.Image, r progress.Reporter) error {
	u, err := s.unit(service, images)
	if err != nil {
		return err
	}
	s.deploying.Lock()
	defer s.deploying.Unlock()
	id := "service " + u.Service
	r.Report(progress.Event{ID: id, Status: progress.Working, Text: "restarting"})
	if err := s.client.Restart(ctx, u.Objects, time.Now()); err != nil {
		return s.client.Explain(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	if err := s.client.WaitReady(ctx, u.Objects, r, id); err != nil {
		r.Report(progress.Event{ID: id, Status: progress.Failed, Text: kube.Reason(err)})
		return err
	}
	r.Report(progress.Event{ID: id, Status: progress.Done, Text: "restarted"})
	return nil
}

// deploy brings the one service to these images. What it depends on is not looked at.
func (s *Session) deploy(ctx context.Context, service string, images map[string]image.Image, r progress.Reporter) (changed bool, err error) {
	s.deploying.Lock()
	defer s.deploying.Unlock()
	u, err := s.unit(service, images)
	if err != nil {
		return false, err
	}
	u.DependsOn = nil
	plan, err := plan(ctx, s.options, s.client, s.project, render.Output{Units: []render.Unit{u}}, images)
	if err != nil {
		return false, err
	}
	plan.Orphans = nil // they were told of by the first up
	s.mu.Lock()
	s.made = append(s.made, images[service].Ref)
	s.mu.Unlock()
	options := s.executing(ctx, plan.Changes())
	options.Planned = nil // that was for the first up
	if err := release.Execute(ctx, s.client, plan, r, options); err != nil {
		return false, err
	}
	return plan.Changes(), s.clean(ctx)
}

// unit is what the service becomes with these images. A service that shares the pod of another one is in the other's.
func (s *Session) unit(service string, images map[string]image.Image) (render.Unit, error) {
	rendered, err := render.Objects(s.present(service), imagesOf(images), s.on)
	if err != nil {
		return render.Unit{}, err
	}
	for _, u := range rendered.Units {
		if u.Service == service {
			return u, nil
		}
	}
	for _, u := range rendered.Units {
		if slices.ContainsFunc(u.Objects, func(o runtime.Object) bool { return runsContainer(o, compose.Name(service)) }) {
			return u, nil
		}
	}
	return render.Unit{}, fault.New(fault.Usage, "", "service %q has no pods of its own", service)
}

// present is the project for an image that is in the store: it must not be pulled, no registry has it.
func (s *Session) present(service string) *compose.Project {
	config, ok := s.project.Project.Services[service]
	if !ok || config.PullPolicy != types.PullPolicyAlways {
		return s.project
	}
	config.PullPolicy = types.PullPolicyMissing
	changed, inner := *s.project, *s.project.Project
	inner.Services = maps.Clone(inner.Services)
	inner.Services[service] = config
	changed.Project = &inner
	return &changed
}

// runsContainer tells whether a workload has a container of that name.
func runsContainer(o runtime.Object, name string) bool {
	var spec corev1.PodSpec
	switch o := o.(type) {
	case *appsv1.Deployment:
		spec = o.Spec.Template.Spec
	case *appsv1.StatefulSet:
		spec = o.Spec.Template.Spec
	case *appsv1.DaemonSet:
		spec = o.Spec.Template.Spec
	case *batchv1.Job:
		spec = o.Spec.Template.Spec
	}
	has := func(c corev1.Container) bool { return c.Name == name }
	return slices.ContainsFunc(spec.Containers, has) || slices.ContainsFunc(spec.InitContainers, has)
}

// clean removes the oldest images that the session made, when that was asked for.
func (s *Session) clean(ctx context.Context) error {
	if !s.prune {
		return nil
	}
	s.mu.Lock()
	old := s.made[:max(0, len(s.made)-keptImages-1)]
	rest := s.made[len(old):]
	current := s.images
	s.mu.Unlock()
	gone := slices.DeleteFunc(slices.Clone(old), func(ref string) bool {
		used := slices.Contains(rest, ref)
		for _, i := range current {
			used = used || i.Ref == ref
		}
		return used
	})
	if err := store(s.options).Remove(ctx, gone); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = s.made[len(old):]
	return nil
}
