package image

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/fault"
)

// Parts of the keys of Resolve: before a job's name, and between a service's name and its hook's number.
const (
	jobPrefix    = "job/"
	preStartPart = "/pre_start/"
)

// want is one container of the project that needs an image.
type want struct {
	key    string             // "web", "web/pre_start/0", "job/seed"
	name   string             // image: of the Compose file; "" with build only
	build  *types.BuildConfig // nil: not built here
	policy string             // pull_policy, "" is missing

	user     string   // user:, "" is the image's
	groups   []string // group_add
	targets  []string // where volumes are mounted, cleaned
	readOnly bool     // read_only
}

// wants is what the keys ask for, or all enabled services and jobs when there is none.
func wants(p *types.Project, keys []string) ([]want, error) {
	for _, key := range keys {
		if !known(p, key) {
			return nil, fault.New(fault.Usage, "services are: "+strings.Join(p.ServiceNames(), ", "), "no such service: %q", key)
		}
	}
	return slices.DeleteFunc(containers(p.Services, p.Jobs), func(w want) bool {
		base, _, _ := strings.Cut(w.key, preStartPart)
		return len(keys) > 0 && !slices.Contains(keys, base)
	}), nil
}

// all is everything in the project, what profiles or a selection leave out too.
func all(p *types.Project) []want { return containers(p.AllServices(), p.AllJobs()) }

// containers is services, each followed by its hooks, then jobs; sorted by name.
func containers(services types.Services, jobs types.Jobs) []want {
	var out []want
	for _, name := range slices.Sorted(maps.Keys(services)) {
		s := services[name]
		out = append(out, container(name, s.ContainerSpec, s.Build))
		for i, hook := range s.PreStart {
			w := container(fmt.Sprintf("%s%s%d", name, preStartPart, i), hook.ContainerSpec, nil)
			if hook.Image == s.Image { // inherited: also when the service is only built
				w.build, w.policy = s.Build, s.PullPolicy
			}
			out = append(out, w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(jobs)) {
		j := jobs[name]
		out = append(out, container(jobPrefix+name, j.ContainerSpec, j.Build))
	}
	return out
}

func container(key string, s types.ContainerSpec, build *types.BuildConfig) want {
	w := want{key: key, name: s.Image, build: build, policy: s.PullPolicy, user: s.User, groups: s.GroupAdd, readOnly: s.ReadOnly}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeVolume {
			w.targets = append(w.targets, path.Clean("/"+v.Target))
		}
	}
	return w
}

func known(p *types.Project, key string) bool {
	if name, ok := strings.CutPrefix(key, jobPrefix); ok {
		_, ok = p.Jobs[name]
		return ok
	}
	_, ok := p.Services[key]
	return ok
}

// owner is the service or job a key belongs to, as Compose names it.
func owner(key string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(key, jobPrefix), preStartPart)
	return name
}
