package compose

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// PodOf is the service in whose pod a service runs: its own name, or that of the service whose network, processes or
// anonymous volumes it shares. A name that is no service, or services that share with each other, end the search.
func PodOf(p *types.Project, service string) string {
	seen := map[string]bool{}
	for !seen[service] {
		seen[service] = true
		next := sharesWith(p, service)
		if _, ok := p.Services[next]; !ok {
			return service
		}
		service = next
	}
	return service
}

// sharesWith is the service that another one needs in its own pod, "" when there is none.
func sharesWith(p *types.Project, service string) string {
	s := p.Services[service]
	for _, mode := range []string{s.NetworkMode, s.Pid, s.Ipc} {
		if other, ok := strings.CutPrefix(mode, types.ServicePrefix); ok {
			return other
		}
	}
	for _, from := range s.VolumesFrom {
		other, _, _ := strings.Cut(from, ":")
		if hasOwnVolumes(p.Services[other]) {
			return other
		}
	}
	return ""
}

// hasOwnVolumes tells whether a service has volumes that no other pod can mount: anonymous ones, or none in the file at all,
// so that it must be those of its image that are meant.
func hasOwnVolumes(s types.ServiceConfig) bool {
	own := func(v types.ServiceVolumeConfig) bool { return v.Type == types.VolumeTypeVolume && v.Source == "" }
	return len(s.Volumes) == 0 || slices.ContainsFunc(s.Volumes, own)
}
