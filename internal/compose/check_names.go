package compose

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// names checks that every name has one valid Kubernetes name of its own, and tells what does not resolve any more.
func (r *reading) names() {
	p := r.project.Project
	if r.project.Namespace != p.Name {
		r.warn(position{}, fmt.Sprintf("project %q is namespace %q in Kubernetes", p.Name, r.project.Namespace), "")
	}
	if slices.Contains([]string{"default", "kube-system", "kube-public", "kube-node-lease"}, r.project.Namespace) {
		r.problem(r.at("name"), fmt.Sprintf("project %q: the namespace of this name is Kubernetes' own", p.Name), "give the project another name, with name: or -p")
	}
	r.collisions(sortedNames(p.Services), sortedNames(p.Jobs))
	r.claims()
	for _, name := range sortedNames(p.Services) {
		if !r.resolves(name) {
			message := fmt.Sprintf("service %q: its name inside is %q: Kubernetes has only lower-case letters, digits and hyphens", name, Name(name))
			r.warn(r.at("services", name), message, r.renameHint(name, Name(name), "rename the service"))
		}
		r.checkLinks(name)
	}
	r.checkAliases()
}

// renameHint says where a name is written that does not resolve any more, and what to write there.
func (r *reading) renameHint(name, k8s, otherwise string) string {
	users := r.users(name)
	if len(users) == 0 {
		return otherwise
	}
	return fmt.Sprintf("%s, or write %s in %s", otherwise, k8s, strings.Join(users, ", "))
}

func (r *reading) collisions(names, jobs []string) {
	taken := map[string]string{}
	for i, name := range append(slices.Clone(names), jobs...) {
		section := "services"
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
	for _, name := range names {
		for _, suffix := range keptSuffixes() {
			if other, ok := taken[Name(name)+suffix]; ok && slices.Contains(names, other) {
				r.problem(r.at("services", other), fmt.Sprintf("service %q: this name is kept for a part of service %q", other, name), "rename one of them")
			}
		}
	}
}

// keptSuffixes end the names of the other Services that one service has.
func keptSuffixes() []string { return []string{"-pods", "-published"} }

// claims finds volumes that would be one and the same claim. A claim has the name of name:, else of the volume's key.
func (r *reading) claims() {
	p := r.project.Project
	taken := map[string]string{}
	for _, name := range sortedNames(p.Volumes) {
		claim := Name(name)
		if given := p.Volumes[name].Name; given != "" && given != p.Name+"_"+name {
			claim = Name(given)
		}
		if other, ok := taken[claim]; ok {
			r.problem(r.at("volumes", name), fmt.Sprintf("volume %q: %q and %q have the same name in Kubernetes, %q", name, other, name, claim),
				"rename one of them, or use one volume in both places")
		}
		taken[claim] = name
	}
}

// users are the places where the name of a service stands as the host of an address: in variables, commands, health checks,
// configs, and project files that are mounted.
func (r *reading) users(name string) []string {
	var all []string
	for _, other := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[other]
		for _, variable := range sortedNames(s.Environment) {
			if value := s.Environment[variable]; value != nil && mentionsHost(*value, name) {
				all = append(all, other+".environment."+variable)
			}
		}
		var test []string
		if s.HealthCheck != nil {
			test = s.HealthCheck.Test
		}
		for _, command := range []struct {
			key   string
			words []string
		}{{"command", s.Command}, {"entrypoint", s.Entrypoint}, {"healthcheck.test", test}} {
			if slices.ContainsFunc(command.words, func(word string) bool { return mentionsHost(word, name) }) {
				all = append(all, other+"."+command.key)
			}
		}
	}
	for _, config := range sortedNames(r.project.ConfigData) {
		if text := r.project.ConfigData[config]; mentionsInText(text, name) {
			all = append(all, "configs."+config)
		}
	}
	for _, source := range sortedNames(r.bound) {
		tree := r.project.Binds[source]
		for _, file := range tree.Files {
			if mentionsInText(file.Data, name) {
				all = append(all, strings.TrimSuffix(r.onThisMachine(source)+"/"+file.Path, "/"))
			}
		}
	}
	return all
}

// mentionsInText looks at files that are text.
func mentionsInText(data []byte, name string) bool {
	return bytes.IndexByte(data, 0) < 0 && mentionsHost(string(data), name)
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

// checkAliases tells which of the other names of services do not resolve, and finds those that two services want: Docker keeps
// them apart by network, but the names of a namespace are for all in it.
func (r *reading) checkAliases() {
	p := r.project.Project
	owners, kept := map[string]string{}, map[string]string{}
	for _, name := range sortedNames(p.Services) {
		owners[Name(name)] = name
		for _, suffix := range keptSuffixes() {
			kept[Name(name)+suffix] = name
		}
	}
	for _, name := range sortedNames(p.Services) {
		for _, a := range declaredAliases(p, name) {
			k8s := Name(a.name)
			if first := firstWith(p, a); first != "" {
				r.warn(r.at(a.path...), fmt.Sprintf("service %q: the alias %q is carried in part: service %q has it too, and is the one that it names", name, a.name, first),
					"Compose does not say whom a shared alias names; for both, put a proxy in front of them")
				continue
			}
			if other, ok := owners[k8s]; ok && other != name {
				r.problem(r.at(a.path...), fmt.Sprintf("service %q: service %q has the name %q too%s", name, other, a.name, inKubernetes(a.name, k8s)),
					"give it to one of them; a name is the same for all networks of a project in Kubernetes")
				continue
			}
			if other, ok := kept[k8s]; ok {
				r.problem(r.at(a.path...), fmt.Sprintf("service %q: the name %q is kept for a part of service %q", name, a.name, other), "write another one")
				continue
			}
			owners[k8s] = name
			if !r.resolves(a.name) {
				r.warn(r.at(a.path...), fmt.Sprintf("service %q: the name %q does not resolve in Kubernetes; it has only lower-case letters, digits and hyphens", name, a.name),
					r.renameHint(a.name, k8s, fmt.Sprintf("address it as %s", k8s)))
			}
		}
	}
}

func inKubernetes(name, k8s string) string {
	if name == k8s {
		return ""
	}
	return fmt.Sprintf(", which is %q in Kubernetes", k8s)
}

func (r *reading) checkLinks(name string) {
	p := r.project.Project
	for i, link := range p.Services[name].Links {
		target, _, _ := strings.Cut(link, ":")
		if _, ok := p.Services[target]; !ok {
			r.notAService(target, []string{"services", name, "links", strconv.Itoa(i)})
		}
	}
}
