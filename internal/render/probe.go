package render

import (
	"cmp"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/perch-k8s/perch/internal/compose"
)

// Compose's defaults for a health check.
const (
	checkInterval = 30 * time.Second
	checkTimeout  = 30 * time.Second
	checkRetries  = 3
)

// Defaults for a probe of x-perch. Kubernetes' own timeout of 1 s is short under load.
const (
	probeInterval = 10 * time.Second
	probeTimeout  = 5 * time.Second
)

// patience is how long a container has to start when x-perch.startup says nothing of it.
const patience = 5 * time.Minute

// never is a threshold that no probe reaches in the life of a container. Compose calls a container that does not become
// healthy unhealthy and leaves it running; a startup probe that failed would have it restarted.
const never = math.MaxInt32

// check is one probe before it is written down.
type check struct {
	handler     corev1.ProbeHandler
	interval    time.Duration
	timeout     time.Duration
	retries     int32
	startPeriod time.Duration
	startEvery  time.Duration // how often it is asked until it is ready for the first time
}

func (c check) probe() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     c.handler,
		PeriodSeconds:    atLeastOne(c.interval),
		TimeoutSeconds:   atLeastOne(c.timeout),
		FailureThreshold: max(c.retries, 1),
		SuccessThreshold: 1,
	}
}

// startup asks the same thing every second until it is true for the first time. Without it, a service would be ready
// only at the second readiness probe, an interval later.
func (c check) startup() *corev1.Probe {
	p := c.probe()
	p.PeriodSeconds = atLeastOne(c.startEvery)
	p.FailureThreshold = never
	return p
}

func atLeastOne(d time.Duration) int32 { return int32(max(min(seconds(d), 1<<20), 1)) } //nolint:gosec // bounded

// probes are the readiness, liveness and startup probes. Compose never restarts a container for its health, so there is
// a liveness probe only where x-perch asks for one.
func (w workload) probes() (readiness, liveness, startup *corev1.Probe) {
	c, ok := w.readiness()
	if ok {
		readiness, startup = c.probe(), c.startup()
	}
	if x := w.extension.Liveness; x != nil {
		live := w.fromExtension(*x)
		liveness = live.probe()
		if startup == nil {
			startup = live.startup()
		}
		// A container that hangs while it starts is restarted too, then.
		startup.FailureThreshold = int32(patience/time.Second) / startup.PeriodSeconds
		liveness.InitialDelaySeconds = int32(min(seconds(live.startPeriod), 1<<20)) //nolint:gosec // bounded
	}
	if sparesStartup(readiness, liveness, startup) {
		startup = nil
	}
	if x := w.extension.Startup; x != nil {
		s := w.fromExtension(*x)
		if x.Interval == "" {
			s.interval = time.Second
		}
		if x.Retries == 0 {
			s.retries = int32(patience / s.interval) //nolint:gosec // small
		}
		s.retries += int32(min(s.startPeriod/s.interval, 1<<20)) //nolint:gosec // bounded
		startup = s.probe()
	}
	return readiness, liveness, startup
}

// sparesStartup tells whether readiness is asked as often as a startup probe would ask, and liveness leaves time to start by
// itself. Then the startup probe only costs: the kubelet asks for readiness up to a second after it (its next look at the
// runtime, which it waits for before it looks at a pod again).
func sparesStartup(readiness, liveness, startup *corev1.Probe) bool {
	return readiness != nil && startup != nil && readiness.PeriodSeconds <= startup.PeriodSeconds &&
		(liveness == nil || liveness.InitialDelaySeconds > 0)
}

// readiness is what tells that the service can be used: x-perch, the health check, or a connection to the port.
func (w workload) readiness() (check, bool) {
	if x := w.extension.Readiness; x != nil {
		return w.fromExtension(*x), true
	}
	h, off := w.health()
	switch {
	case off:
		return check{}, false
	case len(h.Test) > 1:
		return w.fromHealthCheck(h), true
	}
	port, ok := w.onlyPort()
	if !ok {
		return check{}, false
	}
	return check{
		handler:    corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString(port.name)}},
		interval:   probeInterval,
		timeout:    probeTimeout,
		retries:    checkRetries,
		startEvery: time.Second,
	}, true
}

// health is the health check of the file, completed by the image's own as Docker does it: key by key. off tells that it
// is switched off.
func (w workload) health() (h types.HealthCheckConfig, off bool) {
	if w.service.HealthCheck != nil {
		h = *w.service.HealthCheck
	}
	if h.Disable || none(h.Test) {
		return h, true
	}
	own := w.image.Health
	if own == nil {
		return h, false
	}
	if len(h.Test) == 0 {
		h.Test = own.Test
	}
	h.Interval, h.Timeout, h.Retries = cmp.Or(h.Interval, own.Interval), cmp.Or(h.Timeout, own.Timeout), cmp.Or(h.Retries, own.Retries)
	h.StartPeriod, h.StartInterval = cmp.Or(h.StartPeriod, own.StartPeriod), cmp.Or(h.StartInterval, own.StartInterval)
	return h, none(h.Test)
}

func none(test types.HealthCheckTest) bool { return len(test) > 0 && test[0] == "NONE" }

// onlyPort is the TCP port to ask when nothing else is known: that of the file, or of several the one that the image
// exposes too, or the image's own when the container runs what the image is made for. Where it is not clear which one is
// meant there is none: a port that nobody listens on (a debugger's, one that a setting opens, that of the server whose image
// a worker shares) would keep the service from ever being ready.
func (w workload) onlyPort() (containerPort, bool) {
	ofImage := w.image.exposed()
	var declared, exposed, both []containerPort
	for _, p := range w.ports {
		inImage := slices.ContainsFunc(ofImage, func(e containerPort) bool { return e.port == p.port && e.protocol == p.protocol })
		switch {
		case p.protocol != corev1.ProtocolTCP || p.extra:
		case p.declared && inImage:
			declared, both = append(declared, p), append(both, p)
		case p.declared:
			declared = append(declared, p)
		default:
			exposed = append(exposed, p)
		}
	}
	switch {
	case len(declared) == 1:
		return declared[0], true
	case len(both) == 1:
		return both[0], true
	case len(declared) == 0 && len(exposed) == 1 && w.runsImage() && !w.sharesImage():
		return exposed[0], true
	}
	return containerPort{}, false
}

// runsImage tells whether the container runs the program that the image is made for, perhaps with more arguments: only
// then does it listen where the image says. "celery worker" of an image made for "gunicorn" does not.
func (w workload) runsImage() bool {
	var entrypoint, own []string
	if w.image.Config != nil {
		entrypoint, own = w.image.Config.Entrypoint, w.image.Config.Cmd
	}
	command := []string(w.service.Command)
	switch {
	case w.service.Entrypoint != nil && !slices.Equal(w.service.Entrypoint, entrypoint):
		return false
	case w.service.Command == nil:
		return w.service.Entrypoint == nil || len(own) == 0 // an entrypoint of the file drops the image's command
	case len(command) > 0 && strings.HasPrefix(command[0], "-"):
		return true
	}
	return len(command) >= len(own) && slices.Equal(command[:len(own)], own)
}

// sharesImage tells whether another service with the same image says in the file which port it listens on. This one, which
// does not, then has another part to play, as by a variable ROLE=worker.
func (w workload) sharesImage() bool {
	for name, other := range w.project.Project.Services {
		if name != w.name && len(other.Ports)+len(other.Expose) > 0 && sameImage(other, w.service) {
			return true
		}
	}
	return false
}

func sameImage(a, b types.ServiceConfig) bool {
	if a.Build == nil || b.Build == nil {
		return a.Build == nil && b.Build == nil && a.Image == b.Image
	}
	return a.Build.Context == b.Build.Context && a.Build.Dockerfile == b.Build.Dockerfile &&
		a.Build.DockerfileInline == b.Build.DockerfileInline && a.Build.Target == b.Build.Target
}

func (w workload) fromExtension(p compose.Probe) check {
	c := check{
		interval: duration(p.Interval, probeInterval), timeout: duration(p.Timeout, probeTimeout),
		retries: p.Retries, startPeriod: duration(p.StartPeriod, 0), startEvery: time.Second,
	}
	if c.retries == 0 {
		c.retries = checkRetries
	}
	port := intstr.FromInt32(p.Port)
	if p.Port == 0 {
		if first, ok := w.onlyPort(); ok {
			port = intstr.FromString(first.name)
		} else if len(w.ports) > 0 {
			port = intstr.FromString(w.ports[0].name)
		}
	}
	switch {
	case p.HTTP != "":
		c.handler.HTTPGet = &corev1.HTTPGetAction{Path: p.HTTP, Port: port, Scheme: corev1.URISchemeHTTP}
	case p.TCP:
		c.handler.TCPSocket = &corev1.TCPSocketAction{Port: port}
	default:
		c.handler.Exec = &corev1.ExecAction{Command: escapeAll(p.Exec)}
	}
	return c
}

func duration(text string, otherwise time.Duration) time.Duration {
	if d, err := compose.Duration(text); err == nil && text != "" {
		return d
	}
	return otherwise
}

func (w workload) fromHealthCheck(h types.HealthCheckConfig) check {
	c := check{
		interval: pick(h.Interval, checkInterval), timeout: pick(h.Timeout, checkTimeout), retries: checkRetries,
		startPeriod: pick(h.StartPeriod, 0), startEvery: pick(h.StartInterval, time.Second),
	}
	if h.Retries != nil && *h.Retries > 0 {
		c.retries = int32(min(*h.Retries, 1<<20)) //nolint:gosec // bounded
	}
	command := h.Test[1:]
	if h.Test[0] == "CMD-SHELL" {
		command = []string{"/bin/sh", "-c", h.Test[1]}
	}
	if get := w.httpGet(h.Test); get != nil {
		c.handler.HTTPGet = get
		return c
	}
	c.handler.Exec = &corev1.ExecAction{Command: escapeAll(command)}
	return c
}

func pick(d *types.Duration, otherwise time.Duration) time.Duration {
	if d == nil || *d == 0 {
		return otherwise
	}
	return time.Duration(*d)
}

// httpGet is the HTTP probe that does what a curl or wget of the container's own port does, nil for anything else. It
// spares a process in the container at every interval, and works where the image has no curl.
func (w workload) httpGet(test types.HealthCheckTest) *corev1.HTTPGetAction {
	words := []string(test[1:])
	if test[0] == "CMD-SHELL" {
		if len(test) != 2 {
			return nil
		}
		text := strings.TrimSpace(test[1])
		for _, end := range []string{"|| exit 1", "||exit 1", "|| false"} {
			text = strings.TrimSpace(strings.TrimSuffix(text, end))
		}
		if strings.ContainsAny(text, "|&;<>$`\\\"'(){}*") {
			return nil
		}
		words = strings.Fields(text)
	}
	address, ok := fetched(words)
	if !ok {
		return nil
	}
	return w.ownAddress(address)
}

// fetched is the address that a curl or wget command gets, when its options change nothing about its success.
func fetched(words []string) (string, bool) {
	if len(words) < 2 {
		return "", false
	}
	harmless := map[string][]string{
		"curl": {"-f", "--fail", "-s", "--silent", "-S", "--show-error", "-sS", "-fs", "-sf", "-fsS", "-sSf", "-fSs", "-fss"},
		"wget": {"-q", "--quiet", "--spider", "-nv", "--no-verbose", "--tries=1", "-O-", "-qO-", "-O/dev/null"},
	}
	tool := words[0][strings.LastIndex(words[0], "/")+1:]
	allowed, ok := harmless[tool]
	if !ok {
		return "", false
	}
	address := ""
	fails := tool == "wget"
	for i := 1; i < len(words); i++ {
		word := words[i]
		switch {
		case slices.Contains(allowed, word):
			fails = fails || word == "--fail" || (strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--") && strings.Contains(word, "f"))
		case (word == "-o" || word == "-O" || word == "-qO") && i+1 < len(words) && (words[i+1] == "/dev/null" || words[i+1] == "-"):
			i++
		case !strings.HasPrefix(word, "-") && address == "":
			address = word
		default:
			return "", false
		}
	}
	// curl without --fail is content with any answer, which no HTTP probe is.
	return address, fails && address != ""
}

// ownAddress is the probe for a URL of the container itself, at a port that it is known to serve.
func (w workload) ownAddress(address string) *corev1.HTTPGetAction {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.User != nil || !slices.Contains([]string{"localhost", "127.0.0.1"}, u.Hostname()) {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	i := slices.IndexFunc(w.ports, func(p containerPort) bool {
		return p.declared && p.protocol == corev1.ProtocolTCP && strconv.Itoa(int(p.port)) == port
	})
	if i < 0 {
		return nil
	}
	path := u.RequestURI()
	return &corev1.HTTPGetAction{
		Path: path, Port: intstr.FromString(w.ports[i].name), Scheme: corev1.URISchemeHTTP,
		// What curl would send: an application that checks its host name must see the same one.
		HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: u.Host}},
	}
}
