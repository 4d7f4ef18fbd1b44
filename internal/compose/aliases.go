package compose

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Aliases are the names besides its own under which others reach a service: network aliases, container_name, and the second
// halves of links to it. (Docker does not resolve hostname.) They are Kubernetes names, sorted; on Perch's own node the names
// as they are written resolve too, elsewhere Load warned of those that do not. A network alias that several services have is
// the first one's: Compose does not say whom it names.
func Aliases(p *Project, service string) []string {
	var all []string
	for _, alias := range declaredAliases(p.Project, service) {
		if name := Name(alias.name); name != Name(service) && !slices.Contains(all, name) && firstWith(p.Project, alias) == "" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// alias is another name of a service, and where the file gives it.
type alias struct {
	name    string
	network string // on which it is; "": it is no network alias
	path    []string
}

// firstWith is the service before the alias' own, in the order of names, that has the same alias on the same network; "" when
// there is none.
func firstWith(p *types.Project, a alias) string {
	if a.network == "" {
		return ""
	}
	for _, other := range sortedNames(p.Services) {
		if other == a.path[1] {
			break
		}
		if n := p.Services[other].Networks[a.network]; n != nil && slices.ContainsFunc(n.Aliases, func(name string) bool { return Name(name) == Name(a.name) }) {
			return other
		}
	}
	return ""
}

// declaredAliases are all names that the file gives a service, as they are written.
func declaredAliases(p *types.Project, service string) []alias {
	s := p.Services[service]
	var all []alias
	if s.ContainerName != "" {
		all = append(all, alias{s.ContainerName, "", []string{"services", service, "container_name"}})
	}
	for _, network := range sortedNames(s.Networks) {
		if n := s.Networks[network]; n != nil {
			for i, name := range n.Aliases {
				all = append(all, alias{name, network, []string{"services", service, "networks", network, "aliases", strconv.Itoa(i)}})
			}
		}
	}
	for _, other := range sortedNames(p.Services) {
		for i, link := range p.Services[other].Links {
			if target, name, ok := strings.Cut(link, ":"); ok && target == service {
				all = append(all, alias{name, "", []string{"services", other, "links", strconv.Itoa(i)}})
			}
		}
	}
	return all
}

// dnsName are names that the DNS of Perch's own node finds under the Kubernetes name of a service.
var dnsName = regexp.MustCompile(`^[A-Za-z0-9.-][A-Za-z0-9._-]{0,62}$`)

// resolves tells whether a name resolves as it is written.
func (r *reading) resolves(name string) bool {
	return Name(name) == name || r.options.Embedded && dnsName.MatchString(name)
}
