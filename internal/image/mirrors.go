package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/distribution/reference"

	"github.com/perch-k8s/perch/internal/fault"
)

// Mirrors are the addresses that are asked before a registry, by its host as it stands in images' names; in the order in
// which they are asked. An address is SCHEME://HOST[:PORT][/PATH].
type Mirrors map[string][]string

const mirrorHint = "as --registry-mirror mirror.example:5000, or registry.example=mirror.example/path for another registry than the default one"

// ParseMirrors reads HOST=MIRROR, or MIRROR alone for the default registry. A MIRROR is HOST[:PORT][/PATH], with http:// before
// it only where that is this machine.
func ParseMirrors(values []string) (Mirrors, error) {
	m := Mirrors{}
	for _, v := range values {
		host, address, named := strings.Cut(v, "=")
		if !named {
			host, address = defaultDomain(), v
		}
		if !strings.Contains(address, "://") {
			address = "https://" + address
		}
		u, err := url.Parse(strings.TrimSuffix(address, "/"))
		switch {
		case err != nil || host == "" || strings.Contains(host, "/") || u.Host == "" || u.User != nil || u.RawQuery != "":
			return nil, fault.New(fault.Usage, mirrorHint, "registry mirror %q is not HOST=MIRROR", v)
		case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Host)):
			return nil, fault.New(fault.Usage, "leave http:// away: a mirror speaks TLS, unless it is on this machine", "registry mirror %q: %w", v, errPlain)
		}
		if host == "index."+defaultDomain() {
			host = defaultDomain()
		}
		m[host] = append(m[host], u.String())
	}
	return m, nil
}

// defaultDomain is the registry of a name that has none.
func defaultDomain() string {
	named, err := reference.ParseNormalizedNamed("a")
	if err != nil { // it is a name
		panic(err)
	}
	return reference.Domain(named)
}

// of are the names that an image has at the mirrors of its registry.
func (m Mirrors) of(named reference.Named) []string {
	var out []string
	rest := strings.TrimPrefix(named.String(), reference.Domain(named)+"/")
	for _, address := range m[reference.Domain(named)] {
		_, place, _ := strings.Cut(address, "://")
		out = append(out, place+"/"+rest)
	}
	return out
}

// hosts are where a pull from a registry looks: its mirrors, then the registry itself.
func (m Mirrors) hosts(host string, base docker.RegistryHosts) ([]docker.RegistryHost, error) {
	var out []docker.RegistryHost
	for _, address := range m[host] {
		u, err := url.Parse(address)
		if err != nil {
			return nil, err
		}
		found, err := base(u.Host)
		if err != nil {
			return nil, err
		}
		for _, h := range found {
			h.Path = path.Join("/v2", u.Path)
			h.Capabilities = docker.HostCapabilityPull | docker.HostCapabilityResolve
			out = append(out, h)
		}
	}
	own, err := base(host)
	return append(out, own...), err
}

// tellNode writes the mirrors where the node's builder and its pods' pulls find them: a folder for each registry, as
// containerd has it. It is as the last command said: the builder serves all, and has no setting for a single build.
func (s Store) tellNode(m Mirrors, certificates []string) error {
	if s.Registries == "" {
		return nil
	}
	there, err := os.ReadDir(s.Registries)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("registry mirrors: %w", err)
	}
	for _, d := range there {
		if _, ok := m[d.Name()]; !ok {
			if err := os.RemoveAll(filepath.Join(s.Registries, d.Name())); err != nil {
				return fmt.Errorf("registry mirrors: %w", err)
			}
		}
	}
	for _, host := range slices.Sorted(maps.Keys(m)) {
		if err := writeNew(filepath.Join(s.Registries, host, "hosts.toml"), hostsFile(host, m[host], certificates)); err != nil {
			return fmt.Errorf("registry mirrors: %w", err)
		}
	}
	return nil
}

// hostsFile is containerd's own form of a registry with mirrors. The folder hides others for this registry, so what these
// have in certificates is named in it.
func hostsFile(host string, mirrors, certificates []string) []byte {
	text := &strings.Builder{}
	writeCA(text, "", authorities(host, certificates))
	for _, address := range mirrors {
		u, err := url.Parse(address)
		if err != nil { // ParseMirrors has read it
			continue
		}
		u.Path = path.Join("/v2", u.Path)
		fmt.Fprintf(text, "[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n", u.String())
		writeCA(text, "  ", authorities(u.Host, certificates))
	}
	return []byte(text.String())
}

func writeCA(text *strings.Builder, indent string, files []string) {
	if len(files) == 0 {
		return
	}
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = fmt.Sprintf("%q", f)
	}
	fmt.Fprintf(text, "%sca = [%s]\n", indent, strings.Join(quoted, ", "))
}

// authorities are the certificate files for a host in the first folder that has one for it.
func authorities(host string, folders []string) []string {
	dir, err := hostDir(folders)(host)
	if err != nil || dir == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return nil
	}
	return files
}

// hostDir finds the folder of a host, "" when there is none.
func hostDir(roots []string) func(host string) (string, error) {
	return func(host string) (string, error) {
		for _, root := range roots {
			if dir, err := config.HostDirFromRoot(root)(host); err == nil {
				return dir, nil
			}
		}
		return "", nil
	}
}

// writeNew writes a file, unless it has that content: whoever reads it sees the old or the new one, and no part.
func writeNew(name string, data []byte) error {
	if have, err := os.ReadFile(name); err == nil && string(have) == string(data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	return err
}

// resolver is what pulls go by: mirrors, certificates and credentials as everything else here.
func (h *hub) resolver(ctx context.Context) docker.ResolverOptions {
	return docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		return h.mirrors.hosts(host, h.hosts(ctx))
	}}
}
