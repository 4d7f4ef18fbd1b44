package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/fault"
)

// jobPrefix stands before a job's name in the keys of Resolve.
const jobPrefix = "job/"

// want is one container of the project that needs an image.
type want struct {
	key    string             // "web", "web/pre_start/0", "job/seed"
	name   string             // image: of the Compose file; "" with build only
	build  *types.BuildConfig // nil: not built here
	policy string             // pull_policy, "" is missing
}

// wants is what o asks for: services first, each followed by its hooks, then jobs; sorted by name.
func wants(o Options) ([]want, error) {
	asked := func(key string) bool { return len(o.Services) == 0 || slices.Contains(o.Services, key) }
	for _, key := range o.Services {
		if !known(o.Project, key) {
			return nil, fault.New(fault.Usage, "services are: "+strings.Join(o.Project.ServiceNames(), ", "), "no such service: %q", key)
		}
	}
	var out []want
	for _, name := range o.Project.ServiceNames() {
		if !asked(name) {
			continue
		}
		s := o.Project.Services[name]
		out = append(out, want{name, s.Image, s.Build, s.PullPolicy})
		for i, hook := range s.PreStart {
			w := want{key: fmt.Sprintf("%s/pre_start/%d", name, i), name: hook.Image, policy: hook.PullPolicy}
			if hook.Image == s.Image { // inherited: also when the service is only built
				w.build, w.policy = s.Build, s.PullPolicy
			}
			out = append(out, w)
		}
	}
	jobs := make([]string, 0, len(o.Project.Jobs))
	for name := range o.Project.Jobs {
		jobs = append(jobs, name)
	}
	slices.Sort(jobs)
	for _, name := range jobs {
		if j := o.Project.Jobs[name]; asked(jobPrefix + name) {
			out = append(out, want{jobPrefix + name, j.Image, j.Build, j.PullPolicy})
		}
	}
	return out, nil
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
	name, _, _ := strings.Cut(strings.TrimPrefix(key, jobPrefix), "/pre_start/")
	return name
}
