package compose

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Aliases are the names besides its own under which others reach a service: network aliases, container_name, and the
// second halves of links to it. Only those that Kubernetes can resolve are here; Load warned of the others. They are
// Kubernetes names, sorted, none of them the name of a service.
func Aliases(p *Project, service string) []string {
	var all []string
	for _, alias := range declaredAliases(p.Project, service) {
		if Name(alias) == alias && !isService(p.Project, alias) && !slices.Contains(all, alias) {
			all = append(all, alias)
		}
	}
	slices.Sort(all)
	return all
}

func isService(p *types.Project, name string) bool {
	for other := range p.Services {
		if Name(other) == name {
			return true
		}
	}
	return false
}

// declaredAliases are all names that the file gives a service, as they are written.
func declaredAliases(p *types.Project, service string) []string {
	s := p.Services[service]
	var all []string
	if s.ContainerName != "" {
		all = append(all, s.ContainerName)
	}
	for _, network := range sortedNames(s.Networks) {
		if n := s.Networks[network]; n != nil {
			all = append(all, n.Aliases...)
		}
	}
	for _, other := range sortedNames(p.Services) {
		for _, link := range p.Services[other].Links {
			if target, alias, ok := strings.Cut(link, ":"); ok && target == service {
				all = append(all, alias)
			}
		}
	}
	return all
}
