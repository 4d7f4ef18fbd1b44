package chart

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Project is an application on its way to files that a person owns: one chart, or one kustomization, for all of it.
type Project struct {
	Name      string // of the chart: a DNS label
	Version   string // what the application calls its version; "": none
	Namespace string // that the objects have, which is their instance too
	Volumes   []runtime.Object
	Units     []Part
	Digests   map[string]string // of images that a registry has, by what objects call them
	Secrets   bool              // write the values of Secrets too
}

// Part is one service of a Project.
type Part struct {
	Service    string
	DependsOn  []string         // services that have to be there before
	Config     []runtime.Object // named by their content
	Migrations []runtime.Object // Jobs, in order
	Objects    []runtime.Object
	Shell      bool // its image is known to have a shell
}

// Export lays out a Helm chart for a person: with values, and templates that read them. Config has stable names in it,
// and a checksum in the pods that read it; migrations are hooks; what only Perch reads is left out.
func Export(p Project) ([]File, error) {
	x := &exporter{project: p, name: chartName(p.Name), values: &entry{}, taken: map[string]bool{}}
	x.values.set("imagePullSecrets", []any{}, "Secrets with the passwords of registries, as [{name: regcred}].")
	if err := x.read(); err != nil {
		return nil, fmt.Errorf("chart %s: %w", x.name, err)
	}
	steps := []func() error{x.head, x.services, x.volumes, x.configFiles, x.migrations, x.tests, x.texts, x.valueFiles}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("chart %s: %w", x.name, err)
		}
	}
	sortFiles(x.files)
	return x.files, nil
}

// exporter is a chart in the making.
type exporter struct {
	project Project
	name    string
	values  *entry
	units   []*unit
	claims  []tree
	configs []*config
	taken   map[string]bool // names of files
	files   []File
	ports   []address // that can be connected to
	urls    []url     // for NOTES.txt
	shell   string    // id of a service whose image has a shell; "": none is known to
	hosts   []string  // ids of services with an Ingress
}

// unit is a Part as trees.
type unit struct {
	Part
	id         string // in values.yaml
	migrations []tree
	objects    []tree
	images     map[string]string // path in values by what the objects call it
}

// address is a port of a Service.
type address struct {
	Service string
	Port    int64
}

// url is a Service that browsers may open.
type url struct {
	Service, ID string // of the Service, in values.yaml
	Port        int64
}

// chartName is a name that Helm takes.
func chartName(name string) string {
	return strings.Trim(strings.Join(wordPattern.FindAllString(strings.ToLower(name), -1), "-"), "-")
}

// read makes trees of all objects, and gives config its names.
func (x *exporter) read() error {
	names := map[string]map[string]string{}
	for _, p := range x.project.Units {
		u := &unit{Part: p, id: serviceID(p.Service), images: map[string]string{}}
		var err error
		if u.migrations, err = trees(p.Migrations); err != nil {
			return err
		}
		if u.objects, err = trees(p.Objects); err != nil {
			return err
		}
		for _, t := range slices.Concat(u.migrations, u.objects) {
			fileNames(t, names)
		}
		x.units = append(x.units, u)
		if p.Shell && x.shell == "" {
			x.shell = u.id
		}
	}
	var err error
	if x.claims, err = trees(x.project.Volumes); err != nil {
		return err
	}
	return x.readConfig(names)
}

func trees(objects []runtime.Object) ([]tree, error) {
	var all []tree
	for _, o := range objects {
		t, err := treeOf(o)
		if err != nil {
			return nil, err
		}
		if kindOf(t) == "" || nameOf(t) == "" {
			return nil, fmt.Errorf("an object of type %T has no kind or no name", o)
		}
		all = append(all, t)
	}
	return all, nil
}

// add puts a file into the chart, under a name that is free.
func (x *exporter) add(name, text string) {
	for n := 2; x.taken[name]; n++ {
		name = fmt.Sprintf("%s-%d.yaml", strings.TrimSuffix(name, ".yaml"), n)
	}
	x.taken[name] = true
	x.files = append(x.files, File{Name: name, Data: []byte(text)})
}

// path is where an object of a service lies: without the name of the service, which the folder has.
func path(service string, t tree) string {
	kind, name := strings.ToLower(kindOf(t)), unhashed(nameOf(t))
	folder := strings.Join(wordPattern.FindAllString(strings.ToLower(service), -1), "-")
	rest, ok := strings.CutPrefix(name, folder+"-")
	switch {
	case name == folder:
		return folder + "/" + kind + ".yaml"
	case ok && strings.HasPrefix(rest, kind+"-"):
		return folder + "/" + rest + ".yaml"
	case ok:
		return folder + "/" + kind + "-" + rest + ".yaml"
	}
	return folder + "/" + kind + "-" + name + ".yaml"
}

// head is what is said of the chart.
func (x *exporter) head() error {
	meta := tree{
		"apiVersion": "v2", "name": x.name, "type": "application", "version": "0.1.0",
		"appVersion":  cmp.Or(x.project.Version, "0.1.0"),
		"description": x.project.Name + ", as its Compose file has it.",
	}
	text, err := plain(meta)
	if err != nil {
		return err
	}
	x.add("Chart.yaml", text)
	return nil
}

// services makes templates of what services run with.
func (x *exporter) services() error {
	for _, u := range x.units {
		for _, t := range u.objects {
			text, err := x.object(u, t)
			if err != nil {
				return fmt.Errorf("%s %s: %w", kindOf(t), nameOf(t), err)
			}
			x.add("templates/"+path(u.Service, t), text)
		}
	}
	return nil
}

// object is the template of one object.
func (x *exporter) object(u *unit, t tree) (string, error) {
	tidy(t)
	x.labels(t)
	switch kindOf(t) {
	case "Deployment", "StatefulSet", "DaemonSet", "CronJob":
		x.workload(u, t)
	case "Job":
		return x.once(u, t)
	case "Service":
		x.service(u, t)
	case "Ingress":
		return x.ingress(u, t)
	case "HTTPRoute", "GRPCRoute":
		x.route(u, t)
	case "HorizontalPodAutoscaler":
		x.autoscaler(u, t)
	case "PodDisruptionBudget":
		return x.budget(u, t)
	}
	x.instances(t)
	return text(t)
}

// labels puts the labels of charts in the place of ours. Others, which the Compose file has, stay.
func (x *exporter) labels(t tree) {
	m := mapping(t, "metadata", "labels")
	name, ok := m[labelName].(string)
	if !ok || m[labelInstance] != x.project.Namespace {
		m = put(t, "metadata", "labels")
		name = nameOf(t)
	}
	for _, key := range []string{labelName, labelInstance, labelPartOf, labelManagedBy} {
		delete(m, key)
	}
	m[merged] = added(fmt.Sprintf(`include "%s.labels" (list . %q)`, x.name, name))
}

// instances has the name of the release wherever the objects name their instance, and its namespace where they name theirs.
func (x *exporter) instances(t tree) {
	each(t, "", func(_ string, m tree) {
		if m[labelInstance] == x.project.Namespace {
			m[labelInstance] = raw("{{ .Release.Name | quote }}")
		}
		if m["namespace"] == x.project.Namespace {
			m["namespace"] = raw("{{ .Release.Namespace | quote }}")
		}
	})
}

// valueFiles are values.yaml and its schema.
func (x *exporter) valueFiles() error {
	x.values.sort()
	head := "# Values of the chart " + x.name + ". What is empty is left out, or is what the comment says."
	data, err := x.values.file(head)
	if err != nil {
		return err
	}
	x.add("values.yaml", string(data))
	if data, err = x.values.schemaFile(); err != nil {
		return err
	}
	x.add("values.schema.json", string(data))
	return nil
}
