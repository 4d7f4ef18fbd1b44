// Package compose reads the Compose file: compose-go does the work (merge, interpolation, profiles, extends), and this
// package checks that every key it meets is one that Perch carries. Each complaint has its file and line, and all of
// them come at once. It knows nothing of Kubernetes objects, images or clusters.
package compose

import (
	"context"
	"io"

	"github.com/compose-spec/compose-go/v2/types"
)

// Options say where the Compose file is and how it is read. Nothing is read from the process's own environment.
type Options struct {
	WorkingDir  string            // where discovery starts; absolute
	ProjectDir  string            // --project-directory; "" is the folder of the first file
	Files       []string          // -f, in order; empty: discovery in WorkingDir and its parents; "-" is Stdin
	Stdin       io.Reader         // read when Files has "-"
	Override    []byte            // one more file, which lies over the others; see Without
	ProjectName string            // -p; "" is COMPOSE_PROJECT_NAME, name: or the folder's name
	Profiles    []string          // --profile and COMPOSE_PROFILES
	EnvFiles    []string          // --env-file; empty: .env beside the first file when it is there
	Environment map[string]string // for interpolation, and for variables passed on by name
	Target      string            // the one of x-perch.targets that is chosen; "": none

	// Secrets decrypts the variables of the project's secrets files, which are in its folder. They win over env files, and
	// Environment over them; wherever they end up is sensitive. With needed, a passphrase may be asked for. nil: there are none.
	Secrets func(ctx context.Context, dir string, needed bool) (map[string]string, error)

	// NamesOnly says that values are not what is wanted, but where the project is and what its services are called. Secrets that
	// cannot be decrypted are then no error, and what needs them is empty.
	NamesOnly bool

	// Embedded says that the project is for Perch's own node, on this machine: what a bind mount names can be mounted as
	// it is, and names with underscores and dots resolve. Elsewhere both are told of.
	Embedded bool
}

// Project is a Compose project that was checked: every key in it is one that Perch carries, or has a Warning.
type Project struct {
	*types.Project
	Namespace string                      // the project name as a Kubernetes namespace: lower case, hyphens
	Services  map[string]ServiceExtension // x-perch of each service that has one, by service name
	Warnings  Problems                    // what is carried only in part, or ignored, in file order
	Target    Target                      // the chosen one of Targets, whose replicas and files the project has already
	Targets   map[string]Target           // of x-perch.targets, by name

	JobExtensions    map[string]ServiceExtension // x-perch of each job that has one: Secrets, Downward and ImagePullSecrets only
	VolumeExtensions map[string]VolumeExtension  // x-perch of each volume that has one
	SecretData       map[string][]byte           // the exact bytes of each secret that a service or job mounts
	ConfigData       map[string][]byte           // the exact bytes of each config that a service or job mounts
	ExecutableConfig map[string]bool             // configs whose file: can be executed, as Docker mounts it then
	Binds            map[string]Tree             // what bind mounts of project files hold, by absolute source path

	fromFiles []string           // values of Options.Secrets, and the lines of those that have several
	replaced  []ServiceExtension // what the target has another word for; it stands in the file and must be hidden too

	find func(path ...string) position // where a path stands in the files
}

// Tree is what a bind mount names: files of the project as they were when it was loaded, or a path of this machine that
// is mounted as it is (on the embedded node only).
type Tree struct {
	Host      string     // the absolute path to mount; "": Files are copied
	Create    bool       // with Host: make the folder when it is not there, as Docker does
	Folder    bool       // false: Files has the one file, with Path ""
	Sensitive bool       // one of the files looks like a key or a file of passwords
	Files     []TreeFile // sorted by Path
}

// TreeFile is one file of a Tree.
type TreeFile struct {
	Path string // slash-separated, relative to the mount
	Mode uint32 // permission bits
	Data []byte
}

// VolumeExtension is x-perch of a volume.
type VolumeExtension struct {
	Size string `yaml:"size"` // a Kubernetes quantity, as 5Gi; "" is 1Gi
}

// ServiceExtension is x-perch of a service: what Compose cannot say. Its keys are decoded strictly.
type ServiceExtension struct {
	Readiness *Probe   `yaml:"readiness"` // instead of the probe made from healthcheck
	Liveness  *Probe   `yaml:"liveness"`  // restarts the container; Compose has no word for it
	Startup   *Probe   `yaml:"startup"`
	Secrets   []string `yaml:"secrets"` // names of variables that go into a Secret; those of the top level that it has are among them

	// Downward gives variables the value of a field of their own pod, as Kubernetes' downward API does:
	//
	//	x-perch:
	//	  downward:
	//	    POD_IP: status.podIP
	//	    POD_NAME: metadata.name
	//
	// The fields are metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY'],
	// spec.nodeName, spec.serviceAccountName, status.hostIP and status.podIP. A variable is not in environment too.
	Downward map[string]string `yaml:"downward"`

	// Headless asks for a second Service, NAME-pods, whose DNS name has the address of every pod that is ready; so pods
	// of one service find each other. Without it, a service of two or more replicas has one.
	Headless *bool `yaml:"headless"`

	Provided *Provided `yaml:"provided"` // it runs elsewhere; that of the chosen target when it says so
	Chart    *Chart    `yaml:"chart"`    // it is what a Helm chart makes of it

	// SecretKeys are variables that have their value from a Secret which is there already; in environment they have none.
	SecretKeys map[string]SecretKey `yaml:"-"`

	Host             Hosts           `yaml:"host"`
	Expose           string          `yaml:"expose"`        // how published ports answer on a cluster that is not Perch's own; see Expose…
	SourceRanges     []string        `yaml:"source_ranges"` // CIDRs of those who may come to a LoadBalancer; empty: all
	Autoscale        *Autoscale      `yaml:"autoscale"`
	Spread           Spread          `yaml:"spread"`
	Priority         string          `yaml:"priority"` // name of a PriorityClass
	ServiceAccount   *ServiceAccount `yaml:"service_account"`
	ImagePullSecrets []string        `yaml:"image_pull_secrets"` // Secrets of the namespace, besides the target's
	Prometheus       *Prometheus     `yaml:"prometheus"`
	Patch            []Patch         `yaml:"patch"`
}

// The values of ServiceExtension.Expose.
const (
	ExposeNone         = "none"         // not at all: the default
	ExposeCluster      = "cluster"      // inside the cluster, at the published ports
	ExposeNodePort     = "nodeport"     // on every node
	ExposeLoadBalancer = "loadbalancer" // at an address that the cluster's provider gives
)

// Probe is one Kubernetes probe. Exactly one of HTTP, TCP and Exec is set.
type Probe struct {
	HTTP        string   `yaml:"http"` // path, as "/ready"; on Port
	TCP         bool     `yaml:"tcp"`  // a connection to Port
	Exec        []string `yaml:"exec"` // a command in the container
	Port        int32    `yaml:"port"` // 0: the first port of the service
	Interval    string   `yaml:"interval"`
	Timeout     string   `yaml:"timeout"`
	Retries     int32    `yaml:"retries"`
	StartPeriod string   `yaml:"start_period"`
}

// Problem is one complaint about a Compose file.
type Problem struct {
	File    string // as the user named it, or relative to the working directory
	Line    int    // 1 is the first; 0: not known
	Column  int    // 1 is the first; 0: not known
	Path    string // as services.web.ports[0]
	Message string // what is wrong, lower case, with names quoted
	Hint    string // what to do

	order int // of the file among those read
}

// Problems is an error that holds every complaint about an input, in file order.
type Problems []Problem
