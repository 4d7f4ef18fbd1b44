package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// sharing checks what a container shares with others, or with the node: its network, processes, memory and volumes.
func (r *reading) sharing(c types.ContainerSpec, path []string) {
	in := func(steps ...string) []string { return append(slices.Clone(path), steps...) }
	r.checkMode(c.NetworkMode, in("network_mode"), "bridge", "default", "none", "host")
	r.checkMode(c.Pid, in("pid"), "private", "host")
	r.checkMode(c.Ipc, in("ipc"), "private", "shareable", "none", "host")
	r.checkMode(c.Cgroup, in("cgroup"), "private", "host")
	if c.Cgroup == "host" && !c.Privileged {
		r.problem(r.at(in("cgroup")...), subject(in("cgroup"))+"host is for containers with privileged: true", "leave it out, or write privileged: true")
	}
	r.checkMode(c.Uts, in("uts"), "host", "private")
	if c.Uts == "host" && c.NetworkMode != "host" {
		r.problem(r.at(in("uts")...), subject(in("uts"))+"host goes with network_mode: host in Kubernetes", "leave it out, or write network_mode: host")
	}
	for what, mode := range map[string]string{"network": c.NetworkMode, "processes": c.Pid, "shared memory": c.Ipc} {
		if key := map[string]string{"network": "network_mode", "processes": "pid", "shared memory": "ipc"}[what]; mode == "host" && r.options.Embedded {
			r.warn(r.at(in(key)...), fmt.Sprintf("%shost is carried in part: the %s of the host is that of perch's node, which is not this machine's", subject(in(key)), what),
				map[string]string{"network_mode": "name the ports that are to answer on this machine with expose: or ports:"}[key])
		}
	}
	_, written := descendFirst(r.files, in("networks")...)
	if _, mode := descendFirst(r.files, in("network_mode")...); written != nil && mode != nil && !slices.Contains([]string{"", "bridge", "default"}, c.NetworkMode) {
		r.problem(r.at(in("network_mode")...), subject(path)+"network_mode and networks are both given", "keep one of them")
	}
	for i, from := range c.VolumesFrom {
		r.checkVolumesFrom(from, in("volumes_from", strconv.Itoa(i)))
	}
}

// checkMode checks a mode like network_mode: one of some words, or service:NAME. Hooks and jobs have pods of their own, which
// share with no service.
func (r *reading) checkMode(mode string, path []string, words ...string) {
	key := path[len(path)-1]
	service, shared := strings.CutPrefix(mode, types.ServicePrefix)
	switch {
	case mode == "" || slices.Contains(words, mode):
	case shared && key != "cgroup" && key != "uts":
		if len(path) > 3 || path[0] != "services" {
			r.problem(r.at(path...), fmt.Sprintf("%s%s is not carried: it runs in a pod of its own", subject(path), mode), "leave it out, or make it a service")
			return
		}
		if _, ok := r.project.Project.Services[service]; !ok {
			r.notAService(service, path)
		}
	case strings.HasPrefix(mode, types.ContainerPrefix):
		r.problem(r.at(path...), fmt.Sprintf("%s%s is not carried: containers outside of the project are not known by name", subject(path), mode), "write service:NAME")
	default:
		r.problem(r.at(path...), fmt.Sprintf("%s%q is not known", subject(path), mode), "one of "+strings.Join(words, ", "))
	}
}

func (r *reading) notAService(name string, path []string) {
	if r.incomplete {
		return // it may be in the file that could not be read
	}
	p := r.project.Project
	if disabled, ok := p.DisabledServices[name]; ok && len(disabled.Profiles) > 0 {
		r.problem(r.at(path...), fmt.Sprintf("%sservice %q is only in profile %s", subject(path), name, quoted(disabled.Profiles)), "add --profile "+disabled.Profiles[0])
		return
	}
	r.problem(r.at(path...), fmt.Sprintf("%s%q is no service", subject(path), name), didYouMean(name, sortedNames(p.Services)))
}

func (r *reading) checkVolumesFrom(from string, path []string) {
	if strings.HasPrefix(from, types.ContainerPrefix) {
		r.problem(r.at(path...), fmt.Sprintf("%s%s is not carried: containers outside of the project are not known by name", subject(path), from), "write the name of a service")
		return
	}
	name, mode, _ := strings.Cut(from, ":")
	other, ok := r.project.Project.Services[name]
	switch {
	case !ok:
		r.notAService(name, path)
	case mode != "" && mode != "ro" && mode != "rw":
		r.problem(r.at(path...), fmt.Sprintf("%s%q is not known", subject(path), mode), "ro or rw")
	case hasOwnVolumes(other) && (len(path) != 4 || path[0] != "services"):
		r.problem(r.at(path...), fmt.Sprintf("%sthe volumes of %s are in its pod, and this is another one", subject(path), name), "give the volume a name and mount it in both")
	}
}

// sidecars checks the services that run in the pod of another one.
func (r *reading) sidecars() {
	p := r.project.Project
	for _, name := range sortedNames(p.Services) {
		s := p.Services[name]
		pod := PodOf(p, name)
		if pod == name {
			continue
		}
		path := []string{"services", name}
		problem := func(hint, key, format string, args ...any) {
			r.problem(r.at(append(slices.Clone(path), key)...), subject(path)+fmt.Sprintf(format, args...), hint)
		}
		if len(s.Ports) > 0 && strings.HasPrefix(s.NetworkMode, types.ServicePrefix) {
			problem(fmt.Sprintf("write them under %s", pod), "ports", "ports are those of service %q, whose network it shares", pod)
		}
		if r.awaited(name) {
			problem("leave out what it shares", "image", "another service waits for it to end, and it runs in the pod of %q, which does not", pod)
		}
		if s.GetScale() != 1 && s.GetScale() != r.scale(pod) {
			r.warn(r.at(path...), fmt.Sprintf("%sit runs in each of the %d pods of %q, not in %d of its own", subject(path), r.scale(pod), pod, s.GetScale()), "")
		}
	}
}

func (r *reading) scale(service string) int {
	s := r.project.Project.Services[service]
	return s.GetScale()
}

// checkHooks checks post_start and pre_stop: commands that Kubernetes runs as the container's own user.
func (r *reading) checkHooks(s types.ServiceConfig, path []string) {
	for _, kind := range []string{"post_start", "pre_stop"} {
		hooks := s.PostStart
		if kind == "pre_stop" {
			hooks = s.PreStop
		}
		for i, hook := range hooks {
			in := func(steps ...string) []string {
				return append(slices.Clone(path), append([]string{kind, strconv.Itoa(i)}, steps...)...)
			}
			// A line that is no command was told of before, and left out.
			if _, line := descendFirst(r.files, in("command")...); len(hook.Command) == 0 && (line == nil || r.interpolate.text(line) == "") {
				r.problem(r.at(in()...), subject(in())+"it has no command", "write command:")
			}
			switch {
			case hook.User == "" || hook.User == s.User:
			case s.User == "":
				r.warn(r.at(in("user")...), fmt.Sprintf("%suser %s is carried in part: Kubernetes runs hooks as the container's own user, which is the image's", subject(in()), hook.User),
					"write user: for the service, if the image has another")
			default:
				r.problem(r.at(in("user")...), fmt.Sprintf("%suser %s is not that of the container: Kubernetes runs hooks as the container's own user", subject(in()), hook.User),
					"leave it out, and do in pre_start or in the entrypoint what needs that user")
			}
			if hook.Privileged && !s.Privileged {
				r.problem(r.at(in("privileged")...), subject(in())+"privileged is not carried: Kubernetes runs hooks with the rights of the container",
					"leave it out, or write privileged: true for the service")
			}
		}
	}
}
