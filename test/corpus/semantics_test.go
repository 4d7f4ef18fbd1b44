package corpus

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/compose"
)

// addresses are what the containers of the corpus connect to, as their variables, their nginx.conf or the sources in the
// original repository have it: each must be there in the cluster, under the same name and at the same port.
func addresses() map[string][]string {
	return map[string][]string{
		"elasticsearch-logstash-kibana": {"elasticsearch:9200", "logstash:5044", "es:9200", "log:9600", "kib:5601"},
		"flask-redis":                   {"redis:6379"},
		"gitea-postgres":                {"db:5432"},
		"nextcloud-postgres":            {"db:5432"},
		"nextcloud-redis-mariadb":       {"db:3306", "redis:6379"},
		"nginx-aspnet-mysql":            {"db:3306", "backend:8000"},
		"nginx-flask-mongo":             {"backend:9091", "mongo:27017"},
		"nginx-flask-mysql":             {"db:3306", "backend:8000"},
		"nginx-golang":                  {"backend:80"},
		"nginx-golang-mysql":            {"db:3306", "backend:8000"},
		"nginx-golang-postgres":         {"db:5432", "backend:8000"},
		"nginx-nodejs-redis":            {"redis:6379", "web1:5000", "web2:5000"},
		"nginx-wsgi-flask":              {"flask-app:8000"},
		"pihole-cloudflared-DoH":        {"cloudflared:5054"},
		"postgresql-pgadmin":            {"postgres:5432", "pgadmin:80"},
		"prometheus-grafana":            {"prometheus:9090"},
		"react-express-mongodb":         {"backend:3000", "mongo:27017"},
		"react-express-mysql":           {"backend:80", "db:3306"},
		"react-java-mysql":              {"backend:8080", "db:3306"},
		"react-rust-postgres":           {"backend:8000", "db:5432"},
		"sparkjava-mysql":               {"db:3306"},
		"spring-postgres":               {"db:5432"},
		"wasmedge-kafka-mysql":          {"redpanda:9092", "redpanda:29092", "db:3306"},
		"wasmedge-mysql-nginx":          {"db:3306", "backend:8080"},
		"wordpress-mysql":               {"db:3306"},
	}
}

// TestOwnFolder: a database that runs as its own user needs its folder to be that user's, as it is in the image; initdb
// changes the folder's mode.
func TestOwnFolder(t *testing.T) {
	t.Parallel()
	for _, s := range awesome(t) {
		if s.name != "nginx-golang-postgres" {
			continue
		}
		pod, _, _ := look(convert(t.Context(), s).objects).container("db")
		if len(pod.InitContainers) != 1 || !slices.Contains(pod.InitContainers[0].Args, "999:999") {
			t.Errorf("nobody gives the folder away: %v", pod.InitContainers)
		}
	}
}

// TestSemantics holds what is rendered against what Docker does with the same file. What must be there is read from the
// project as compose-go has it, and from the table of addresses.
func TestSemantics(t *testing.T) {
	t.Parallel()
	for _, s := range awesome(t) {
		r := convert(t.Context(), s)
		if r.refused != nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			promises(t, r)
			v := look(r.objects)
			for _, address := range addresses()[s.name] {
				name, port, _ := strings.Cut(address, ":")
				v.answers(t, name, port)
			}
		})
	}
}

// promises checks every service of a project.
func promises(t *testing.T, r result) {
	t.Helper()
	v := look(r.objects)
	for _, name := range sortedKeys(r.project.Project.Services) {
		c := check{T: t, project: r.project, view: v, service: r.project.Project.Services[name]}
		if replicas := c.service.GetScale(); replicas == 0 {
			continue
		}
		pod, container, found := v.container(name)
		if !found {
			c.Errorf("service %s: no pod has a container of that name", name)
			continue
		}
		c.pod, c.container = pod, container
		c.names()
		c.environment()
		c.command()
		c.files()
		c.volumes()
		c.health()
		c.ports()
		c.settings()
		c.dependencies(r)
	}
}

// answers wants a Service of that name; one with ports must have this one.
func (v view) answers(t *testing.T, name, port string) {
	t.Helper()
	service, ok := v.services[compose.Name(name)]
	if !ok {
		t.Errorf("nothing is called %s", name)
		return
	}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		return // the name is the pod's address, where every port is
	}
	if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return strconv.Itoa(int(p.Port)) == port }) {
		t.Errorf("%s has no port %s: %v", name, port, service.Spec.Ports)
	}
}

// check is one service of a project and what became of it.
type check struct {
	*testing.T
	project   *compose.Project
	view      view
	service   types.ServiceConfig
	pod       corev1.PodSpec
	container corev1.Container
}

func (c check) wrong(format string, args ...any) {
	c.Helper()
	c.Errorf("service %s: %s", c.service.Name, fmt.Sprintf(format, args...))
}

// alone: it has no network of its own, so it is addressed by nobody.
func (c check) alone() bool { return c.service.NetworkMode != "" && c.service.NetworkMode != "bridge" }

func (c check) names() {
	c.Helper()
	if c.alone() || c.pod.RestartPolicy != "" && c.pod.RestartPolicy != corev1.RestartPolicyAlways {
		return // nobody addresses what runs once
	}
	all := []string{c.service.Name}
	if c.service.ContainerName != "" {
		all = append(all, c.service.ContainerName)
	}
	for _, n := range c.service.Networks {
		if n != nil {
			all = append(all, n.Aliases...)
		}
	}
	for _, name := range all {
		if _, ok := c.view.services[compose.Name(name)]; !ok {
			c.wrong("nothing answers to the name %q", name)
		}
	}
}

func (c check) environment() {
	c.Helper()
	got := c.view.environment(c.container)
	for name, value := range c.service.Environment {
		if value == nil {
			continue
		}
		if have, ok := got[name]; !ok || have != *value {
			c.wrong("variable %s is not as it should be (there: %t)", name, ok)
		}
		// A variable that names a file of a secret: the file must be there.
		if strings.HasPrefix(*value, "/run/secrets/") {
			if _, _, ok := c.view.file(c.pod, c.container, *value); !ok {
				c.wrong("%s names %s, which is not mounted", name, *value)
			}
		}
	}
}

func (c check) command() {
	c.Helper()
	plain := func(words []string) []string {
		var out []string
		for _, w := range words {
			out = append(out, expand(w))
		}
		return out
	}
	if c.service.Init != nil && *c.service.Init {
		return // another program comes first, as its own tests say
	}
	if len(c.service.Entrypoint) > 0 && !slices.Equal(plain(c.container.Command), c.service.Entrypoint) {
		c.wrong("entrypoint: %q, wanted %q", c.container.Command, c.service.Entrypoint)
	}
	if len(c.service.Command) > 0 && !slices.Equal(plain(c.container.Args), c.service.Command) {
		c.wrong("command: %q, wanted %q", c.container.Args, c.service.Command)
	}
}

// files are the secrets and configs, with their bytes.
func (c check) files() {
	c.Helper()
	want := func(kind, source, target, folder string, data map[string][]byte) {
		c.Helper()
		if target == "" {
			target = source
		}
		if !path.IsAbs(target) {
			target = path.Join(folder, target)
		}
		bytes, known := data[source]
		if !known {
			return // an external one
		}
		content, _, ok := c.view.file(c.pod, c.container, target)
		if !ok || content != string(bytes) {
			c.wrong("%s %s is not at %s with its bytes (there: %t)", kind, source, target, ok)
		}
	}
	for _, s := range c.service.Secrets {
		want("secret", s.Source, s.Target, "/run/secrets", c.project.SecretData)
	}
	for _, s := range c.service.Configs {
		want("config", s.Source, s.Target, "/", c.project.ConfigData)
	}
}

func (c check) volumes() {
	c.Helper()
	for _, v := range c.service.Volumes {
		m, volume, ok := mountOf(c.pod, c.container, v.Target)
		if !ok || path.Clean(m.MountPath) != path.Clean(v.Target) {
			c.wrong("nothing is mounted at %s", v.Target)
			continue
		}
		if v.ReadOnly && !m.ReadOnly {
			c.wrong("%s can be written to", v.Target)
		}
		switch {
		case v.Type == types.VolumeTypeTmpfs:
			if volume.EmptyDir == nil || volume.EmptyDir.Medium != corev1.StorageMediumMemory {
				c.wrong("%s is not in memory", v.Target)
			}
		case v.Type == types.VolumeTypeVolume && v.Source == "":
			if volume.EmptyDir == nil {
				c.wrong("anonymous volume %s is no emptyDir", v.Target)
			}
		case v.Type == types.VolumeTypeVolume:
			if volume.NFS == nil && (volume.PersistentVolumeClaim == nil || volume.PersistentVolumeClaim.ClaimName == "") {
				c.wrong("named volume %s is no claim", v.Target)
			}
		case v.Type == types.VolumeTypeBind:
			c.bind(v, m, volume)
		}
	}
	for _, t := range c.service.Tmpfs {
		target, _, _ := strings.Cut(t, ":")
		if _, volume, ok := mountOf(c.pod, c.container, target); !ok || volume.EmptyDir == nil || volume.EmptyDir.Medium != corev1.StorageMediumMemory {
			c.wrong("tmpfs %s is not in memory", target)
		}
	}
}

// bind is a path of the host as it is, or a copy of all its files.
func (c check) bind(v types.ServiceVolumeConfig, m corev1.VolumeMount, volume corev1.Volume) {
	c.Helper()
	tree := c.project.Binds[path.Clean(v.Source)]
	if volume.HostPath != nil {
		if at := path.Join(volume.HostPath.Path, m.SubPath); at != path.Clean(v.Source) {
			c.wrong("%s is %s of the host, wanted %s", v.Target, at, v.Source)
		}
		if !v.ReadOnly && m.ReadOnly {
			c.wrong("%s cannot be written to", v.Target)
		}
		return
	}
	if tree.Host != "" || len(tree.Files) == 0 {
		c.wrong("%s should be %s of the host and is %+v", v.Target, v.Source, volume.VolumeSource)
	}
	for _, f := range tree.Files {
		content, mode, ok := c.view.file(c.pod, c.container, path.Join(v.Target, f.Path))
		if !ok || content != string(f.Data) {
			c.wrong("%s has no %q as it is in %s", v.Target, f.Path, v.Source)
		}
		if f.Mode&0o100 != 0 && mode&0o111 == 0 {
			c.wrong("%s/%s can be run in %s, and not in the container", v.Target, f.Path, v.Source)
		}
	}
}

func (c check) health() {
	c.Helper()
	h, probe := c.service.HealthCheck, c.container.ReadinessProbe
	if _, own := c.project.Services[c.service.Name]; own || h == nil || len(h.Test) == 0 {
		return
	}
	if h.Disable || h.Test[0] == "NONE" {
		if probe != nil {
			c.wrong("no health check is wanted, and there is %+v", probe)
		}
		return
	}
	if probe == nil {
		c.wrong("the health check is lost")
		return
	}
	if c.container.LivenessProbe != nil {
		c.wrong("Compose does not restart what is unhealthy")
	}
	want := h.Test[1:]
	if h.Test[0] == "CMD-SHELL" {
		want = types.HealthCheckTest{"/bin/sh", "-c", h.Test[1]}
	}
	if probe.Exec == nil {
		text := strings.Join(h.Test, " ")
		if probe.HTTPGet == nil || !strings.Contains(text, "curl") && !strings.Contains(text, "wget") {
			c.wrong("the health check became %+v", probe)
		}
		return
	}
	var got []string
	for _, w := range probe.Exec.Command {
		got = append(got, expand(w))
	}
	if diff := cmp.Diff([]string(want), got); diff != "" {
		c.wrong("health check: -want +got:\n%s", diff)
	}
}

func (c check) ports() {
	c.Helper()
	for _, p := range c.service.Ports {
		if !c.alone() {
			c.view.answers(c.T, c.service.Name, strconv.Itoa(int(p.Target)))
		}
		if p.Published == "" || strings.Contains(p.Published, "-") {
			continue
		}
		published := slices.ContainsFunc(sortedKeys(c.view.services), func(name string) bool {
			s := c.view.services[name]
			return s.Spec.Type == corev1.ServiceTypeLoadBalancer && slices.ContainsFunc(s.Spec.Ports, func(have corev1.ServicePort) bool {
				return strconv.Itoa(int(have.Port)) == p.Published && strings.EqualFold(string(have.Protocol), p.Protocol)
			})
		})
		if !published && !c.pod.HostNetwork {
			c.wrong("port %s/%s is not published", p.Published, p.Protocol)
		}
	}
}

func (c check) settings() {
	c.Helper()
	s, security := c.service, c.container.SecurityContext
	if s.NetworkMode == "host" != c.pod.HostNetwork {
		c.wrong("host network: %t", c.pod.HostNetwork)
	}
	if security == nil {
		security = &corev1.SecurityContext{}
	}
	for _, name := range s.CapAdd {
		if security.Capabilities == nil || !slices.Contains(security.Capabilities.Add, corev1.Capability(strings.TrimPrefix(name, "CAP_"))) {
			c.wrong("capability %s is missing", name)
		}
	}
	if s.ReadOnly && (security.ReadOnlyRootFilesystem == nil || !*security.ReadOnlyRootFilesystem) {
		c.wrong("its root file system can be written to")
	}
	if s.Privileged && (security.Privileged == nil || !*security.Privileged) {
		c.wrong("it is not privileged")
	}
	if s.StdinOpen != c.container.Stdin || s.Tty != c.container.TTY {
		c.wrong("stdin %t, tty %t", c.container.Stdin, c.container.TTY)
	}
	if s.WorkingDir != c.container.WorkingDir {
		c.wrong("it works in %q", c.container.WorkingDir)
	}
	if s.Runtime != "" && (c.pod.RuntimeClassName == nil || *c.pod.RuntimeClassName == "") {
		c.wrong("runtime %s is lost", s.Runtime)
	}
	if s.User != "" {
		c.user(security)
	}
	if s.Deploy != nil && s.Deploy.Resources.Limits != nil && s.Deploy.Resources.Limits.MemoryBytes > 0 {
		if got := c.container.Resources.Limits.Memory().Value(); got != int64(s.Deploy.Resources.Limits.MemoryBytes) {
			c.wrong("its memory is limited to %d", got)
		}
	}
}

// user wants who runs it to be a number, in the pod or in the container.
func (c check) user(security *corev1.SecurityContext) {
	c.Helper()
	if security.RunAsUser == nil && (c.pod.SecurityContext == nil || c.pod.SecurityContext.RunAsUser == nil) {
		c.wrong("it does not run as %s", c.service.User)
	}
}

// dependencies wants every depends_on with its condition: on the service, or on the one in whose pod it is.
func (c check) dependencies(r result) {
	c.Helper()
	for on, d := range c.service.DependsOn {
		if _, enabled := c.project.Project.Services[on]; !enabled {
			continue
		}
		for _, u := range r.output.Units {
			if u.Service != c.service.Name {
				continue
			}
			found := false
			for _, have := range u.DependsOn {
				found = found || have.Service == on && have.Condition == d.Condition
			}
			if mode := c.project.Project.Services[on].NetworkMode; !found && !strings.HasPrefix(mode, "service:") {
				c.wrong("it does not wait for %s: %s", on, d.Condition)
			}
		}
	}
}
