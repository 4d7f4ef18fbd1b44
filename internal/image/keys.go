package image

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	buildkit "github.com/moby/buildkit/client"
)

// Entitlements that the node's builder grants, and BuildKit's names for kinds of cache that it has.
const (
	networkHost      = "network.host"
	securityInsecure = "security.insecure"

	cacheRegistry = "registry"
	cacheLocal    = "local"
	cacheInline   = "inline"
)

// check refuses what the node's builder cannot do.
func (r *recipe) check() error {
	b := r.config
	switch b.Network {
	case "", "default", "none", "host":
	default:
		return r.fault("set build.network to default, none or host", "a build is in no network: %q", b.Network)
	}
	if b.Isolation != "" && b.Isolation != "default" {
		return r.fault("leave build.isolation away", "build isolation %q is for Windows", b.Isolation)
	}
	for _, e := range b.Entitlements {
		if e != networkHost && e != securityInsecure {
			return r.fault("entitlements are: "+networkHost+", "+securityInsecure, "the node's builder does not grant the entitlement %q", e)
		}
	}
	for _, c := range slices.Concat(b.CacheFrom, b.CacheTo) {
		if _, err := parseCache(c); err != nil {
			return r.fault("write a name, or type=registry,ref=NAME, or type=local with src= or dest=", "build cache %q: %w", c, err)
		}
	}
	for key, value := range map[string]string{"provenance": b.Provenance, "sbom": b.SBOM} {
		if _, err := csv.NewReader(strings.NewReader(value)).Read(); value != "" && err != nil {
			return r.fault("write true, false, or options as mode=max", "build.%s: %q: %w", key, value, err)
		}
	}
	return nil
}

// choosePlatforms says what r is built for. In the node that is its own platform, which must be among those of the file: an
// image of another one would not run there. For a registry, what is asked for counts more than the file.
func (r *recipe) choosePlatforms(to Registry) error {
	asked := r.config.Platforms
	if len(to.Platforms) > 0 {
		asked = to.Platforms
	}
	var all []string
	here := len(asked) == 0
	for _, text := range asked {
		p, err := platforms.Parse(text)
		if err != nil {
			return r.fault("platforms look like linux/amd64", "build platform %q: %w", text, err)
		}
		if to.On() && p.OS != "linux" {
			return r.fault("platforms look like linux/amd64", "build platform %q: images of Linux only are built here", text)
		}
		here = here || platforms.Only(platforms.DefaultSpec()).Match(p)
		all = append(all, platforms.Format(platforms.Normalize(p)))
	}
	slices.Sort(all)
	r.platforms = slices.Compact(all)
	if !to.On() {
		r.hashed = hostPlatform()
	}
	switch {
	case to.On() && len(all) > 0:
		return nil
	case here:
		r.platforms = []string{hostPlatform()}
		return nil
	}
	return r.fault("add "+hostPlatform()+", or leave build.platforms away",
		"build platforms %s: the node runs %s only", strings.Join(r.config.Platforms, ", "), hostPlatform())
}

// caution is what of r's settings is left out, in words for people: it changes nothing in the image.
func (r *recipe) caution() []string {
	var out []string
	for _, c := range slices.Concat(r.config.CacheFrom, r.config.CacheTo) {
		if e, err := parseCache(c); err == nil && !supported(e) {
			out = append(out, fmt.Sprintf("the node's builder has no cache of type %q: it is left out", e.Type))
		}
	}
	for _, host := range slices.Sorted(maps.Keys(r.config.ExtraHosts)) {
		for _, ip := range r.config.ExtraHosts[host] {
			if address(ip) == nil {
				out = append(out, fmt.Sprintf("extra_hosts: %q of %s is no address in a build: it is left out", ip, host))
			}
		}
	}
	return slices.Compact(out)
}

// options are the parts of a build that are not the Dockerfile frontend's.
func (r *recipe) options(o *buildkit.SolveOpt) {
	o.CacheImports = r.caches(r.config.CacheFrom, "src")
	o.CacheExports = r.caches(r.config.CacheTo, "dest")
	o.AllowedEntitlements = slices.Clone(r.config.Entitlements)
	if r.config.Network == "host" {
		o.AllowedEntitlements = append(o.AllowedEntitlements, networkHost)
	}
	if r.config.Privileged {
		o.AllowedEntitlements = append(o.AllowedEntitlements, securityInsecure)
	}
}

// caches are those that the builder can use. A relative folder, under the key dir, is one of the project's.
func (r *recipe) caches(list []string, dir string) []buildkit.CacheOptionsEntry {
	var out []buildkit.CacheOptionsEntry
	for _, text := range list {
		e, err := parseCache(text)
		if err != nil || !supported(e) {
			continue
		}
		if path := e.Attrs[dir]; path != "" && !filepath.IsAbs(path) {
			e.Attrs[dir] = filepath.Join(r.project, path)
		}
		out = append(out, e)
	}
	return out
}

func supported(e buildkit.CacheOptionsEntry) bool {
	return e.Type == cacheRegistry || e.Type == cacheLocal || e.Type == cacheInline
}

// parseCache reads one entry of cache_from or cache_to as docker buildx does: a name, or fields as type=local,src=DIR.
func parseCache(text string) (buildkit.CacheOptionsEntry, error) {
	e := buildkit.CacheOptionsEntry{Attrs: map[string]string{}}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return e, err
	}
	if len(fields) == 1 && !strings.Contains(fields[0], "=") {
		e.Type, e.Attrs["ref"] = cacheRegistry, fields[0]
		_, err := normalize(fields[0])
		return e, err
	}
	for _, field := range fields {
		key, value, found := strings.Cut(field, "=")
		switch key = strings.ToLower(strings.TrimSpace(key)); {
		case !found:
			return e, fmt.Errorf("%q is not KEY=VALUE", field)
		case key == "type":
			e.Type = value
		default:
			e.Attrs[key] = value
		}
	}
	if e.Type == "" {
		return e, errors.New("it has no type")
	}
	return e, nil
}

// attest asks for an attestation: "true", or options; "" and "false" do not.
func attest(a map[string]string, kind, value string) {
	on, err := strconv.ParseBool(value)
	switch {
	case err != nil && value != "":
		a["attest:"+kind] = value
	case on:
		a["attest:"+kind] = ""
	}
}

// isOff is true for a setting that is as if it were not there.
func isOff(value string) bool {
	on, err := strconv.ParseBool(value)
	return value == "" || err == nil && !on
}

// fetched is true for a build context that the builder fetches by itself.
func fetched(address string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"} {
		if strings.HasPrefix(address, prefix) {
			return true
		}
	}
	return false
}

// address is nil for what is none, as host-gateway.
func address(ip string) net.IP {
	return net.ParseIP(strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]"))
}
