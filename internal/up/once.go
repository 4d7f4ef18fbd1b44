package up

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
)

// Compose starts a container once unless restart says otherwise, and is content when it ends. Nothing in a file tells a
// service that does its work and ends (one that makes buckets, or fills a cache) from one that serves, so both begin as
// what is restarted. One that then ends well is a Job from there on, which is remembered with its release (docs/decisions
// 0016).

// mayEnd tells whether the file leaves open that a service ends: restart is not said, and nothing makes it a server.
func mayEnd(p *compose.Project, name string) bool {
	s, ok := p.Project.Services[name]
	if !ok || p.Elsewhere(name) || s.Restart != "" || s.Deploy != nil && (s.Deploy.Mode != "" || s.Deploy.RestartPolicy != nil) {
		return false
	}
	x := p.Services[name]
	if len(s.Ports)+len(s.Expose) > 0 || s.HealthCheck != nil || x.Readiness != nil || x.Liveness != nil {
		return false
	}
	for other := range p.Project.Services {
		if shared := compose.PodOf(p.Project, other); (other == name) != (shared == name) {
			return false // it shares its pod
		}
	}
	return true
}

// program names what a service runs, as far as the file says it: what was seen of one program says nothing of another.
func program(s types.ServiceConfig) string {
	text, err := json.Marshal([]any{s.Image, s.Build, s.Entrypoint, s.Command})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// recall makes Jobs of the services that were seen to end by an earlier run. Most projects have none that may.
func (o *Options) recall(ctx context.Context, client *kube.Client, p *compose.Project) (*compose.Project, error) {
	if !slices.ContainsFunc(p.ServiceNames(), func(name string) bool { return mayEnd(p, name) }) {
		return p, nil
	}
	releases, err := release.List(ctx, client, namespaceOf(*o, p))
	if err != nil {
		return nil, err
	}
	var seen []string
	for _, r := range releases {
		if r.Once != "" && mayEnd(p, r.Service) && r.Once == program(p.Project.Services[r.Service]) {
			seen = append(seen, r.Service)
		}
	}
	return o.remember(p, seen)
}

// recallDry is recall for a plan: nothing is started, and a cluster that does not run has nothing to tell.
func (o *Options) recallDry(ctx context.Context, p *compose.Project) (*compose.Project, error) {
	running, err := o.running(ctx)
	if err != nil || !running {
		return p, err
	}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return nil, err
	}
	return o.recall(ctx, client, p)
}

// remember has these services be Jobs for the rest of the run, and in the releases that it makes.
func (o *Options) remember(p *compose.Project, services []string) (*compose.Project, error) {
	if o.once == nil {
		o.once = map[string]string{}
	}
	inner, err := p.Project.WithServicesTransform(func(name string, s types.ServiceConfig) (types.ServiceConfig, error) {
		if !slices.Contains(services, name) {
			return s, nil
		}
		o.once[name] = program(s)
		deploy := types.DeployConfig{}
		if s.Deploy != nil {
			deploy = *s.Deploy
		}
		deploy.Mode = "replicated-job"
		s.Deploy = &deploy
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	changed := *p
	changed.Project = inner
	return &changed, nil
}

// learn is the services that a deploy failed to keep running for no other reason than that they had done their work. One
// that has served before is none: it should not have ended.
func (s *Session) learn(ctx context.Context, failed error, r progress.Reporter) []string {
	found := slices.DeleteFunc(endedWell(failed), func(name string) bool { return s.options.Planned != nil || !mayEnd(s.project, name) })
	if len(found) == 0 {
		return nil
	}
	releases, err := release.List(ctx, s.client, namespaceOf(s.options, s.project))
	if err != nil {
		return nil // the failure itself is told
	}
	for _, one := range releases {
		if one.Serves {
			found = slices.DeleteFunc(found, func(name string) bool { return name == one.Service })
		}
	}
	for _, name := range found {
		r.Report(progress.Event{
			ID: "service " + name, Status: progress.Warned,
			Text: `it ended with code 0, and restart is not given: it runs once, as a Job; restart: "no" says so from the start`,
		})
	}
	return found
}

// endedWell are the services whose containers ended with code 0 again and again, by the tree of an error.
func endedWell(err error) []string {
	if several, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // each of its branches is looked at
		var all []string
		for _, one := range several.Unwrap() {
			all = append(all, endedWell(one)...)
		}
		return all
	}
	if e, ok := errors.AsType[*kube.RolloutError](err); ok && e.Cause == kube.CauseEnded && e.Service != "" {
		return []string{e.Service}
	}
	return nil
}
