// Package containerd sets up the node's container runtime: its configuration, the pods' network, the sandbox image, and
// an orderly end of containers. containerd itself is a child process of the sandbox; its shim, runc and the CNI plugins
// are carried programs (package assets).
package containerd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// Namespace is the namespace of images and containers that the kubelet uses.
const Namespace = "k8s.io"

// Paths are where containerd of one node lives.
type Paths struct {
	Root       string // images and snapshots; survives a restart
	State      string // sockets and mounts of running containers; memory that ends with the sandbox
	Socket     string // its API, reachable from the host
	Bin        string // the carried programs
	Config     string // folder for its configuration and the CNI's
	Registries string // folder with a folder for each registry that has mirrors
}

// Options are what the configuration depends on.
type Options struct {
	SandboxImage string  // full name of the pause image
	Ranges       []Range // one for each family
	MTU          int
	KeepOOMScore bool // this machine lets us lower a process's OOM score (CAP_SYS_RESOURCE)
}

// Range is where pods' addresses of one family come from, and what they have a way to by it, beside each other.
type Range struct {
	Subnet netip.Prefix
	Routes []netip.Prefix
}

const configTemplate = `version = 3
root = {{.Root}}
state = {{.State}}
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs", "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = {{.Socket}}
[plugins.'io.containerd.service.v1.diff-service']
  # A layer is on disk before it counts as unpacked: a power cut would leave its files empty, and nothing would ever look.
  sync_fs = true
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = {{.Image}}
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = {{.Registries}}
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {{.Restrict}}
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [{{.Bin}}]
    conf_dir = {{.CNI}}
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = {{.Runc}}
`

// WriteConfig writes containerd's configuration and the pod network's, and returns the path of the first.
func WriteConfig(p Paths, o Options) (string, error) {
	cni := filepath.Join(p.Config, "cni")
	if err := os.MkdirAll(cni, 0o700); err != nil {
		return "", err
	}
	network, err := networkConfig(o)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(cni, "10-perch.conflist"), network, 0o600); err != nil {
		return "", err
	}
	var text bytes.Buffer
	err = template.Must(template.New("config").Parse(configTemplate)).Execute(&text, map[string]string{
		"Root": quote(p.Root), "State": quote(p.State), "Socket": quote(p.Socket), "Image": quote(o.SandboxImage),
		"Registries": quote(strings.Join(RegistryFolders(p.Registries), string(filepath.ListSeparator))),
		"Restrict":   fmt.Sprint(!o.KeepOOMScore), "Bin": quote(p.Bin), "CNI": quote(cni), "Runc": quote(filepath.Join(p.Bin, "runc")),
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.Config, "containerd.toml")
	return path, os.WriteFile(path, text.Bytes(), 0o600)
}

// RegistryFolders are where mirrors and certificates of registries are looked for: the node's own folder, then those of
// containerd and docker on this machine.
func RegistryFolders(own string) []string {
	return []string{own, "/etc/containerd/certs.d", "/etc/docker/certs.d"}
}

// quote makes a TOML string: JSON's escapes are a subset of TOML's.
func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// networkConfig gives each pod a cable to the node and a route of its own (ptp), not a port of a bridge: packets between
// two pods then always pass the node's rules, without the br_netfilter module that a bridge would need for Services.
func networkConfig(o Options) ([]byte, error) {
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, r := range o.Ranges {
		ranges = append(ranges, []map[string]string{{"subnet": r.Subnet.String()}})
		for _, to := range r.Routes {
			routes = append(routes, map[string]string{"dst": to.String()})
		}
	}
	ipam := map[string]any{"type": "host-local", "dataDir": "/run/cni/networks", "ranges": ranges, "routes": routes}
	var plugins []map[string]any
	if len(o.Ranges) > 1 { // or ptp would wait until IPv6 is sure that nobody has the pod's address: a second or two
		plugins = append(plugins, map[string]any{"type": "nodad"})
	}
	plugins = append(plugins, []map[string]any{
		{"type": "ptp", "mtu": o.MTU, "ipMasq": false, "ipam": ipam},
		{"type": "portmap", "backend": "nftables", "capabilities": map[string]bool{"portMappings": true}},
	}...)
	return json.MarshalIndent(map[string]any{"cniVersion": "1.0.0", "name": "perch", "plugins": plugins}, "", "  ")
}
