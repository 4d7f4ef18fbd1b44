package render

import (
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	meta   metav1.ObjectMeta // labels on top of those that every pod has
	config []runtime.Object
}

// runs is one container to be: a service, a pre_start hook or a job.
type runs struct {
	of        string // Compose's name of the service or job
	path      string // in the Compose file, as services.web
	container string // name of the container
	scratch   string // what the names of volumes that no other container of the pod sees begin with
	spec      types.ContainerSpec
	image     Image
	extension compose.ServiceExtension
	ports     []containerPort
	resources corev1.ResourceRequirements
	tty       bool
	stdin     bool
}

// pod makes the pod of what runs together, without probes. The first one is the main container: what a pod has once is
// its word, as far as the others have no part in it.
func (b *builder) pod(all ...runs) (podParts, error) {
	var parts podParts
	var volumes mounts
	for i, r := range all {
		m, err := b.mounts(r)
		if err != nil {
			return podParts{}, err
		}
		if i > 0 {
			m = prefixed(m, parts.spec.Volumes, r.container+"-")
		}
		c, config := b.container(r, m)
		parts.spec.Containers = append(parts.spec.Containers, c)
		parts.spec.Volumes = append(parts.spec.Volumes, m.volumes...)
		parts.config = append(append(parts.config, config...), m.config...)
		if fill, ok := b.filler(r, m, c); ok {
			parts.spec.InitContainers = append(parts.spec.InitContainers, fill)
		}
		volumes.claims = volumes.claims || m.claims
	}
	main := all[0].spec
	s := &parts.spec
	s.AutomountServiceAccountToken = new(false)
	s.EnableServiceLinks = new(false) // POSTGRES_PORT=tcp://… would break images that read such a variable
	s.TerminationGracePeriodSeconds = new(longestGrace(all))
	s.SecurityContext = podSecurity(all, volumes)
	s.HostAliases = hostAliases(all)
	s.DNSConfig = dnsConfig(main)
	s.NodeSelector = nodeSelector(main.Platform)
	s.RuntimeClassName = runtimeClass(main.Runtime)
	s.ImagePullSecrets = b.pullSecrets(all)
	host(s, all)
	return parts, nil
}

func (b *builder) container(r runs, m mounts) (corev1.Container, []runtime.Object) {
	from, config := b.environment(r.of, r.spec.Environment, r.extension)
	command, args := b.command(r)
	c := corev1.Container{
		Name:            r.container,
		Image:           r.image.Ref,
		ImagePullPolicy: pullPolicy(r.spec.PullPolicy),
		Command:         escapeAll(command),
		Args:            escapeAll(args),
		WorkingDir:      r.spec.WorkingDir,
		EnvFrom:         from,
		Env:             append(downward(r.extension.Downward), fromSecrets(r.spec.Environment, r.extension.SecretKeys)...),
		VolumeMounts:    m.mounts,
		SecurityContext: b.containerSecurity(r),
		Resources:       r.resources,
		TTY:             r.tty,
		Stdin:           r.stdin,
	}
	for _, p := range r.ports {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: p.name, ContainerPort: p.port, Protocol: p.protocol})
	}
	b.noteImage(r)
	return c, config
}

// command is entrypoint: and command: as Kubernetes has them. They mean the same there: an entrypoint drops the image's
// CMD, a command keeps its ENTRYPOINT. Only an empty one, which resets the image's own, must be written out with the
// other half of what the image says.
func (b *builder) command(r runs) (command, args []string) {
	c := r.spec
	switch {
	case empty(c.Entrypoint):
		if len(c.Command) > 0 {
			return c.Command, nil
		}
		if r.image.Config == nil || len(r.image.Config.Cmd) == 0 {
			b.note(r, "entrypoint", "the image's ENTRYPOINT stays: its CMD, which would run instead, is empty or not known")
			return nil, nil
		}
		return r.image.Config.Cmd, nil
	case empty(c.Command) && c.Entrypoint == nil:
		if r.image.Config == nil || len(r.image.Config.Entrypoint) == 0 {
			b.note(r, "command", "the image's CMD stays: its ENTRYPOINT, which would run alone, is empty or not known")
			return nil, nil
		}
		return r.image.Config.Entrypoint, nil
	}
	return c.Entrypoint, c.Command
}

// empty tells whether the file says [] or "": no words, or one that is none.
func empty(words types.ShellCommand) bool {
	return words != nil && (len(words) == 0 || (len(words) == 1 && words[0] == ""))
}

// noteImage says that an image could not be looked into, and so what the pod may lack.
func (b *builder) noteImage(r runs) {
	if r.image.Config == nil {
		b.note(r, "image", "what the image says of itself (EXPOSE, USER, HEALTHCHECK, VOLUME) is not known")
	}
}

func grace(c types.ContainerSpec) time.Duration {
	if c.StopGracePeriod == nil {
		return defaultGrace
	}
	return time.Duration(*c.StopGracePeriod)
}

func longestGrace(all []runs) int64 {
	longest := time.Duration(0)
	for _, r := range all {
		longest = max(longest, grace(r.spec))
	}
	return seconds(longest)
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

// host is what a pod shares with its node, and its containers with each other.
func host(s *corev1.PodSpec, all []runs) {
	main := all[0].spec
	s.HostNetwork = main.NetworkMode == "host"
	if s.HostNetwork {
		s.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	share := false
	for _, r := range all {
		s.HostPID = s.HostPID || r.spec.Pid == "host"
		s.HostIPC = s.HostIPC || r.spec.Ipc == "host"
		// The first process of the pod reaps, as the one that init: true puts before the container's own.
		share = share || (r.spec.Init != nil && *r.spec.Init) || strings.HasPrefix(r.spec.Pid, types.ServicePrefix)
	}
	if share && !s.HostPID {
		s.ShareProcessNamespace = new(true)
	}
	setHostname(s, main)
}

// setHostname carries hostname and domainname: a label as the pod's own, which DNS knows too; more than a label overrides
// what the container sees. Kubernetes 1.35 and later know that.
func setHostname(s *corev1.PodSpec, c types.ContainerSpec) {
	name := c.Hostname
	if c.DomainName != "" && name != "" && !strings.HasSuffix(name, "."+c.DomainName) {
		name += "." + c.DomainName
	}
	switch {
	case name == "" || s.HostNetwork:
	case compose.Name(name) == name:
		s.Hostname = name
	case len(name) <= 64 && !slices.ContainsFunc(strings.Split(name, "."), func(label string) bool {
		return label == "" || strings.Trim(label, "0123456789abcdefghijklmnopqrstuvwxyz-") != "" || strings.Trim(label, "-") != label
	}):
		s.HostnameOverride = &name
	default:
		s.Hostname = compose.Name(name) // package compose says so
	}
}

func hostAliases(all []runs) []corev1.HostAlias {
	names := map[string][]string{}
	for _, r := range all {
		for name, ips := range r.spec.ExtraHosts {
			for _, ip := range ips {
				if ip != "host-gateway" && !slices.Contains(names[ip], name) { // there is no such address here; package compose warned of it
					names[ip] = append(names[ip], name)
				}
			}
		}
	}
	var aliases []corev1.HostAlias
	for _, ip := range sortedKeys(names) {
		slices.Sort(names[ip])
		aliases = append(aliases, corev1.HostAlias{IP: strings.Trim(ip, "[]"), Hostnames: names[ip]})
	}
	return aliases
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

// nodeSelector is the platform of an image as labels of nodes. Images of WebAssembly run on any: their runtime: matters.
func nodeSelector(platform string) map[string]string {
	if platform == "" || strings.HasPrefix(platform, "wasi") {
		return nil
	}
	parts := strings.Split(platform, "/")
	selector := map[string]string{corev1.LabelOSStable: parts[0]}
	if len(parts) > 1 {
		selector[corev1.LabelArchStable] = parts[1]
	}
	return selector
}

// runtimeClass is the RuntimeClass that must be there for a runtime other than the default.
func runtimeClass(runtime string) *string {
	if runtime == "" || runtime == "runc" || runtime == "io.containerd.runc.v2" {
		return nil
	}
	return new(compose.Name(runtime))
}
