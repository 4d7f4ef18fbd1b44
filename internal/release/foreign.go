package release

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	helmrelease "helm.sh/helm/v4/pkg/release/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/chart"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// foreignAnnotation of Chart.yaml says that the release is somebody else's chart, whose hooks run.
const foreignAnnotation = "perch.dev/chart"

// clusterDomain is what the names of Services end in.
const clusterDomain = "svc.cluster.local"

// Foreign is somebody else's Helm chart that is to be the release of a service. Helm does with it what it does for anybody:
// hooks run, CRDs are installed at the first install and never after, objects outside of the namespace are made too.
type Foreign struct {
	Service   string // Compose's name
	Release   string
	Namespace string
	Chart     chart.Chart // as Fetch returns it
	Values    map[string]any
	Names     []string // Kubernetes names under which others know the service
	Answers   string   // the chart's Service that is meant by them; "": the only one
}

// ValuesError is values that the schema of a chart does not take.
type ValuesError struct {
	Chart  string
	Faults []ValueFault // in the order in which Helm tells them
}

// ValueFault is one of them.
type ValueFault struct {
	Path []string // of keys, from the top of the values
	Text string
}

func (e *ValuesError) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = strings.TrimPrefix(strings.Join(f.Path, ".")+": "+f.Text, ": ")
	}
	return fmt.Sprintf("chart %s does not take the values: %s", e.Chart, strings.Join(texts, "; "))
}

// Unit is the service as the chart makes it. The second result are the pods that its hooks make, which the namespace must let
// in too. With a client, the chart is told the cluster's version and APIs; without one, those of Helm's own. Values that the
// chart's schema does not take are a *ValuesError.
func (f Foreign) Unit(c *kube.Client) (Unit, []runtime.Object, error) {
	rel, err := f.render(c)
	if err != nil {
		return Unit{}, nil, err
	}
	objects, err := objectsIn(rel.Manifest)
	if err != nil {
		return Unit{}, nil, fmt.Errorf("chart %s: %w", f.Chart.Name, err)
	}
	var hooks []runtime.Object
	for _, h := range rel.Hooks {
		if !slices.ContainsFunc(h.Events, func(e helmrelease.HookEvent) bool { return e != helmrelease.HookTest }) {
			continue // nobody runs its tests here
		}
		made, err := objectsIn(h.Manifest)
		if err != nil {
			return Unit{}, nil, fmt.Errorf("chart %s: hook %s: %w", f.Chart.Name, h.Name, err)
		}
		hooks = append(hooks, made...)
	}
	u := Unit{
		Service: f.Service, Release: f.Release, Chart: f.Chart, Values: f.Values, Foreign: f.Chart.Name + " " + f.Chart.Version,
		Objects: ownObjects(f.Namespace, objects),
	}
	aliases, err := f.aliases(u.Objects)
	if err != nil {
		return Unit{}, nil, err
	}
	u.Chart.Files = slices.Clone(u.Chart.Files)
	for _, o := range aliases {
		file, err := chart.Template(o)
		if err != nil {
			return Unit{}, nil, err
		}
		file.Name = strings.Replace(file.Name, "templates/", "templates/perch-", 1)
		u.Chart.Files = append(u.Chart.Files, file)
		u.Objects = append(u.Objects, o)
	}
	values, err := json.Marshal(f.Values)
	if err != nil {
		return Unit{}, nil, fmt.Errorf("chart %s: values: %w", f.Chart.Name, err)
	}
	slices.SortFunc(u.Chart.Files, func(a, b chart.File) int { return cmp.Compare(a.Name, b.Name) })
	u.Chart.Digest = chart.DigestOf(append(slices.Clone(u.Chart.Files), chart.File{Name: "perch: values", Data: values}))
	return u, hooks, nil
}

// ownObjects are those in the namespace: what a plan can look for, and what can be waited for.
func ownObjects(namespace string, all []runtime.Object) []runtime.Object {
	return slices.DeleteFunc(all, func(o runtime.Object) bool {
		meta, ok := o.(metav1.Object)
		return !ok || meta.GetNamespace() != "" && meta.GetNamespace() != namespace
	})
}

// render lets Helm fill in the templates.
func (f Foreign) render(c *kube.Client) (*helmrelease.Release, error) {
	ch, err := load(&Unit{Service: f.Service, Chart: f.Chart}, "")
	if err != nil {
		return nil, err
	}
	a := dryRun(f)
	if c != nil {
		v, err := c.Discovery.ServerVersion()
		if err != nil {
			return nil, c.Explain(err)
		}
		a.KubeVersion = &common.KubeVersion{Version: v.GitVersion, Major: v.Major, Minor: v.Minor}
		if a.APIVersions, err = action.GetVersionSet(c.Discovery); err != nil {
			return nil, c.Explain(err)
		}
	}
	values, err := copied(f.Values)
	if err != nil {
		return nil, err
	}
	r, err := a.Run(ch, values)
	if err != nil {
		if e := valuesError(f.Chart.Name, err); e != nil {
			return nil, e
		}
		return nil, fault.New(fault.Usage, "see what it takes: perch helm show values", "chart %s %s: %w", f.Chart.Name, f.Chart.Version, err)
	}
	rel, ok := r.(*helmrelease.Release)
	if !ok {
		return nil, fmt.Errorf("chart %s: Helm gave a release of type %T", f.Chart.Name, r)
	}
	return rel, nil
}

// dryRun is Helm's install of a foreign chart without a cluster.
func dryRun(f Foreign) *action.Install {
	a := action.NewInstall(action.NewConfiguration())
	a.DryRunStrategy, a.ReleaseName, a.Namespace = action.DryRunClient, f.Release, f.Namespace
	a.Replace, a.DisableOpenAPIValidation = true, true
	a.PostRenderer = marked{f.Service, f.Release, f.Namespace}
	return a
}

// copied are values that Helm may write to.
func copied(values map[string]any) (map[string]any, error) {
	data, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	all := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // 1000000 stays what it is in a template
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	if all == nil {
		all = map[string]any{}
	}
	return all, nil
}

// schemaFault is a line of Helm's about one value: - at '/image/tag': got number, want string
var schemaFault = regexp.MustCompile(`^\s*- at '([^']*)': (.*)$`)

// valuesError takes apart what Helm says of values that a schema does not take, nil when it says something else. Values
// themselves are not in it, but for those of an enumeration.
func valuesError(name string, err error) *ValuesError {
	_, text, ok := strings.Cut(err.Error(), "values don't meet the specifications of the schema(s)")
	if !ok {
		return nil
	}
	e := &ValuesError{Chart: name}
	var below []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := schemaFault.FindStringSubmatch(line); m != nil {
			path := slices.Clone(below)
			for _, key := range strings.Split(m[1], "/") {
				if key != "" {
					path = append(path, strings.NewReplacer("~1", "/", "~0", "~").Replace(key))
				}
			}
			e.Faults = append(e.Faults, ValueFault{path, m[2]})
			continue
		}
		if sub, isName := strings.CutSuffix(line, ":"); isName && !strings.ContainsAny(sub, " '") {
			below = nil
			if sub != name {
				below = []string{sub} // a chart that it depends on
			}
		}
	}
	if len(e.Faults) == 0 {
		e.Faults = []ValueFault{{nil, strings.Join(strings.Fields(text), " ")}}
	}
	return e
}

// aliases are Services that lead from the names of the service to the chart's own one.
func (f Foreign) aliases(objects []runtime.Object) ([]runtime.Object, error) {
	services := map[string]*corev1.Service{}
	var all, addressed []string
	for _, o := range objects {
		if s, ok := o.(*corev1.Service); ok {
			services[s.Name] = s
			all = append(all, s.Name)
			if s.Spec.ClusterIP != corev1.ClusterIPNone {
				addressed = append(addressed, s.Name)
			}
		}
	}
	slices.Sort(all)
	answers := f.Answers
	switch {
	case answers != "" && services[answers] == nil:
		return nil, fault.New(fault.Usage, "those it has: "+few(all), "chart %s has no Service %q, which x-perch.chart.service names", f.Chart.Name, answers)
	case answers != "" || len(all) == 0:
	case services[f.Names[0]] != nil && len(f.Names) == 1:
		answers = f.Names[0]
	case len(addressed) == 1:
		answers = addressed[0]
	case len(all) == 1:
		answers = all[0]
	default:
		return nil, fault.New(fault.Usage, "say which one: x-perch.chart.service: "+all[0], "chart %s has several Services, and which of them answers as %q is not known: %s",
			f.Chart.Name, f.Service, few(all))
	}
	var made []runtime.Object
	for _, name := range f.Names {
		if answers == "" || services[name] != nil {
			continue
		}
		made = append(made, &corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Annotations: map[string]string{kube.ServiceAnnotation: f.Service},
				Labels: map[string]string{kube.InstanceLabel: f.Release},
			},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: answers + "." + f.Namespace + "." + clusterDomain},
		})
	}
	return made, nil
}
