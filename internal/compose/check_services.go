package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// at is the place of a part of a service, and what messages about it begin with.
func (r *reading) at(path ...string) position { return r.files.find(path...) }

// services checks each service by itself and against the others.
func (r *reading) services() {
	for _, name := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[name]
		path := []string{"services", name}
		if s.Build == nil && s.Image == "" && s.Provider == nil && !r.written("services", name) && !r.runsElsewhere(name) {
			r.problem(r.at(path...), subject(path)+"neither image nor build is given", "write image: NAME or build: .")
		}
		r.checkBuild(s.Build, path)
		r.container(s.ContainerSpec, path)
		r.checkDependencies(name, s.DependsOn, path)
		r.checkHealth(s.HealthCheck, path)
		r.checkScale(s, path)
		r.checkResources(s, path)
		r.checkRestarts(s, path)
		r.checkMetadata(s, path)
		r.checkPlacement(s, path)
		r.checkHooks(s, path)
		for i, hook := range s.PreStart {
			r.container(ownOf(hook, s), append(slices.Clone(path), "pre_start", strconv.Itoa(i)))
		}
	}
	for _, name := range sortedNames(r.project.Jobs) {
		j := r.project.Jobs[name]
		path := []string{"jobs", name}
		if j.Build == nil && j.Image == "" && !r.written("jobs", name) {
			r.problem(r.at(path...), subject(path)+"neither image nor build is given", "write image: NAME or build: .")
		}
		if _, twice := r.project.Project.Services[name]; twice {
			r.problem(r.at(path...), subject(path)+"a service has the same name", "rename one of them")
		}
		r.checkBuild(j.Build, path)
		r.container(j.ContainerSpec, path)
		r.checkDependencies(name, j.DependsOn, path)
	}
	r.checkCycles()
	r.sidecars()
}

// written tells whether a file gives an image or a build after all: one that cannot be read was left out, and told.
func (r *reading) written(kind, name string) bool {
	if r.incomplete {
		return true
	}
	for _, key := range []string{"image", "build"} {
		if _, value := descendFirst(r.files, kind, name, key); value != nil {
			return true
		}
	}
	return false
}

// ownOf is what a hook says itself: compose-go has filled in what it inherits, and that was checked with the service.
func ownOf(hook types.PreStartHook, s types.ServiceConfig) types.ContainerSpec {
	own := hook.ContainerSpec
	own.Secrets = slices.DeleteFunc(slices.Clone(own.Secrets), func(one types.ServiceSecretConfig) bool {
		return slices.ContainsFunc(s.Secrets, func(of types.ServiceSecretConfig) bool { return of.Source == one.Source })
	})
	own.Configs = slices.DeleteFunc(slices.Clone(own.Configs), func(one types.ServiceConfigObjConfig) bool {
		return slices.ContainsFunc(s.Configs, func(of types.ServiceConfigObjConfig) bool { return of.Source == one.Source })
	})
	own.Networks, own.SecurityOpt, own.ExtraHosts, own.Tmpfs, own.Hostname = nil, nil, nil, nil, ""
	own.NetworkMode, own.Pid, own.Ipc, own.Uts, own.Cgroup = unlessSame(own.NetworkMode, s.NetworkMode), unlessSame(own.Pid, s.Pid),
		unlessSame(own.Ipc, s.Ipc), unlessSame(own.Uts, s.Uts), unlessSame(own.Cgroup, s.Cgroup)
	own.Devices, own.DeviceCgroupRules, own.Gpus, own.VolumesFrom = nil, nil, nil, nil
	own.Sysctls, own.Ulimits, own.StorageOpt = nil, nil, nil
	return own
}

func unlessSame(own, inherited string) string {
	if own == inherited {
		return ""
	}
	return own
}

func (r *reading) checkBuild(b *types.BuildConfig, path []string) {
	if b == nil {
		return
	}
	path = append(slices.Clone(path), "build")
	if b.Dockerfile != "" && b.DockerfileInline != "" {
		r.problem(r.at(append(path, "dockerfile_inline")...), subject(path)+"dockerfile and dockerfile_inline are both given", "keep one of them")
	}
	for i, s := range b.Secrets {
		if _, ok := r.project.Secrets[s.Source]; !ok {
			r.undefined(append(slices.Clone(path), "secrets", strconv.Itoa(i)), "secret", s.Source, sortedNames(r.project.Secrets))
		}
	}
	for _, name := range sortedNames(b.AdditionalContexts) {
		target, ok := strings.CutPrefix(b.AdditionalContexts[name], types.ServicePrefix)
		if !ok {
			continue
		}
		if other, there := r.project.Project.Services[target]; !there || other.Build == nil {
			r.problem(r.at(append(slices.Clone(path), "additional_contexts", name)...),
				fmt.Sprintf("%sadditional_contexts: %q is no service with a build", subject(path), target), "")
		}
	}
}

func (r *reading) undefined(path []string, kind, name string, known []string) {
	if r.incomplete {
		return // it may be in the file that could not be read
	}
	hint := didYouMean(name, known)
	if hint == "" {
		hint = fmt.Sprintf("define it under %ss: at the top level", kind)
	}
	r.problem(r.at(path...), fmt.Sprintf("%s%s %q is not defined", subject(path[:2]), kind, name), hint)
}

// container checks what services, hooks and jobs have in common.
func (r *reading) container(c types.ContainerSpec, path []string) {
	in := func(steps ...string) []string { return append(slices.Clone(path), steps...) }
	for i, s := range c.Secrets {
		if _, ok := r.project.Secrets[s.Source]; !ok {
			r.undefined(in("secrets", s.Source), "secret", s.Source, sortedNames(r.project.Secrets))
		}
		r.checkFileMode(s.Mode, c.User, in("secrets", strconv.Itoa(i)))
	}
	for i, s := range c.Configs {
		if _, ok := r.project.Configs[s.Source]; !ok {
			r.undefined(in("configs", s.Source), "config", s.Source, sortedNames(r.project.Configs))
		}
		r.checkFileMode(s.Mode, c.User, in("configs", strconv.Itoa(i)))
	}
	for _, name := range sortedNames(c.Networks) {
		if _, ok := r.project.Networks[name]; !ok && name != "default" {
			r.undefined(in("networks", name), "network", name, sortedNames(r.project.Networks))
		}
	}
	for _, name := range sortedNames(c.ExtraHosts) {
		// The embedded node's DNS knows this name; any other would need an address before the node has one.
		if slices.Contains(c.ExtraHosts[name], "host-gateway") && !(r.options.Embedded && name == "host.docker.internal") {
			r.warn(r.at(in("extra_hosts", name)...),
				fmt.Sprintf("%sextra_hosts: %s is left out: the host has no fixed address for pods", subject(path), name),
				"call it host.docker.internal, which perch's own node knows, or write its address")
		}
	}
	if c.Hostname != "" && len(validation.IsDNS1123Label(c.Hostname)) > 0 {
		r.warn(r.at(in("hostname")...), fmt.Sprintf("%shostname %q is %q in the container: Kubernetes has only lower-case labels without dots",
			subject(path), c.Hostname, Name(c.Hostname)), "")
	}
	r.sharing(c, path)
	r.platform(c, path)
	r.volumes(c, path)
}

// checkFileMode warns of a file that the container's user could not read: it belongs to root in the pod.
func (r *reading) checkFileMode(mode *types.FileMode, user string, path []string) {
	if mode == nil || *mode&0o004 != 0 || user == "" || user == "0" || strings.HasPrefix(user, "0:") || strings.HasPrefix(user, "root") {
		return
	}
	r.warn(r.at(append(slices.Clone(path), "mode")...),
		fmt.Sprintf("%smode %s keeps user %s from reading it: the file belongs to root", subject(path), mode, user), "write mode: 0444")
}

func (r *reading) checkHealth(h *types.HealthCheckConfig, path []string) {
	if h == nil || len(h.Test) == 0 {
		return
	}
	at := r.at(append(slices.Clone(path), "healthcheck", "test")...)
	switch h.Test[0] {
	case "NONE":
	case "CMD", "CMD-SHELL":
		if len(h.Test) < 2 || (h.Test[0] == "CMD-SHELL" && len(h.Test) > 2) {
			r.problem(at, fmt.Sprintf("%shealthcheck: %s has no command, or more than one", subject(path), h.Test[0]),
				`as in ["CMD", "pg_isready", "-U", "app"] or ["CMD-SHELL", "curl -f localhost || exit 1"]`)
		}
	default:
		r.problem(at, fmt.Sprintf("%shealthcheck: test begins with CMD, CMD-SHELL or NONE, not %q", subject(path), h.Test[0]),
			fmt.Sprintf("write [\"CMD\", %q, …]", h.Test[0]))
	}
}

func (r *reading) checkScale(s types.ServiceConfig, path []string) {
	if s.Scale != nil && s.Deploy != nil && s.Deploy.Replicas != nil && *s.Scale != *s.Deploy.Replicas {
		r.problem(r.at(append(slices.Clone(path), "scale")...),
			fmt.Sprintf("%sscale is %d and deploy.replicas is %d", subject(path), *s.Scale, *s.Deploy.Replicas), "keep one of them")
	}
	if s.GetScale() > 1 && s.ContainerName != "" {
		r.problem(r.at(append(slices.Clone(path), "container_name")...),
			subject(path)+"container_name is for one container, and there are more replicas", "leave container_name out")
	}
}

// checkResources finds requests over their limit, which the API server refuses, and two words for one thing.
func (r *reading) checkResources(s types.ServiceConfig, path []string) {
	if s.Deploy == nil {
		if s.MemLimit > 0 && s.MemReservation > s.MemLimit {
			r.problem(r.at(append(slices.Clone(path), "mem_reservation")...), subject(path)+"mem_reservation is more than mem_limit", "")
		}
		return
	}
	limits, reserved := s.Deploy.Resources.Limits, s.Deploy.Resources.Reservations
	problem := func(message string, steps ...string) {
		r.problem(r.at(append(slices.Clone(path), steps...)...), subject(path)+message, "keep one of them")
	}
	if limits != nil && s.CPUS != 0 && limits.NanoCPUs != 0 && limits.NanoCPUs.Value() != s.CPUS {
		problem("cpus and deploy.resources.limits.cpus differ", "cpus")
	}
	if limits != nil && s.MemLimit != 0 && limits.MemoryBytes != 0 && limits.MemoryBytes != s.MemLimit {
		problem("mem_limit and deploy.resources.limits.memory differ", "mem_limit")
	}
	if reserved != nil && s.MemReservation != 0 && reserved.MemoryBytes != 0 && reserved.MemoryBytes != s.MemReservation {
		problem("mem_reservation and deploy.resources.reservations.memory differ", "mem_reservation")
	}
	if limits == nil || reserved == nil {
		return
	}
	in := func(name string) position {
		return r.at(append(slices.Clone(path), "deploy", "resources", "reservations", name)...)
	}
	if limits.NanoCPUs != 0 && reserved.NanoCPUs > limits.NanoCPUs {
		r.problem(in("cpus"), subject(path)+"deploy: more CPUs are reserved than the limit allows", "raise the limit, or reserve less")
	}
	if limits.MemoryBytes != 0 && reserved.MemoryBytes > limits.MemoryBytes {
		r.problem(in("memory"), subject(path)+"deploy: more memory is reserved than the limit allows", "raise the limit, or reserve less")
	}
}

// checkRestarts compares what the file says of restarts with what Kubernetes does: a Deployment restarts always.
func (r *reading) checkRestarts(s types.ServiceConfig, path []string) {
	steps := append(slices.Clone(path), "restart")
	policy, _, _ := strings.Cut(s.Restart, ":")
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		steps = append(slices.Clone(path), "deploy", "restart_policy", "condition")
		policy = map[string]string{"none": types.RestartPolicyNo, "on-failure": types.RestartPolicyOnFailure, "any": types.RestartPolicyAlways, "": types.RestartPolicyAlways}[s.Deploy.RestartPolicy.Condition]
		if policy == "" {
			r.problem(r.at(steps...), fmt.Sprintf("%srestart condition %q is not known", subject(path), s.Deploy.RestartPolicy.Condition), "none, on-failure or any")
			return
		}
	}
	always := policy == types.RestartPolicyAlways || policy == types.RestartPolicyUnlessStopped
	awaited := r.awaited(s.Name)
	switch {
	case awaited && always:
		r.problem(r.at(steps...), fmt.Sprintf("%sanother service waits for it to end, and restart: %s never lets it", subject(path), cmpOr(s.Restart, "any")),
			`write restart: "no"`)
	case !awaited && policy != "" && !always && !r.runsOnce(s):
		r.warn(r.at(steps...), fmt.Sprintf("%srestart: %s is carried in part: Kubernetes starts it again whenever it ends", subject(path), policy),
			"a service that is to run once has another one wait for it with service_completed_successfully, or is written under jobs:")
	}
}

// runsOnce tells whether a service becomes a Job, as far as the file says: its image may have a port or a health check.
func (r *reading) runsOnce(s types.ServiceConfig) bool {
	never := s.Restart == types.RestartPolicyNo
	if s.Deploy != nil {
		if strings.HasSuffix(s.Deploy.Mode, "-job") {
			return true
		}
		if s.Deploy.RestartPolicy != nil {
			never = s.Deploy.RestartPolicy.Condition == "none"
		}
	}
	for _, other := range r.project.Project.Services {
		if _, needed := other.DependsOn[s.Name]; needed {
			return false
		}
	}
	return never && len(s.Ports)+len(s.Expose) == 0 && s.HealthCheck == nil
}

func (r *reading) awaited(name string) bool {
	for _, s := range r.project.Project.Services {
		if s.DependsOn[name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	for _, j := range r.project.Jobs {
		if j.DependsOn[name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

// checkMetadata warns of labels that neither a label nor an annotation of Kubernetes can have.
func (r *reading) checkMetadata(s types.ServiceConfig, path []string) {
	for _, key := range []string{"labels", "annotations"} {
		names := sortedNames(s.Labels)
		if key == "annotations" {
			names = sortedNames(s.Annotations)
		}
		for _, name := range names {
			if wrong := validation.IsQualifiedName(strings.ToLower(name)); len(wrong) > 0 {
				r.warn(r.at(append(slices.Clone(path), key, name)...),
					fmt.Sprintf("%s%s: %q is left out: Kubernetes has no such names", subject(path), key, name), "")
			}
		}
	}
}
