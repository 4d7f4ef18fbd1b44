package compose

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/util/validation"
)

const targetsKey = "targets"

// Target is one environment that the project can be deployed to, as x-perch.targets of the top level has it:
//
//	x-perch:
//	  targets:
//	    prod:
//	      context: prod-eu
//	      namespace: shop
//	      registry: registry.example.com/acme
//	      overrides: [compose.prod.yaml]
//	      replicas: {web: 3}
//	      production: true
//
// The zero value is none.
type Target struct {
	Name         string         `yaml:"-"`
	Context      string         `yaml:"context"`       // of the kubeconfig; needed
	Cluster      string         `yaml:"cluster"`       // UID of the cluster's namespace kube-system; "": pinned at first use
	Namespace    string         `yaml:"namespace"`     // "": the project's
	Registry     string         `yaml:"registry"`      // HOST[:PORT]/PATH under which built images get their names
	Domain       string         `yaml:"domain"`        // under which hosts without a dot get their names
	StorageClass string         `yaml:"storage_class"` // "": the cluster's default
	IngressClass string         `yaml:"ingress_class"` // "": the cluster's default
	Issuer       string         `yaml:"issuer"`        // cert-manager's issuer: NAME is a ClusterIssuer, NAMESPACE/NAME an Issuer
	Gateway      string         `yaml:"gateway"`       // NAMESPACE/NAME of a Gateway, instead of an Ingress
	Platforms    []string       `yaml:"platforms"`     // as linux/arm64; none: those of the cluster's nodes
	PullSecret   string         `yaml:"pull_secret"`   // name of the Secret that pods pull with; made from Docker's config when it is not there
	Production   bool           `yaml:"production"`    // what changes it asks for its name typed
	Overrides    []string       `yaml:"overrides"`     // Compose files that lie over the others, from the project's folder
	Replicas     map[string]int `yaml:"replicas"`      // by service, instead of the file's

	Provided map[string]Provided `yaml:"provided"` // services that run elsewhere there, by name
}

// FindTarget reads as much of the Compose files as tells where the target of that name is, and what the project is called,
// without checking the rest. A target that the files do not have, or one that is wrong, is an error.
func FindTarget(o Options, name string) (t Target, project string, err error) {
	o.Target, o.NamesOnly = "", true
	r := &reading{options: o}
	if err := r.read(context.Background()); err != nil {
		return Target{}, "", err
	}
	if len(r.problems) > 0 {
		return Target{}, "", r.problems.sorted()
	}
	t, ok := r.targets[name]
	if !ok {
		return Target{}, "", Unknown("target", name, sortedNames(r.targets))
	}
	return t, r.name, nil
}

// Targets are the names of the project's targets, sorted; none when the files cannot be read.
func Targets(o Options) []string {
	o.Target, o.NamesOnly = "", true
	r := &reading{options: o}
	if r.read(context.Background()) != nil {
		return nil
	}
	return sortedNames(r.targets)
}

// findTargets decodes and checks x-perch.targets of the main files, which lie over each other as the files do.
func (r *reading) findTargets() map[string]Target {
	merged := map[string]any{}
	for _, s := range r.files {
		if !s.main {
			continue
		}
		for _, doc := range s.docs {
			if _, x := child(doc, extensionKey); x != nil {
				if _, list := child(x, targetsKey); list != nil {
					overlay(merged, mapOf(plain(s, list)))
				}
			}
		}
	}
	all := make(map[string]Target, len(merged))
	for _, name := range sortedNames(merged) {
		var t Target
		path := []string{extensionKey, targetsKey, name}
		before := len(r.problems)
		r.strict(merged[name], path, reflect.TypeFor[Target]())
		data, err := yaml.Marshal(merged[name])
		if err == nil {
			err = yaml.Unmarshal(data, &t)
		}
		if err != nil && len(r.problems) == before {
			r.problem(r.files.find(path...), subject(path)+"not understood: "+yamlReason(err), "")
		}
		if t.Name = name; err == nil {
			r.checkTarget(t, path)
		}
		all[name] = t
	}
	return all
}

// plain is a YAML value as Go has it, with its variables filled in.
func plain(s *source, n *yaml.Node) any {
	switch n = resolve(n); n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for k, v := range pairs(n) {
			m[k.Value] = plain(s, v)
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, one := range n.Content {
			list[i] = plain(s, one)
		}
		return list
	}
	filled := *n
	filled.Value = s.vars.text(n)
	var v any
	if filled.Decode(&v) != nil {
		return filled.Value
	}
	return v
}

// overlay puts over into under, mappings key by key.
func overlay(under, over map[string]any) {
	for key, value := range over {
		if below, above := mapOf(under[key]), mapOf(value); below != nil && above != nil {
			overlay(below, above)
			continue
		}
		under[key] = value
	}
}

var (
	platformName = regexp.MustCompile(`^linux/[a-z0-9]+(/v[0-9]+)?$`)
	registryName = regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9][a-zA-Z0-9.-]*)(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
)

func (r *reading) checkTarget(t Target, path []string) {
	problem := func(key, message, hint string) {
		at := append(slices.Clone(path), key)
		r.problem(r.files.find(at...), subject(path)+message, hint)
	}
	if t.Context == "" {
		problem("context", "context is needed: the name of a kubeconfig context", "see those there are: perch kubectl config get-contexts")
	}
	for key, name := range map[string]string{
		"namespace": t.Namespace, "storage_class": t.StorageClass, "ingress_class": t.IngressClass, "pull_secret": t.PullSecret, "domain": t.Domain,
	} {
		if name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
			problem(key, fmt.Sprintf("%s: %q is not a name that Kubernetes takes", key, name), "use lower-case letters, digits, hyphens and dots")
		}
	}
	if t.Registry != "" && !registryName.MatchString(t.Registry) {
		problem("registry", fmt.Sprintf("registry: %q is not a registry and a path", t.Registry), "as in registry.example.com/acme")
	}
	if namespace, name, ok := strings.Cut(t.Gateway, "/"); t.Gateway != "" && (!ok || namespace == "" || name == "") {
		problem("gateway", fmt.Sprintf("gateway: %q is not NAMESPACE/NAME", t.Gateway), "")
	}
	for _, one := range t.Platforms {
		if !platformName.MatchString(one) {
			problem("platforms", fmt.Sprintf("platforms: %q is not a platform that pods run on", one), "as in linux/amd64 or linux/arm64")
		}
	}
	for _, name := range sortedNames(t.Replicas) {
		if t.Replicas[name] < 0 {
			problem("replicas", fmt.Sprintf("replicas: %s: must not be negative", name), "")
		}
	}
}

// overrides reads the files that the chosen target lays over the others.
func (r *reading) overrides() error {
	if r.options.Target == "" {
		return nil
	}
	target, ok := r.targets[r.options.Target]
	if !ok && len(r.problems) == 0 {
		return Unknown("target", r.options.Target, sortedNames(r.targets))
	}
	for _, file := range target.Overrides {
		one := r.options
		one.WorkingDir = r.dir
		more, err := readMain(one, []string{file}, &r.findings)
		if err != nil {
			return err
		}
		for _, s := range more {
			s.order, s.override, s.dir, s.vars = len(r.files), true, r.dir, r.interpolate
			s.shown = shown(r.options.WorkingDir, s.path, "")
			s.parse(&r.findings)
			if s.broken || len(s.docs) == 0 {
				continue
			}
			r.files = append(r.files, s)
		}
	}
	return nil
}

// chooseTarget gives the project its target, with the replicas that it asks for.
func (r *reading) chooseTarget() {
	p := r.project
	p.Targets, p.Target = r.targets, r.targets[r.options.Target]
	for _, name := range sortedNames(r.targets) {
		for _, service := range sortedNames(r.targets[name].Replicas) {
			if _, known := p.AllServices()[service]; !known {
				at := []string{extensionKey, targetsKey, name, "replicas", service}
				r.problem(r.files.find(at...), fmt.Sprintf("%sthere is no service %q", subject(at[:3]), service),
					didYouMean(service, slices.Sorted(maps.Keys(p.AllServices()))))
			}
		}
	}
	for service, n := range p.Target.Replicas {
		if s, ok := p.Project.Services[service]; ok {
			s.SetScale(n)
			p.Project.Services[service] = s
		}
	}
}
