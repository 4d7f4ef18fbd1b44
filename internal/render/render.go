// Package render turns a checked Compose project and its images into Kubernetes objects. It is pure: no network, clock,
// environment or files (what a file holds was read by package compose), and the same input gives the same bytes.
package render

import (
	"github.com/compose-spec/compose-go/v2/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// Image is what render must know of an image and of the container that is to run it. What is nil or empty is not known, or
// the image has none of it.
type Image struct {
	Ref    string               // full, as docker.io/library/web:1a2b3c4
	Config *ocispec.ImageConfig // the image's own config (EXPOSE, USER, STOPSIGNAL, …); nil: not known, nor is anything below

	Health  *types.HealthCheckConfig // HEALTHCHECK, as Docker writes it
	UID     *int64                   // who the container runs as: user:, else USER; names as the image's /etc/passwd has them
	GID     *int64                   // the same for the group; nil with a UID: the runtime looks it up
	Groups  []int64                  // group_add, names as the image's /etc/group has them
	Content map[string]Content       // what the image has at the paths where volumes are mounted, by cleaned path
	Shell   bool                     // it has /bin/sh and cp, so that an init container of it can fill a volume
}

// Content is a path of an image.
type Content struct {
	Exists bool
	Filled bool // a file, or a folder with something in it
	UID    int64
	GID    int64
	Mode   uint32 // permission bits with setuid, setgid and sticky as in stat(2)
}

// Target is where the objects will live, as far as that changes them.
type Target struct {
	Namespace    string
	Embedded     bool   // Perch's own node: folders of this machine can be mounted, its DNS knows names with _ and dots
	LoadBalancer bool   // published ports become LoadBalancer Services (the embedded node), else what x-perch.expose says
	StorageClass string // "": the cluster's default

	Domain            string // completes hosts that have no dot; "": they are refused
	IngressClass      string // "": the cluster's default
	IngressController string // of that class, as its spec.controller has it; "": not known
	Issuer            string // cert-manager's: NAME of a ClusterIssuer, NAMESPACE/NAME of an Issuer; "": certificates are named, or there are none
	Gateway           string // NAMESPACE/NAME[/LISTENER] of the Gateway that hosts are routes of; "": they are Ingresses
	GatewayAPI        bool   // the cluster has the Gateway API, which Gateway needs
	ServiceMonitors   bool   // the cluster has Prometheus' operator
	PullSecret        string // Secret of the namespace that all pods pull their images with; "": none
}

// Output is all objects of a project.
type Output struct {
	Volumes []runtime.Object            // PersistentVolumeClaims of named volumes: outside every release, kept by down
	Units   []Unit                      // one a service, sorted by name
	Jobs    map[string]*batchv1.Job     // jobs: that can be run by hand, by Compose name; the Job's name lacks a suffix
	JobUse  map[string][]runtime.Object // the config objects a job of that name reads
	Notes   []Note                      // sorted by Path: what a reader of the objects should know

	Privileged []string // paths of keys that ask for more than the level baseline of Pod Security, sorted
}

// Note says where the objects are less than they could be, and which key asks for it: a weaker level of Pod security, an
// image that could not be looked into.
type Note struct {
	Path string // of the Compose file, as services.web.cap_add
	Text string // lower case, no full stop
}

// Unit is what one service becomes: one Helm release and what must be there before it.
type Unit struct {
	Service    string           // Compose's name
	Release    string           // PROJECT-SERVICE, valid in Kubernetes
	Config     []runtime.Object // ConfigMaps and Secrets named by their content; there before Migrations and Objects
	Migrations []*batchv1.Job   // pre_start that runs once for the service, in order, to completion, before Objects
	Objects    []runtime.Object // the Helm release
	DependsOn  []Dependency     // sorted by Service
	Published  []Port           // ports that answer on the host
	Hosts      []Host           // where it answers to the world
	OnFailure  string           // update_config.failure_action: "", pause, continue or rollback

	Chart *compose.Chart // the release is this Helm chart, and Objects are not known here; nil: it is Objects
	Names []string       // with Chart: Kubernetes names under which others know the service, sorted; its own is among them
}

// Dependency is one depends_on entry.
type Dependency struct {
	Service   string
	Condition string // service_started, service_healthy, service_completed_successfully
	Required  bool
	Restart   bool
}

// Host is a name of x-perch.host.
type Host struct {
	URL string // as https://shop.example.com/
}

// Port is one published port.
type Port struct {
	HostIP    string
	Published int32
	Target    int32
	Protocol  string // TCP or UDP
	HTTP      bool   // likely to answer HTTP, so that a URL may be printed
}
