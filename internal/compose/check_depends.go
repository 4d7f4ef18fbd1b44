package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// checkDependencies finds what depends_on names and the project does not have.
func (r *reading) checkDependencies(name string, on types.DependsOnConfig, path []string) {
	p := r.project.Project
	for _, other := range sortedNames(on) {
		steps := append(slices.Clone(path), "depends_on", other)
		if _, ok := p.Services[other]; ok {
			continue
		}
		_, disabled := p.DisabledServices[other]
		_, job := p.Jobs[other]
		if _, off := p.DisabledJobs[other]; off {
			job = true
		}
		switch {
		case r.incomplete: // it may be in the file that could not be read
		case path[0] == "services" && r.implied(p.Services[name], other):
			// compose-go made a dependency of a link, or of what is shared, which is told of by itself
		case !on[other].Required && !job:
		case disabled:
			profiles := p.DisabledServices[other].Profiles
			r.problem(r.at(steps...), fmt.Sprintf("%sdepends on %q, which is only in profile %s", subject(path), other, quoted(profiles)),
				fmt.Sprintf("add --profile %s, or write required: false", profiles[0]))
		case job:
			r.problem(r.at(steps...), fmt.Sprintf("%sdepends on %q, which is a job; jobs run only when asked", subject(path), other),
				"put what must run before into pre_start:")
		default:
			hint := didYouMean(other, sortedNames(p.Services))
			if hint == "" {
				hint = "the services are " + strings.Join(sortedNames(p.Services), ", ")
			}
			r.problem(r.at(steps...), fmt.Sprintf("%sdepends on %q, which is no service", subject(path), other), hint)
		}
	}
	if _, self := on[name]; self && path[0] == "services" {
		r.problem(r.at(append(slices.Clone(path), "depends_on", name)...), subject(path)+"depends on itself", "leave it out")
	}
}

// implied tells whether a dependency is none that the file writes.
func (r *reading) implied(s types.ServiceConfig, other string) bool {
	if key, _ := descendFirst(r.files, "services", s.Name, "depends_on", other); key != nil {
		return false
	}
	names := func(list []string) bool {
		return slices.ContainsFunc(list, func(one string) bool { return one == other || strings.HasPrefix(one, other+":") })
	}
	return names(s.Links) || names(s.VolumesFrom) || slices.Contains([]string{s.NetworkMode, s.Pid, s.Ipc}, types.ServicePrefix+other)
}

// checkCycles finds services that wait for each other.
func (r *reading) checkCycles() {
	const (
		unseen = iota
		open
		done
	)
	state := map[string]int{}
	var stack []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		stack = append(stack, name)
		for _, next := range sortedNames(r.project.Project.Services[name].DependsOn) {
			switch {
			case next == name:
			case state[next] == open:
				ring := append(slices.Clone(stack[slices.Index(stack, next):]), next)
				r.problem(r.at("services", name, "depends_on", next),
					fmt.Sprintf("service %q: services wait for each other: %s", name, strings.Join(ring, " → ")), "leave one of these depends_on out")
			case state[next] == unseen:
				if _, ok := r.project.Project.Services[next]; ok {
					visit(next)
				}
			}
		}
		stack = stack[:len(stack)-1]
		state[name] = done
	}
	for _, name := range sortedNames(r.project.Project.Services) {
		if state[name] == unseen {
			visit(name)
		}
	}
}
