package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// platform checks what a container wants of the machine below: devices, limits, kernel settings.
func (r *reading) platform(c types.ContainerSpec, path []string) {
	in := func(steps ...string) []string { return append(slices.Clone(path), steps...) }
	for i, d := range c.Devices {
		at := r.at(in("devices", strconv.Itoa(i))...)
		switch {
		case !strings.HasPrefix(d.Source, "/"):
			r.problem(at, fmt.Sprintf("%sdevice %s is not carried: Kubernetes gives such devices through device plugins", subject(path), d.Source),
				"write deploy.resources.reservations.devices with the plugin's resource as driver")
		case !c.Privileged:
			r.problem(at, fmt.Sprintf("%sdevice %s is not carried: Kubernetes gives a device of the host to privileged containers only", subject(path), d.Source),
				"write privileged: true, if the container may have all devices")
		case d.Permissions != "" && d.Permissions != "rwm":
			r.warn(at, fmt.Sprintf("%sdevice %s is carried in part: a privileged container may read, write and make it", subject(path), d.Source), "")
		}
	}
	if len(c.DeviceCgroupRules) > 0 && !c.Privileged {
		r.problem(r.at(in("device_cgroup_rules")...), subject(path)+"device_cgroup_rules is not carried: Kubernetes gives devices of the host to privileged containers only",
			"write privileged: true, if the container may have all devices")
	}
	r.checkDeviceRequests(c.Gpus, in("gpus"))
	for _, name := range sortedNames(c.StorageOpt) {
		at := r.at(in("storage_opt", name)...)
		if name != "size" {
			r.warn(at, fmt.Sprintf("%sstorage_opt %s is ignored", subject(path), name), "")
		} else if n, err := units.RAMInBytes(c.StorageOpt[name]); err != nil || n <= 0 {
			r.problem(at, fmt.Sprintf("%sstorage_opt size: %q is not a size", subject(path), c.StorageOpt[name]), "as in 5G")
		}
	}
	for _, name := range sortedNames(c.Ulimits) {
		r.warn(r.at(in("ulimits", name)...), fmt.Sprintf("%sulimit %s is ignored: limits are those of the node's container runtime", subject(path), name),
			"lower it in the entrypoint with ulimit, if it must be lower")
	}
	r.checkSysctls(c, in)
	r.checkSecurityOptions(c, in)
}

func (r *reading) checkDeviceRequests(requests []types.DeviceRequest, path []string) {
	for i, d := range requests {
		at := append(slices.Clone(path), strconv.Itoa(i))
		name, count, err := DeviceResource(d)
		switch {
		case err != nil:
			r.problem(r.at(at...), fmt.Sprintf("%snot carried: %s", subject(at), err), "write as driver the resource that the cluster's device plugin gives, as nvidia.com/gpu")
		case d.Count < 0:
			r.warn(r.at(at...), fmt.Sprintf("%scarried in part: all is one %s, since Kubernetes wants a number", subject(at), name), "write count: NUMBER")
		case len(d.IDs) > 0:
			r.warn(r.at(at...), fmt.Sprintf("%scarried in part: %d of %s, and which ones is the device plugin's choice", subject(at), count, name), "write count: "+strconv.FormatInt(count, 10))
		}
	}
}

// ownSysctls are kernel settings that a pod has for itself: those that the node lets it have.
func ownSysctls() []string {
	return []string{"kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "net."}
}

// safeSysctls are those that every cluster allows.
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
	}
}

func (r *reading) checkSysctls(c types.ContainerSpec, in func(...string) []string) {
	for _, name := range sortedNames(c.Sysctls) {
		at := r.at(in("sysctls", name)...)
		dotted := strings.ReplaceAll(name, "/", ".")
		switch {
		case !slices.ContainsFunc(ownSysctls(), func(prefix string) bool { return strings.HasPrefix(dotted, prefix) }):
			r.problem(at, fmt.Sprintf("%ssysctl %s is not carried: it is a setting of the whole machine, which no container has for itself", subject(in()), name),
				"set it on the machine, and leave it out here")
		case c.NetworkMode == "host" && strings.HasPrefix(dotted, "net."):
			r.problem(at, fmt.Sprintf("%ssysctl %s is not carried: with network_mode: host it is the node's", subject(in()), name), "set it on the machine, and leave it out here")
		case !r.options.Embedded && !slices.Contains(safeSysctls(), dotted):
			r.warn(at, fmt.Sprintf("%ssysctl %s is carried in part: the kubelet of the node must allow it", subject(in()), name), "see --allowed-unsafe-sysctls of the kubelet")
		}
	}
}

func (r *reading) checkSecurityOptions(c types.ContainerSpec, in func(...string) []string) {
	for i, o := range c.SecurityOpt {
		name, value, _ := strings.Cut(strings.Replace(o, "=", ":", 1), ":")
		kind, _, _ := strings.Cut(value, ":")
		switch {
		case name == "no-new-privileges", name == "seccomp" && value == "unconfined", name == "apparmor" && value != "":
		case name == "label" && slices.Contains([]string{"user", "role", "type", "level", "disable"}, kind):
		default:
			r.warn(r.at(in("security_opt", strconv.Itoa(i))...), fmt.Sprintf("%ssecurity_opt %q is ignored: the node has its own profiles", subject(in()), o), "")
		}
	}
}

// checkPlacement checks where a service may run.
func (r *reading) checkPlacement(s types.ServiceConfig, path []string) {
	if s.Deploy == nil {
		return
	}
	in := func(steps ...string) []string {
		return append(slices.Clone(path), append([]string{"deploy"}, steps...)...)
	}
	if s.Deploy.Mode == "global-job" && !r.options.Embedded {
		r.warn(r.at(in("mode")...), subject(path)+"deploy.mode: global-job is carried in part: Kubernetes has no job that runs on every node, so it runs once", "")
	}
	for i, text := range s.Deploy.Placement.Constraints {
		at := r.at(in("placement", "constraints", strconv.Itoa(i))...)
		if _, err := ParseConstraint(text); err != nil {
			r.problem(at, fmt.Sprintf("%splacement: %s", subject(path), err), "as in node.labels.disk == ssd; kubectl label node gives a label")
			continue
		}
		if r.options.Embedded {
			r.warn(at, fmt.Sprintf("%splacement constraint %q is carried in part: it is a wish on perch's own node, which is the only one", subject(path), text), "")
		}
	}
	for i, preference := range s.Deploy.Placement.Preferences {
		if SpreadLabel(preference.Spread) == "" {
			steps := in("placement", "preferences", strconv.Itoa(i))
			r.warn(r.at(steps...), fmt.Sprintf("%splacement preference %q is ignored: Kubernetes spreads over labels of nodes", subject(path), preference.Spread),
				"write spread: node.labels.NAME")
		}
	}
	reserved := s.Deploy.Resources.Reservations
	if reserved == nil {
		return
	}
	r.checkDeviceRequests(reserved.Devices, in("resources", "reservations", "devices"))
	for i, g := range reserved.GenericResources {
		if _, _, err := GenericResource(g); err != nil {
			steps := in("resources", "reservations", "generic_resources", strconv.Itoa(i))
			r.problem(r.at(steps...), fmt.Sprintf("%snot carried: %s", subject(steps), err), "write as kind the resource that the cluster's device plugin gives, as nvidia.com/gpu")
		}
	}
}
