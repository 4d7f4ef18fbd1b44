package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// names checks that every name has one valid Kubernetes name of its own, and tells what was renamed.
func (r *reading) names() {
	p := r.project.Project
	if r.project.Namespace != p.Name {
		r.warn(position{}, fmt.Sprintf("project %q is namespace %q in Kubernetes", p.Name, r.project.Namespace), "")
	}
	r.collisions("services", sortedNames(p.Services), sortedNames(p.Jobs))
	r.collisions("volumes", sortedNames(p.Volumes), nil)
	for _, name := range sortedNames(p.Services) {
		if k8s := Name(name); k8s != name {
			message := fmt.Sprintf("service %q: its name inside is %q: Kubernetes has only lower-case letters, digits and hyphens", name, k8s)
			hint := "rename the service"
			if users := r.users(name); len(users) > 0 {
				hint = fmt.Sprintf("rename the service, or write %s in %s", k8s, strings.Join(users, ", "))
			}
			r.warn(r.at("services", name), message, hint)
		}
		r.checkAliases(name)
	}
}

func (r *reading) collisions(kind string, names, more []string) {
	taken := map[string]string{}
	for i, name := range append(slices.Clone(names), more...) {
		section := kind
		if i >= len(names) {
			section = "jobs"
		}
		k8s := Name(name)
		if other, ok := taken[k8s]; ok && other != name {
			r.problem(r.at(section, name), fmt.Sprintf("%s%q and %q have the same name in Kubernetes, %q", subject([]string{section, name}), other, name, k8s),
				"rename one of them")
			continue
		}
		taken[k8s] = name
	}
	if kind != "services" {
		return
	}
	for _, name := range names {
		for _, suffix := range []string{"-pods", "-published"} {
			if other, ok := taken[Name(name)+suffix]; ok && slices.Contains(names, other) {
				r.problem(r.at("services", other), fmt.Sprintf("service %q: this name is kept for a part of service %q", other, name), "rename one of them")
			}
		}
	}
}

// users are the variables whose value names a service as the host of an address.
func (r *reading) users(name string) []string {
	var all []string
	for _, other := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[other]
		for _, variable := range sortedNames(s.Environment) {
			if value := s.Environment[variable]; value != nil && mentionsHost(*value, name) {
				all = append(all, other+".environment."+variable)
			}
		}
	}
	return all
}

// mentionsHost tells whether a name stands in a value by itself, as hosts do in addresses.
func mentionsHost(value, name string) bool {
	for rest := value; ; {
		i := strings.Index(rest, name)
		if i < 0 {
			return false
		}
		end := i + len(name)
		before := i == 0 || !isWordByte(rest[i-1]) && rest[i-1] != '-'
		after := end == len(rest) || !isWordByte(rest[end]) && rest[end] != '-'
		if before && after {
			return true
		}
		rest = rest[end:]
	}
}

// checkAliases tells which of the other names of a service do not resolve, and finds those that two services want.
func (r *reading) checkAliases(name string) {
	p := r.project.Project
	s := p.Services[name]
	mine := Aliases(r.project, name)
	tell := func(alias string, path ...string) {
		if Name(alias) != alias {
			r.warn(r.at(path...), fmt.Sprintf("service %q: the name %q does not resolve in Kubernetes; it has only lower-case letters, digits and hyphens", name, alias),
				fmt.Sprintf("address it as %s", Name(name)))
		}
		if slices.Contains(mine, alias) {
			for _, other := range sortedNames(p.Services) {
				if other < name && slices.Contains(Aliases(r.project, other), alias) {
					r.problem(r.at(path...), fmt.Sprintf("service %q: service %q has the name %q too", name, other, alias), "give it to one of them")
				}
			}
		}
	}
	if s.ContainerName != "" {
		tell(s.ContainerName, "services", name, "container_name")
	}
	for _, network := range sortedNames(s.Networks) {
		if n := s.Networks[network]; n != nil {
			for i, alias := range n.Aliases {
				tell(alias, "services", name, "networks", network, "aliases", strconv.Itoa(i))
			}
		}
	}
	for i, link := range s.Links {
		target, _, _ := strings.Cut(link, ":")
		if _, ok := p.Services[target]; !ok {
			r.problem(r.at("services", name, "links", strconv.Itoa(i)), fmt.Sprintf("service %q: links to %q, which is no service", name, target),
				didYouMean(target, sortedNames(p.Services)))
		}
	}
}

// networks warns once when a file divides its services into networks: here they all reach each other.
func (r *reading) networks() {
	used := map[string][]string{}
	for _, name := range sortedNames(r.project.Project.Services) {
		for network := range r.project.Project.Services[name].Networks {
			used[network] = append(used[network], name)
		}
	}
	if len(used) < 2 {
		return
	}
	for _, network := range sortedNames(used) {
		if network != "default" {
			r.warn(r.at("networks", network), fmt.Sprintf("network %q is carried in part: isolation is not enforced yet, so services of other networks reach it too", network), "")
		}
	}
}
