package compose

// What a service is to the world outside of its cluster, and to the cluster itself: keys of x-perch that Compose has no word
// for. Several may be written shorter than their fields are; see shortForm.

// Hosts are the names under which a service answers outside: a name, true for the service's own name, a mapping, or a list of
// those. On Perch's own node nothing comes of them: published ports answer there.
type Hosts []Host

// Host is one name of a service outside. It becomes an Ingress, or a route of the Gateway API.
type Host struct {
	Name         string            `yaml:"name"`    // shop.example.com or *.example.com; one without a dot is completed by the target's domain; "": the service's
	Path         string            `yaml:"path"`    // requests below it; "" is /
	Port         int32             `yaml:"port"`    // of the container; 0: the one it has
	TLS          TLS               `yaml:"tls"`     // "": cert-manager where the target names an issuer
	Class        string            `yaml:"class"`   // of the Ingress; "": the target's, else the cluster's default
	Gateway      string            `yaml:"gateway"` // NAMESPACE/NAME or NAMESPACE/NAME/LISTENER of a Gateway, instead of an Ingress
	Annotations  map[string]string `yaml:"annotations"`
	SourceRanges []string          `yaml:"source_ranges"` // CIDRs of those who may come; empty: all
	Protocol     string            `yaml:"protocol"`      // of the container: http, h2c, grpc or websocket; "" is http
}

// TLS is the name of a Secret of type kubernetes.io/tls, or one of the words below.
type TLS string

// The values of TLS that are no Secret.
const (
	TLSDefault     TLS = ""
	TLSNone        TLS = "false"
	TLSCertManager TLS = "cert-manager"
)

// Autoscale has the number of pods follow their load. A HorizontalPodAutoscaler owns the number then.
type Autoscale struct {
	Min       int32    `yaml:"min"`    // 0: the replicas of the file, else 1
	Max       int32    `yaml:"max"`    // needed
	CPU       int32    `yaml:"cpu"`    // percent of what the container has reserved; 0: does not count
	Memory    int32    `yaml:"memory"` // the same for memory
	Metrics   []Metric `yaml:"metrics"`
	ScaleDown string   `yaml:"scale_down"` // for how long fewer pods must have been enough; "": 5m, Kubernetes' own
}

// Metric is a number that a metrics adapter of the cluster knows.
type Metric struct {
	Name     string            `yaml:"name"`
	Type     string            `yaml:"type"`   // pods: of each pod; external: of none of the cluster's objects, for each pod; object: of Object
	Target   string            `yaml:"target"` // a quantity, as 100 or 250m
	Selector map[string]string `yaml:"selector"`
	Object   *ObjectRef        `yaml:"object"`
}

// ObjectRef names an object of the service's namespace.
type ObjectRef struct {
	APIVersion string `yaml:"api_version"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
}

// Least is the number of pods that there are at least, for a service whose file has that many replicas.
func (a Autoscale) Least(replicas int) int32 {
	if a.Min > 0 {
		return a.Min
	}
	return int32(max(min(replicas, 1<<20), 1)) //nolint:gosec // bounded
}

// Spread keeps the pods of a service apart, so that not all are gone with one zone or one node.
type Spread struct {
	Zones SpreadMode `yaml:"zones"`
	Nodes SpreadMode `yaml:"nodes"`
}

// SpreadMode says how much being apart matters: "" is as Perch does it by itself.
type SpreadMode string

// The values of SpreadMode.
const (
	SpreadDefault  SpreadMode = ""
	SpreadNot      SpreadMode = "false"
	SpreadWish     SpreadMode = "true"     // where it can be
	SpreadRequired SpreadMode = "required" // a pod waits until it can be
)

// ServiceAccount is who the pods are to the API server. A name alone is Use: an account that is there already. Else an account
// is made for the service, which may do what Rules say and nothing more.
type ServiceAccount struct {
	Use         string            `yaml:"use"`
	Name        string            `yaml:"name"` // of the one that is made; "": the service's
	Annotations map[string]string `yaml:"annotations"`
	Rules       []PolicyRule      `yaml:"rules"`
}

// PolicyRule is what an account may do in its namespace.
type PolicyRule struct {
	APIGroups     []string `yaml:"api_groups"` // none: the core group
	Resources     []string `yaml:"resources"`
	Verbs         []string `yaml:"verbs"`
	ResourceNames []string `yaml:"resource_names"`
}

// Prometheus says where the container has its metrics. true alone is the port that it has, at /metrics.
type Prometheus struct {
	Port     int32  `yaml:"port"` // 0: the one it has
	Path     string `yaml:"path"`
	Interval string `yaml:"interval"` // of a ServiceMonitor; "": Prometheus' own
}

// Patch changes objects that the service becomes, for what x-perch has no word for. Exactly one of Strategic and JSON is set.
type Patch struct {
	Kind      string         `yaml:"kind"`
	Name      string         `yaml:"name"`      // "": all of the kind
	Strategic map[string]any `yaml:"strategic"` // a strategic merge patch
	JSON      []PatchOp      `yaml:"json"`      // a JSON patch (RFC 6902)
}

// PatchOp is one operation of a JSON patch.
type PatchOp struct {
	Op    string `yaml:"op"`
	Path  string `yaml:"path"`
	From  string `yaml:"from"`
	Value any    `yaml:"value"`
}

// shortForm is a type of x-perch that can be written shorter than its fields have it.
type shortForm interface {
	// long is a value as the fields have it. One that is not known is given back, for the strict comparison to refuse.
	long(value any) any
	// forms are the forms that it knows, in words.
	forms() string
}

var (
	_ shortForm = Hosts(nil)
	_ shortForm = Host{}
	_ shortForm = TLS("")
	_ shortForm = SpreadMode("")
	_ shortForm = ServiceAccount{}
	_ shortForm = Prometheus{}
)

func (Hosts) long(value any) any {
	switch v := value.(type) {
	case nil, []any:
		return v
	case bool:
		if !v {
			return []any{}
		}
	}
	return []any{value}
}

func (Host) long(value any) any {
	switch v := value.(type) {
	case string:
		return map[string]any{"name": v}
	case bool:
		if v {
			return map[string]any{}
		}
	}
	return value
}

func (TLS) long(value any) any { return wordOf(value) }

func (SpreadMode) long(value any) any { return wordOf(value) }

// wordOf is true or false as a word among others.
func wordOf(value any) any {
	if yes, ok := value.(bool); ok {
		if yes {
			return "true"
		}
		return "false"
	}
	return value
}

func (ServiceAccount) long(value any) any {
	if name, ok := value.(string); ok {
		return map[string]any{"use": name}
	}
	return value
}

func (Prometheus) long(value any) any {
	if yes, ok := value.(bool); ok {
		if yes {
			return map[string]any{}
		}
		return nil
	}
	return value
}

func (Hosts) forms() string          { return "a name, true, a mapping or a list of those" }
func (Host) forms() string           { return "a name, true or a mapping" }
func (TLS) forms() string            { return "the name of a Secret, cert-manager or false" }
func (SpreadMode) forms() string     { return "true, false or required" }
func (ServiceAccount) forms() string { return "a name or a mapping" }
func (Prometheus) forms() string     { return "true, false or a mapping" }
