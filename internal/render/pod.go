package render

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// drainSeconds is how long a pod that is going to be stopped keeps serving, so that every proxy has heard of it first.
const drainSeconds = 3

// defaultGrace is Compose's stop_grace_period.
const defaultGrace = 10 * time.Second

// podParts is a pod and the config objects that it reads.
type podParts struct {
	spec   corev1.PodSpec
	config []runtime.Object
}

// runs is one container to be: a service, a pre_start hook or a job.
type runs struct {
	of        string // Compose's name of the service or job
	container string // name of the container
	spec      types.ContainerSpec
	image     Image
	extension compose.ServiceExtension
	tty       bool
	stdin     bool
}

// pod makes the pod of something that runs one container, without ports and probes.
func (b *builder) pod(r runs) (podParts, error) {
	m, err := b.mounts(r.of, r.spec)
	if err != nil {
		return podParts{}, err
	}
	container, config := b.container(r, m)
	parts := podParts{config: append(config, m.config...)}
	parts.spec = corev1.PodSpec{
		Containers:                    []corev1.Container{container},
		Volumes:                       m.volumes,
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false), // POSTGRES_PORT=tcp://… would break images that read such a variable
		TerminationGracePeriodSeconds: new(seconds(grace(r.spec))),
		SecurityContext:               podSecurity(r.spec, m),
		HostAliases:                   hostAliases(r.spec.ExtraHosts),
		Hostname:                      hostname(r.spec.Hostname),
		DNSConfig:                     dnsConfig(r.spec),
		NodeSelector:                  nodeSelector(r.spec.Platform),
	}
	return parts, nil
}

func (b *builder) container(r runs, m mounts) (corev1.Container, []runtime.Object) {
	from, config := b.environment(r.of, r.spec.Environment, r.extension.Secrets)
	c := corev1.Container{
		Name:            r.container,
		Image:           r.image.Ref,
		ImagePullPolicy: pullPolicy(r.spec.PullPolicy),
		Command:         escapeAll(r.spec.Entrypoint),
		Args:            escapeAll(r.spec.Command),
		WorkingDir:      r.spec.WorkingDir,
		EnvFrom:         from,
		Env:             downward(r.extension.Downward),
		VolumeMounts:    m.mounts,
		SecurityContext: containerSecurity(r.spec),
		TTY:             r.tty,
		Stdin:           r.stdin,
	}
	return c, config
}

func grace(c types.ContainerSpec) time.Duration {
	if c.StopGracePeriod == nil {
		return defaultGrace
	}
	return time.Duration(*c.StopGracePeriod)
}

// seconds is d in whole seconds, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// escapeAll keeps Kubernetes from expanding $(NAME): the dollar sign belongs to whoever runs in the container.
func escapeAll(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = escape(word)
	}
	return out
}

func escape(word string) string {
	if !strings.Contains(word, "$") {
		return word
	}
	var b strings.Builder
	for i := range len(word) {
		b.WriteByte(word[i])
		if word[i] == '$' && i+1 < len(word) && (word[i+1] == '(' || word[i+1] == '$') {
			b.WriteByte('$')
		}
	}
	return b.String()
}

func pullPolicy(compose string) corev1.PullPolicy {
	switch compose {
	case types.PullPolicyAlways:
		return corev1.PullAlways
	case types.PullPolicyNever:
		return corev1.PullNever
	}
	return corev1.PullIfNotPresent
}

func podSecurity(c types.ContainerSpec, m mounts) *corev1.PodSecurityContext {
	security := &corev1.PodSecurityContext{
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if slices.ContainsFunc(c.SecurityOpt, func(o string) bool { return option(o, "seccomp") == "unconfined" }) {
		security.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined
	}
	for _, group := range c.GroupAdd {
		if id, err := strconv.ParseInt(group, 10, 64); err == nil {
			security.SupplementalGroups = append(security.SupplementalGroups, id)
		}
	}
	uid, gid := userIDs(c.User)
	if m.claims && uid != nil && *uid != 0 {
		// Else a fresh volume belongs to root, and a process that is not root cannot write to it.
		if gid == nil {
			gid = uid
		}
		security.FSGroup = gid
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

func containerSecurity(c types.ContainerSpec) *corev1.SecurityContext {
	security := &corev1.SecurityContext{AllowPrivilegeEscalation: new(asksForMore(c))}
	if c.Privileged {
		security.Privileged = new(true)
	}
	if c.ReadOnly {
		security.ReadOnlyRootFilesystem = new(true)
	}
	if len(c.CapAdd)+len(c.CapDrop) > 0 {
		security.Capabilities = &corev1.Capabilities{Add: capabilities(c.CapAdd), Drop: capabilities(c.CapDrop)}
	}
	security.RunAsUser, security.RunAsGroup = userIDs(c.User)
	return security
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

func capabilities(names []string) []corev1.Capability {
	var all []corev1.Capability
	for _, name := range names {
		all = append(all, corev1.Capability(strings.TrimPrefix(strings.ToUpper(name), "CAP_")))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// userIDs reads user: 1000 or 1000:1000. root is 0; other names were refused by package compose.
func userIDs(user string) (uid, gid *int64) {
	name, group, grouped := strings.Cut(user, ":")
	number := func(s string) *int64 {
		if s == "root" {
			return new(int64(0))
		}
		if id, err := strconv.ParseInt(s, 10, 64); err == nil {
			return new(id)
		}
		return nil
	}
	if name != "" {
		uid = number(name)
	}
	if grouped {
		gid = number(group)
	}
	return uid, gid
}

func hostAliases(hosts types.HostsList) []corev1.HostAlias {
	names := map[string][]string{}
	for name, ips := range hosts {
		for _, ip := range ips {
			if ip != "host-gateway" { // there is no such address here; package compose warned of it
				names[ip] = append(names[ip], name)
			}
		}
	}
	var all []corev1.HostAlias
	for _, ip := range sortedKeys(names) {
		slices.Sort(names[ip])
		all = append(all, corev1.HostAlias{IP: strings.Trim(ip, "[]"), Hostnames: names[ip]})
	}
	return all
}

// hostname is a label of at most 63 characters, or nothing.
func hostname(name string) string {
	name, _, _ = strings.Cut(name, ".")
	if name == "" || compose.Name(name) != name {
		return ""
	}
	return name
}

func dnsConfig(c types.ContainerSpec) *corev1.PodDNSConfig {
	if len(c.DNS)+len(c.DNSSearch)+len(c.DNSOpts) == 0 {
		return nil
	}
	d := &corev1.PodDNSConfig{Nameservers: c.DNS, Searches: c.DNSSearch}
	for _, opt := range c.DNSOpts {
		name, value, has := strings.Cut(opt, ":")
		o := corev1.PodDNSConfigOption{Name: name}
		if has {
			o.Value = &value
		}
		d.Options = append(d.Options, o)
	}
	return d
}

func nodeSelector(platform string) map[string]string {
	if platform == "" {
		return nil
	}
	parts := strings.Split(platform, "/")
	selector := map[string]string{corev1.LabelOSStable: parts[0]}
	if len(parts) > 1 {
		selector[corev1.LabelArchStable] = parts[1]
	}
	return selector
}
