package compose

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/perch-k8s/perch/internal/fault"
)

// CheckServices refuses the first name that is no service of the project, with the one that was likely meant.
func CheckServices(p *types.Project, named []string) error {
	known := p.ServiceNames()
	for _, name := range named {
		if slices.Contains(known, name) {
			continue
		}
		if off, ok := p.DisabledServices[name]; ok && len(off.Profiles) > 0 {
			return fault.New(fault.Usage, "switch it on: --profile "+off.Profiles[0], "service %q is off: none of its profiles is on", name)
		}
		return Unknown("service", name, known)
	}
	return nil
}

// Unknown is the error for a name on the command line that nothing of its kind ("service", "job", "service or job") has.
func Unknown(kind, name string, known []string) error {
	hint := didYouMean(name, known)
	switch {
	case hint != "":
	case len(known) > 0:
		hint = "there are: " + strings.Join(known, ", ")
	default:
		hint = "add one to it"
	}
	return fault.New(fault.Usage, hint, "no %s %q in the Compose file", kind, name)
}
