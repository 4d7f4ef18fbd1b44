package render

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
)

// user is who a container runs as.
type user struct {
	uid, gid *int64 // for runAsUser and runAsGroup; nil where the image's own are right
	known    bool   // it is known whether this is root
	root     bool
}

// restricted tells whether the container can have the level restricted: it is known not to be root.
func (u user) restricted() bool { return u.known && !u.root }

// whoRuns is user: of the file, else USER of the image, as far as they are known. Names were looked up in the image.
func whoRuns(c types.ContainerSpec, i Image) user {
	name, group, grouped := strings.Cut(c.User, ":")
	u := user{uid: i.UID, gid: i.GID}
	if name != "" {
		if id := userID(name); id != nil {
			u.uid = id
		}
		if id := userID(group); grouped && id != nil {
			u.gid = id
		}
	}
	if u.uid == nil && name == "" && i.Config != nil {
		ofImage, _, _ := strings.Cut(i.Config.User, ":")
		if ofImage == "" {
			ofImage = "root"
		}
		u.uid = userID(ofImage)
	}
	if u.uid == nil {
		return user{}
	}
	u.known, u.root = true, *u.uid == 0
	if u.root && name == "" {
		u.uid, u.gid = nil, nil // as the image has it
	}
	return u
}

// userID reads a number, or root.
func userID(s string) *int64 {
	if s == "root" {
		return new(int64(0))
	}
	if id, err := strconv.ParseInt(s, 10, 64); err == nil && id >= 0 {
		return new(id)
	}
	return nil
}

// groups are group_add: as the image knows them, else the numbers among them.
func groups(c types.ContainerSpec, i Image) []int64 {
	all := slices.Clone(i.Groups)
	for _, group := range c.GroupAdd {
		if id := userID(group); id != nil {
			all = append(all, *id)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// containerSecurity is the security context of a container, nil when it has nothing to say. One that is known not to run as root has what the level
// restricted asks for, which takes nothing from it: it has no capabilities in Docker either, but for its file's.
func (b *builder) containerSecurity(r runs) *corev1.SecurityContext {
	u := whoRuns(r.spec, r.image)
	security := &corev1.SecurityContext{
		RunAsUser:    u.uid,
		RunAsGroup:   u.gid,
		Capabilities: capabilitiesOf(r, u),
	}
	switch {
	case u.restricted():
		security.RunAsNonRoot = new(true)
		security.AllowPrivilegeEscalation = new(asksForMore(r.spec))
	case slices.ContainsFunc(r.spec.SecurityOpt, noNewPrivileges):
		// Else root may start programs with the capabilities of their file as another user, as in Docker.
		security.AllowPrivilegeEscalation = new(asksForMore(r.spec))
	}
	if r.spec.Privileged || len(r.spec.Devices) > 0 {
		security.Privileged = new(true)
		security.AllowPrivilegeEscalation = new(true)
	}
	if r.spec.ReadOnly {
		security.ReadOnlyRootFilesystem = new(true)
	}
	securityOptions(security, r.spec.SecurityOpt)
	b.noteSecurity(r, u)
	if *security == (corev1.SecurityContext{}) {
		return nil
	}
	return security
}

// capabilitiesOf are those of the file; on top of them, all are dropped where root has no part in it.
func capabilitiesOf(r runs, u user) *corev1.Capabilities {
	all := &corev1.Capabilities{Add: capabilities(r.spec.CapAdd), Drop: capabilities(r.spec.CapDrop)}
	if u.restricted() && !r.spec.Privileged && len(r.spec.Devices) == 0 && !slices.Contains(all.Add, "ALL") {
		if r.listensLow() && !slices.Contains(all.Add, "NET_BIND_SERVICE") && !slices.Contains(all.Drop, "NET_BIND_SERVICE") && !slices.Contains(all.Drop, "ALL") {
			all.Add = append(all.Add, "NET_BIND_SERVICE")
			slices.Sort(all.Add)
		}
		all.Drop = []corev1.Capability{"ALL"}
	}
	if len(all.Add)+len(all.Drop) == 0 {
		return nil
	}
	return all
}

// listensLow tells whether the container has a port that only root may listen on, unless told otherwise.
func (r runs) listensLow() bool {
	return slices.ContainsFunc(r.ports, func(p containerPort) bool { return p.port < 1024 })
}

// securityOptions are those entries of security_opt that have a field of their own.
func securityOptions(security *corev1.SecurityContext, options []string) {
	for _, o := range options {
		switch {
		case option(o, "seccomp") == "unconfined":
			security.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		case option(o, "apparmor") == "unconfined":
			security.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		case option(o, "apparmor") == "docker-default", option(o, "apparmor") == "runtime/default":
			security.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
		case option(o, "apparmor") != "":
			profile := option(o, "apparmor")
			security.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &profile}
		case option(o, "label") != "":
			seLinux(security, option(o, "label"))
		}
	}
}

// seLinux reads "type:svirt_apache_t" and "disable".
func seLinux(security *corev1.SecurityContext, text string) {
	if security.SELinuxOptions == nil {
		security.SELinuxOptions = &corev1.SELinuxOptions{}
	}
	kind, value, _ := strings.Cut(text, ":")
	switch kind {
	case "disable":
		security.SELinuxOptions.Type = "spc_t"
	case "type":
		security.SELinuxOptions.Type = value
	case "user":
		security.SELinuxOptions.User = value
	case "role":
		security.SELinuxOptions.Role = value
	case "level":
		security.SELinuxOptions.Level = value
	}
}

// noteSecurity says which keys make the pod less than restricted, by the rules of k8s.io/pod-security-admission.
func (b *builder) noteSecurity(r runs, u user) {
	c := r.spec
	switch {
	case r.image.Config == nil && c.User == "":
		b.weaker(r, "image", levelBaseline, "it is not known who the image runs as, so it keeps Docker's default capabilities; user: with a number says it")
	case !u.known:
		key, who := "user", strings.Split(c.User, ":")[0]
		if who == "" {
			key, who = "image", r.image.Config.User
		}
		b.weaker(r, key, levelBaseline, fmt.Sprintf("the number of user %q is not known, so the container runs as the image's own user", who))
	case u.root && c.User != "":
		b.weaker(r, "user", levelBaseline, "it runs as root")
	case u.root:
		b.weaker(r, "image", levelBaseline, "the image runs as root; USER in its Dockerfile, or user:, makes it another")
	}
	if c.Privileged {
		b.weaker(r, "privileged", levelPrivileged, "the container may do all that the node may")
	}
	if len(c.Devices) > 0 {
		b.weaker(r, "devices", levelPrivileged, "devices of the node are only for privileged containers")
	}
	b.noteCapabilities(r)
	b.noteOptions(r)
	b.noteHost(r)
}

func (b *builder) noteCapabilities(r runs) {
	// What Docker and the level baseline allow.
	common := []corev1.Capability{"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
		"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
	for _, name := range capabilities(r.spec.CapAdd) {
		switch {
		case name == "NET_BIND_SERVICE":
		case slices.Contains(common, name):
			b.weaker(r, "cap_add", levelBaseline, fmt.Sprintf("%s is added", name))
		default:
			b.weaker(r, "cap_add", levelPrivileged, fmt.Sprintf("%s is added", name))
		}
	}
}

func (b *builder) noteOptions(r runs) {
	for _, o := range r.spec.SecurityOpt {
		label, value, _ := strings.Cut(option(o, "label"), ":")
		switch {
		case option(o, "no-new-privileges") == "false":
			b.weaker(r, "security_opt", levelBaseline, o)
		case option(o, "seccomp") == "unconfined", option(o, "apparmor") == "unconfined", label == "disable", label == "user", label == "role":
			b.weaker(r, "security_opt", levelPrivileged, o)
		case label == "type" && !slices.Contains([]string{"container_t", "container_init_t", "container_kvm_t", "container_engine_t"}, value):
			b.weaker(r, "security_opt", levelPrivileged, o)
		}
	}
}

// noteHost is about what a pod shares with its node.
func (b *builder) noteHost(r runs) {
	for _, shared := range []struct{ key, mode, what string }{
		{"network_mode", r.spec.NetworkMode, "network"}, {"pid", r.spec.Pid, "processes"}, {"ipc", r.spec.Ipc, "shared memory"},
	} {
		if shared.mode == "host" {
			b.weaker(r, shared.key, levelPrivileged, "it has the node's "+shared.what)
		}
	}
	for _, name := range sortedKeys(r.spec.Sysctls) {
		if !safeSysctl(name) {
			b.weaker(r, "sysctls."+name, levelPrivileged, "the kubelet of the node must allow it")
		}
	}
}

// safeSysctl tells whether every kubelet, and the level restricted, allows a kernel setting.
func safeSysctl(name string) bool {
	return slices.Contains([]string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
		"net.ipv4.tcp_wmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat",
	}, name)
}

// podSecurity is what all containers of the pod share.
func podSecurity(all []runs, m mounts) *corev1.PodSecurityContext {
	security := &corev1.PodSecurityContext{
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	sysctls := map[string]string{}
	for _, r := range all {
		u := whoRuns(r.spec, r.image)
		security.SupplementalGroups = append(security.SupplementalGroups, groups(r.spec, r.image)...)
		if u.restricted() && r.listensLow() && all[0].spec.NetworkMode != "host" {
			sysctls["net.ipv4.ip_unprivileged_port_start"] = "0" // as Docker sets it in every container
		}
	}
	for _, r := range all {
		for name, value := range r.spec.Sysctls {
			sysctls[name] = value
		}
	}
	for _, name := range sortedKeys(sysctls) {
		security.Sysctls = append(security.Sysctls, corev1.Sysctl{Name: name, Value: sysctls[name]})
	}
	slices.Sort(security.SupplementalGroups)
	security.SupplementalGroups = slices.Compact(security.SupplementalGroups)
	if u := whoRuns(all[0].spec, all[0].image); m.claims && u.restricted() {
		// Else a fresh volume belongs to root, and a process that is not root cannot write to it.
		security.FSGroup = u.gid
		if u.gid == nil || *u.gid == 0 {
			security.FSGroup = u.uid
		}
		security.FSGroupChangePolicy = new(corev1.FSGroupChangeOnRootMismatch)
	}
	return security
}

// option is the value of "name:value" or "name=value", "" for another name.
func option(text, name string) string {
	rest, ok := strings.CutPrefix(text, name)
	if !ok || rest == "" || (rest[0] != ':' && rest[0] != '=') {
		return ""
	}
	return rest[1:]
}

// asksForMore tells whether the file needs what no_new_privs would take away. The API server refuses false together with
// privileged and with CAP_SYS_ADMIN.
func asksForMore(c types.ContainerSpec) bool {
	if c.Privileged || slices.ContainsFunc(c.SecurityOpt, func(o string) bool { return option(o, "no-new-privileges") == "false" }) {
		return true
	}
	added := capabilities(c.CapAdd)
	return slices.Contains(added, "SYS_ADMIN") || slices.Contains(added, "ALL")
}

func noNewPrivileges(o string) bool {
	return o == "no-new-privileges" || option(o, "no-new-privileges") == "true"
}

func capabilities(names []string) []corev1.Capability {
	var all []corev1.Capability
	for _, name := range names {
		all = append(all, corev1.Capability(strings.TrimPrefix(strings.ToUpper(name), "CAP_")))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
