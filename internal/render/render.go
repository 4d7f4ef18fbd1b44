// Package render turns a checked Compose project and its images into Kubernetes objects. It is pure: no network, clock,
// environment or files (what a file holds was read by package compose), and the same input gives the same bytes.
package render

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Image is what render must know of an image: the name that pods use and the image's own config (EXPOSE, USER, …).
type Image struct {
	Ref    string               // full, as docker.io/library/web:1a2b3c4
	Config *ocispec.ImageConfig // nil: not known
}

// Target is where the objects will live, as far as that changes them.
type Target struct {
	Namespace    string
	LoadBalancer bool   // published ports become LoadBalancer Services (the embedded node), else ClusterIP
	StorageClass string // "": the cluster's default
}

// Output is all objects of a project.
type Output struct {
	Volumes []runtime.Object            // PersistentVolumeClaims of named volumes: outside every release, kept by down
	Units   []Unit                      // one a service, sorted by name
	Jobs    map[string]*batchv1.Job     // jobs: that can be run by hand, by Compose name; the Job's name lacks a suffix
	JobUse  map[string][]runtime.Object // the config objects a job of that name reads
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
}

// Dependency is one depends_on entry.
type Dependency struct {
	Service   string
	Condition string // service_started, service_healthy, service_completed_successfully
	Required  bool
	Restart   bool
}

// Port is one published port.
type Port struct {
	HostIP    string
	Published int32
	Target    int32
	Protocol  string // TCP or UDP
	HTTP      bool   // likely to answer HTTP, so that a URL may be printed
}
