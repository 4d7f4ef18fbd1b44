package compose

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// worldCheck checks what x-perch of one service says of the world outside.
type worldCheck struct {
	*reading
	service types.ServiceConfig
	x       ServiceExtension
	path    []string // of x-perch
}

func (r *reading) checkWorld(s types.ServiceConfig, x ServiceExtension, path []string) {
	c := worldCheck{reading: r, service: s, x: x, path: append(slices.Clone(path), extensionKey)}
	c.hosts()
	c.expose()
	c.autoscale()
	c.spread()
	c.account()
	c.prometheus()
	c.patches()
	c.ofThePod()
	c.name("priority", x.Priority)
	r.checkPullSecrets(x.ImagePullSecrets, path)
}

// wrong is a problem of what stands at steps below x-perch.
func (c worldCheck) wrong(message, hint string, steps ...string) {
	at := append(slices.Clone(c.path), steps...)
	c.problem(c.files.find(at...), subject(c.path)+message, hint)
}

// item is the path of an item below x-perch. What stands in the file may be the item itself, where a list may be written as the
// one thing in it.
func (c worldCheck) item(i int, steps ...string) []string {
	if _, n := descendFirst(c.files, append(slices.Clone(c.path), steps...)...); n != nil && n.Kind != yaml.SequenceNode {
		return steps
	}
	return append(slices.Clone(steps), strconv.Itoa(i))
}

// name checks the name of an object of the cluster.
func (c worldCheck) name(key, name string, steps ...string) {
	if name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
		c.wrong(fmt.Sprintf("%s: %q is not a name that Kubernetes takes", key, name), "use lower-case letters, digits, hyphens and dots", append(steps, key)...)
	}
}

func (r *reading) checkPullSecrets(names []string, path []string) {
	for i, name := range names {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			at := append(slices.Clone(path), extensionKey, "image_pull_secrets", strconv.Itoa(i))
			r.problem(r.files.find(at...), fmt.Sprintf("%s%q is not the name of a Secret", subject(at[:len(at)-1]), name), "use lower-case letters, digits, hyphens and dots")
		}
	}
}

// port checks a port that may be left out.
func (c worldCheck) port(n int32, steps ...string) {
	if n < 0 || n > 65535 {
		c.wrong(fmt.Sprintf("%s: port %d is not between 1 and 65535", pathString(steps), n), "", append(slices.Clone(steps), "port")...)
	}
}

func (c worldCheck) ranges(all []string, steps ...string) {
	for i, text := range all {
		prefix, err := netip.ParsePrefix(text)
		hint := "as in 203.0.113.0/24"
		switch addr, isAddr := netip.ParseAddr(text); {
		case err == nil && prefix == prefix.Masked():
			continue
		case err == nil:
			hint = "write " + prefix.Masked().String()
		case isAddr == nil:
			hint = "write " + netip.PrefixFrom(addr, addr.BitLen()).String()
		}
		c.wrong(fmt.Sprintf("%s: %q is not a range of addresses", pathString(steps), text), hint, append(slices.Clone(steps), strconv.Itoa(i))...)
	}
}

// ends tells whether the service becomes a Job, which nobody can reach and which has no number of pods of its own.
func (c worldCheck) ends() bool {
	return c.service.Deploy != nil && strings.HasSuffix(c.service.Deploy.Mode, "-job") || c.awaited(c.service.Name)
}

func (c worldCheck) hosts() {
	if len(c.x.Host) == 0 {
		return
	}
	if c.service.NetworkMode == "none" {
		c.wrong("host: the service has no network", "leave network_mode: none out", "host")
	}
	if c.ends() {
		c.wrong("host: the service runs once and ends", "", "host")
	}
	for i, h := range c.x.Host {
		c.host(h, c.item(i, "host"))
	}
}

func (c worldCheck) host(h Host, at []string) {
	in := func(key string) []string { return append(slices.Clone(at), key) }
	label := pathString(at)
	if message, hint := checkHostName(h.Name); message != "" {
		c.wrong(label+": "+message, hint, in("name")...)
	}
	if h.Path != "" && !strings.HasPrefix(h.Path, "/") {
		c.wrong(fmt.Sprintf("%s: path begins with a slash, not %q", label, h.Path), "write /"+h.Path, in("path")...)
	}
	c.port(h.Port, at...)
	known := []string{"http", "h2c", "grpc", "websocket"}
	if h.Protocol != "" && !slices.Contains(known, h.Protocol) {
		c.wrong(fmt.Sprintf("%s: protocol %q is not one of %s", label, h.Protocol, quoted(known)), didYouMean(h.Protocol, known), in("protocol")...)
	}
	if h.Protocol == "grpc" && h.Path != "" && h.Path != "/" {
		c.wrong(label+": gRPC has paths of its own", "leave path out", in("path")...)
	}
	c.name("class", h.Class, at...)
	if parts := strings.Split(h.Gateway, "/"); h.Gateway != "" && (len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "")) {
		c.wrong(fmt.Sprintf("%s: gateway %q is not NAMESPACE/NAME or NAMESPACE/NAME/LISTENER", label, h.Gateway), "", in("gateway")...)
	}
	if h.Class != "" && h.Gateway != "" {
		c.wrong(label+": class is of an Ingress, and gateway makes none", "keep one of them", in("gateway")...)
	}
	switch {
	case h.TLS == "true":
		c.wrong(label+": tls: true does not say what with", "write the name of a Secret, or cert-manager", in("tls")...)
	case len(validation.IsDNS1123Subdomain(string(h.TLS))) > 0 && h.TLS != TLSDefault:
		c.wrong(fmt.Sprintf("%s: tls: %q is not the name of a Secret, cert-manager or false", label, h.TLS), "", in("tls")...)
	}
	for _, name := range sortedNames(h.Annotations) {
		if len(validation.IsQualifiedName(strings.ToLower(name))) > 0 {
			c.wrong(fmt.Sprintf("%s: annotation %q: Kubernetes has no such names", label, name), "", append(in("annotations"), name)...)
		}
	}
	c.ranges(h.SourceRanges, in("source_ranges")...)
}

// checkHostName says what is wrong with the name of a host, "" when nothing is.
func checkHostName(name string) (message, hint string) {
	_, notAddress := netip.ParseAddr(strings.Trim(name, "[]"))
	lower := strings.ToLower(name)
	switch {
	case name == "":
		return "", ""
	case notAddress == nil:
		return fmt.Sprintf("%q is an address, not the name of a host", name), "write a name that leads to it, as shop.example.com"
	case len(validation.IsDNS1123Subdomain(name)) == 0, len(validation.IsWildcardDNS1123Subdomain(name)) == 0:
		return "", ""
	case strings.Contains(name, "/"):
		hint = "without http:// and without a path, which path: has"
	case strings.Contains(name, ":"):
		hint = "without a port: port: is that of the container"
	case len(validation.IsDNS1123Subdomain(lower)) == 0:
		hint = "write " + lower
	default:
		hint = "as in shop.example.com"
	}
	return fmt.Sprintf("%q is not the name of a host", name), hint
}

func (c worldCheck) expose() {
	known := []string{ExposeNone, ExposeCluster, ExposeNodePort, ExposeLoadBalancer}
	switch {
	case c.x.Expose == "":
	case !slices.Contains(known, c.x.Expose):
		c.wrong(fmt.Sprintf("expose: %q is not one of %s", c.x.Expose, quoted(known)), didYouMean(c.x.Expose, known), "expose")
	case len(c.service.Ports) == 0 && c.x.Expose != ExposeNone:
		c.warn(c.files.find(append(slices.Clone(c.path), "expose")...), subject(c.path)+"expose: there is nothing to expose: the service has no ports:",
			`write them, as in ports: ["8080:80"]`)
	}
	c.ranges(c.x.SourceRanges, "source_ranges")
	if len(c.x.SourceRanges) > 0 && c.x.Expose != ExposeLoadBalancer {
		c.wrong("source_ranges: only a LoadBalancer keeps others out", "write expose: loadbalancer; those of a host stand under host", "source_ranges")
	}
}

func (c worldCheck) autoscale() {
	a := c.x.Autoscale
	if a == nil {
		return
	}
	wrong := func(message, hint string, steps ...string) {
		c.wrong("autoscale: "+message, hint, append([]string{"autoscale"}, steps...)...)
	}
	d := c.service.Deploy
	if c.ends() || d != nil && d.Mode == "global" {
		wrong("the service has no number of pods", "leave it out")
	}
	switch least := a.Least(c.service.GetScale()); {
	case a.Min < 0:
		wrong("min must not be negative", "", "min")
	case a.Max == 0:
		wrong("max is needed", "write how many pods there may be, as in max: 10")
	case a.Max < least:
		wrong(fmt.Sprintf("max is %d, less than the %d pods that there are at least", a.Max, least), "raise max, or write a lower min", "max")
	}
	if a.Max > 1 && c.service.ContainerName != "" {
		c.problem(c.at("services", c.service.Name, "container_name"), fmt.Sprintf("service %q: container_name is for one container, and autoscale makes more", c.service.Name),
			"leave container_name out")
	}
	if replicas := c.service.GetScale(); c.setsReplicas() && a.Min > 0 && replicas != int(a.Min) {
		c.warn(c.files.find(append(slices.Clone(c.path), "autoscale")...),
			fmt.Sprintf("%sautoscale: the %d replicas of the file are ignored: the number goes from min %d by load", subject(c.path), replicas, a.Min), "keep one of them")
	}
	if a.CPU == 0 && a.Memory == 0 && len(a.Metrics) == 0 {
		wrong("it does not say by what", "as in cpu: 80, percent of what is reserved")
	}
	c.reserved("cpu", a.CPU, reservesCPU(c.service), "cpus: '0.25'")
	c.reserved("memory", a.Memory, reservesMemory(c.service), "memory: 256M")
	if t, err := Duration(a.ScaleDown); err != nil || t < 0 || t > time.Hour {
		wrong(fmt.Sprintf("scale_down: %q is not a duration of at most an hour", a.ScaleDown), "as in 5m", "scale_down")
	}
	for i, m := range a.Metrics {
		c.metric(m, "autoscale", "metrics", strconv.Itoa(i))
	}
}

// setsReplicas tells whether the file, or the target, says how many pods there are.
func (c worldCheck) setsReplicas() bool {
	return c.service.Scale != nil || c.service.Deploy != nil && c.service.Deploy.Replicas != nil
}

// reserved checks a percentage of what is reserved. A limit alone reserves nothing: see render's requirements.
func (c worldCheck) reserved(what string, percent int32, there bool, write string) {
	switch {
	case percent < 0:
		c.wrong(fmt.Sprintf("autoscale: %s must not be negative", what), "", "autoscale", what)
	case percent > 0 && !there:
		c.wrong(fmt.Sprintf("autoscale: %s is a part of what the service reserves, and it reserves none", what),
			"reserve some: deploy: {resources: {reservations: {"+write+"}}}", "autoscale", what)
	}
}

func reservesCPU(s types.ServiceConfig) bool {
	r := types.Resources{}
	if s.Deploy != nil {
		r = s.Deploy.Resources
	}
	return s.CPUShares > 0 || r.Reservations != nil && r.Reservations.NanoCPUs > 0
}

func reservesMemory(s types.ServiceConfig) bool {
	r := types.Resources{}
	if s.Deploy != nil {
		r = s.Deploy.Resources
	}
	return s.MemReservation > 0 || r.Reservations != nil && r.Reservations.MemoryBytes > 0
}

func (c worldCheck) metric(m Metric, at ...string) {
	wrong := func(message, hint, key string) {
		c.wrong(pathString(at)+": "+message, hint, append(slices.Clone(at), key)...)
	}
	if m.Name == "" {
		wrong("name is needed", "as the metrics adapter calls it", "name")
	}
	if kinds := []string{"pods", "external", "object"}; !slices.Contains(kinds, m.Type) {
		wrong(fmt.Sprintf("type %q is not one of %s", m.Type, quoted(kinds)), didYouMean(m.Type, kinds), "type")
	}
	if q, err := resource.ParseQuantity(m.Target); err != nil || q.Sign() <= 0 {
		wrong(fmt.Sprintf("target: %q is not a number", m.Target), "as in 100, or 250m for a quarter", "target")
	}
	switch o := m.Object; {
	case m.Type == "object" && (o == nil || o.Kind == "" || o.Name == ""):
		wrong("object is needed, with kind and name", "as in object: {kind: Service, name: queue}", "object")
	case m.Type != "object" && o != nil:
		wrong("object is for type: object", "leave it out", "object")
	}
}

func (c worldCheck) spread() {
	for key, mode := range map[string]SpreadMode{"zones": c.x.Spread.Zones, "nodes": c.x.Spread.Nodes} {
		if !slices.Contains([]SpreadMode{SpreadDefault, SpreadNot, SpreadWish, SpreadRequired}, mode) {
			c.wrong(fmt.Sprintf("spread: %s: %q is not %s", key, mode, mode.forms()), "", "spread", key)
		}
	}
}

func (c worldCheck) account() {
	a := c.x.ServiceAccount
	if a == nil {
		return
	}
	c.name("use", a.Use, "service_account")
	c.name("name", a.Name, "service_account")
	if a.Use != "" && (a.Name != "" || len(a.Annotations)+len(a.Rules) > 0) {
		c.wrong("service_account: use names an account that is there, and the rest is for one that is made", "leave use out, or keep nothing but it", "service_account", "use")
	}
	if a.Name == "default" {
		c.wrong("service_account: the account default is there in every namespace, for all pods in it", "give it another name", "service_account", "name")
	}
	for i, rule := range a.Rules {
		at := []string{"service_account", "rules", strconv.Itoa(i)}
		if len(rule.Resources) == 0 || len(rule.Verbs) == 0 {
			c.wrong(pathString(at)+": resources and verbs are needed", "as in {resources: [configmaps], verbs: [get, watch]}", at...)
		}
		for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
			if slices.Contains(list, "*") {
				c.warn(c.files.find(append(slices.Clone(c.path), at...)...), subject(c.path)+pathString(at)+`: "*" lets the service do more than it may need`, "name what it needs")
				break
			}
		}
	}
}

// accounts finds two services that would make the same account: it would be of two releases.
func (r *reading) accounts() {
	taken := map[string]string{}
	for _, name := range sortedNames(r.project.Services) {
		a := r.project.Services[name].ServiceAccount
		if a == nil || a.Use != "" {
			continue
		}
		account := cmpOr(a.Name, Name(name))
		if other, ok := taken[account]; ok {
			r.problem(r.files.find("services", name, extensionKey, "service_account", "name"),
				fmt.Sprintf("service %q: x-perch: service_account: service %q makes the account %q too", name, other, account), "give it another name; or write service_account: "+account+" to use that of the other service")
		}
		taken[account] = name
	}
}

func (c worldCheck) prometheus() {
	p := c.x.Prometheus
	if p == nil {
		return
	}
	c.port(p.Port, "prometheus")
	if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
		c.wrong(fmt.Sprintf("prometheus: path begins with a slash, not %q", p.Path), "write /"+p.Path, "prometheus", "path")
	}
	if t, err := Duration(p.Interval); err != nil || t < 0 {
		c.wrong(fmt.Sprintf("prometheus: interval: %q is not a duration", p.Interval), "as in 30s", "prometheus", "interval")
	}
}

// ofThePod refuses what a pod has once, in a service that runs in the pod of another.
func (c worldCheck) ofThePod() {
	host := PodOf(c.project.Project, c.service.Name)
	if host == c.service.Name {
		return
	}
	for key, given := range map[string]bool{
		"autoscale": c.x.Autoscale != nil, "spread": c.x.Spread != Spread{}, "priority": c.x.Priority != "",
		"service_account": c.x.ServiceAccount != nil, "prometheus": c.x.Prometheus != nil,
	} {
		if given {
			c.wrong(fmt.Sprintf("%s is of a pod, and the service runs in that of %q", key, host), fmt.Sprintf("write it under x-perch of %q", host), key)
		}
	}
}

// notOfCharts warns of what is said of the objects of a service that is a chart: they are the chart's to make.
func (r *reading) notOfCharts(name string) {
	x := r.project.Services[name]
	for key, given := range map[string]bool{
		"host": len(x.Host) > 0, "expose": x.Expose != "", "autoscale": x.Autoscale != nil, "spread": x.Spread != Spread{}, "priority": x.Priority != "",
		"service_account": x.ServiceAccount != nil, "image_pull_secrets": len(x.ImagePullSecrets) > 0, "prometheus": x.Prometheus != nil, "patch": len(x.Patch) > 0,
	} {
		if given {
			at := []string{"services", name, extensionKey, key}
			r.warn(r.files.find(at...), subject(at[:3])+key+" is ignored: the service is a chart", "say it with values of the chart")
		}
	}
}

func (c worldCheck) patches() {
	for i, p := range c.x.Patch {
		at := []string{"patch", strconv.Itoa(i)}
		if p.Kind == "" {
			c.wrong(pathString(at)+": kind is needed", "as in kind: Deployment", at...)
		}
		if (len(p.Strategic) == 0) == (len(p.JSON) == 0) {
			c.wrong(pathString(at)+": one of strategic and json is needed", "as in strategic: {spec: {template: {spec: {hostAliases: […]}}}}", at...)
		}
		for j, op := range p.JSON {
			c.patchOp(op, append(slices.Clone(at), "json", strconv.Itoa(j))...)
		}
	}
}

func (c worldCheck) patchOp(op PatchOp, at ...string) {
	known := []string{"add", "remove", "replace", "move", "copy", "test"}
	if !slices.Contains(known, op.Op) {
		c.wrong(fmt.Sprintf("%s: op %q is not one of %s", pathString(at), op.Op, quoted(known)), didYouMean(op.Op, known), append(slices.Clone(at), "op")...)
	}
	if !strings.HasPrefix(op.Path, "/") {
		c.wrong(fmt.Sprintf("%s: path begins with a slash, not %q", pathString(at), op.Path), "as in /spec/template/spec/dnsPolicy", append(slices.Clone(at), "path")...)
	}
	if from := op.Op == "move" || op.Op == "copy"; from && !strings.HasPrefix(op.From, "/") {
		c.wrong(fmt.Sprintf("%s: %s needs from, a path that begins with a slash", pathString(at), op.Op), "", append(slices.Clone(at), "from")...)
	}
}
