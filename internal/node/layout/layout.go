// Package layout says where a node keeps its files. It touches none of them.
package layout

import "path/filepath"

// Layout is the one folder of a node. Everything in it is the node's, and goes when the node is deleted.
type Layout struct {
	Name string `json:"name"` // of the cluster
	Dir  string `json:"dir"`  // absolute
}

// Programs is where the carried programs are put.
func (l Layout) Programs() string { return filepath.Join(l.Dir, "bin") }

// Run holds sockets and generated configuration; it is emptied at each start.
func (l Layout) Run() string { return filepath.Join(l.Dir, "run") }

// Logs holds a log a component.
func (l Layout) Logs() string { return filepath.Join(l.Dir, "log") }

// Log is the log file of one component.
func (l Layout) Log(component string) string { return filepath.Join(l.Logs(), component+".log") }

// Temp is the folder for temporary files of what runs in the sandbox; it is emptied at each start.
func (l Layout) Temp() string { return filepath.Join(l.Dir, "tmp") }

// Containerd holds images and snapshots.
func (l Layout) Containerd() string { return filepath.Join(l.Dir, "containerd") }

// Registries holds what is known of registries, as containerd has it: a folder for each, with its mirrors. It is written by who
// builds and pulls.
func (l Layout) Registries() string { return filepath.Join(l.Dir, "registries") }

// Builder holds the index of the build cache.
func (l Layout) Builder() string { return filepath.Join(l.Dir, "buildkit") }

// Kubernetes holds etcd's data, certificates and the kubelet's folder.
func (l Layout) Kubernetes() string { return filepath.Join(l.Dir, "kubernetes") }

// PKI holds Kubernetes' keys and certificates: package kubernetes puts them there.
func (l Layout) PKI() string { return filepath.Join(l.Kubernetes(), "pki") }

// Volumes holds the data of PersistentVolumes.
func (l Layout) Volumes() string { return filepath.Join(l.Dir, "volumes") }

// Control is the socket of the supervisor.
func (l Layout) Control() string { return filepath.Join(l.Run(), "node.sock") }

// ContainerdSocket is the API of containerd.
func (l Layout) ContainerdSocket() string { return filepath.Join(l.Run(), "containerd.sock") }

// BuilderSocket is the API of BuildKit; connecting starts it.
func (l Layout) BuilderSocket() string { return filepath.Join(l.Run(), "buildkit.sock") }

// Lock is held by the supervisor as long as it lives.
func (l Layout) Lock() string { return l.Dir + ".lock" }

// Settings is what the user chose for the cluster, as JSON.
func (l Layout) Settings() string { return filepath.Join(l.Dir, "settings.json") }

// State is what must be known to clean up after a supervisor that was killed, as JSON.
func (l Layout) State() string { return filepath.Join(l.Dir, "state.json") }
