package chart

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

//go:embed text
var textFiles embed.FS

// facts are what the texts of a chart name.
type facts struct {
	Name       string // of the chart, in templates
	PartOf     string
	Release    string // what the release is called in examples
	Hosts      []string
	URLs       []url
	Ports      []address
	Networks   []string // labels that let a pod connect to every service
	Shell      string   // id of a service whose image has a shell
	Secrets    []string // values that must be given
	Migrations bool
	After      bool // migrations run after the objects are there
	Claims     bool
}

// facts are those of the chart when all its templates are made.
func (x *exporter) facts() facts {
	f := facts{
		Name: x.name, PartOf: x.project.Name, Release: chartName(x.project.Namespace), Hosts: x.hosts, URLs: x.urls, Ports: x.ports, Shell: x.shell,
		Claims: len(x.claims) > 0, Migrations: x.values.has("migrations"),
	}
	if f.Migrations {
		f.After = strings.HasPrefix(fmt.Sprint(x.values.at("migrations.hook").value), "post-install")
	}
	if x.project.Secrets {
		return f
	}
	for _, c := range x.configs {
		if kindOf(c.tree) != "Secret" {
			continue
		}
		for _, key := range sortedKeys(c.data) {
			if len(c.data[key]) > 0 {
				f.Secrets = append(f.Secrets, strings.TrimPrefix(c.values, ".Values.")+"."+key)
			}
		}
	}
	return f
}

// tests is a pod that connects to every port: it has the image of a service, so that none from elsewhere is needed.
func (x *exporter) tests() error {
	if len(x.ports) == 0 {
		return nil
	}
	f := x.facts()
	labels := map[string]bool{}
	for _, u := range x.units {
		for _, t := range u.objects {
			for key := range mapping(podTemplate(t), "metadata", "labels") {
				labels[key] = strings.HasPrefix(key, networkMark)
			}
		}
	}
	f.Networks = slices.DeleteFunc(sortedKeys(labels), func(key string) bool { return !labels[key] })
	comment := "Image of the pod that helm test starts; it needs a shell. Empty: that of " + x.shell + "."
	if x.shell == "" {
		comment = "Image of the pod that helm test starts; it needs a shell. Empty: no test, since no service is known to have one."
	}
	x.values.set("tests", nil, "").set("image", "", comment)
	return x.fromText("connection.yaml", "templates/tests/connection.yaml", f)
}

// texts are the files of the chart that are not made of objects.
func (x *exporter) texts() error {
	f := x.facts()
	for name, file := range map[string]string{
		"helpers.tpl": "templates/_helpers.tpl", "NOTES.txt": "templates/NOTES.txt", "README.md": "README.md",
	} {
		if err := x.fromText(name, file, f); err != nil {
			return err
		}
	}
	x.add(".helmignore", "# What helm package leaves out.\n/.git/\n/.gitignore\n/secrets.yaml\n")
	return nil
}

func (x *exporter) fromText(name, file string, f facts) error {
	t, err := template.New(name).Delims("[[", "]]").ParseFS(textFiles, "text/"+name)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, f); err != nil {
		return err
	}
	x.add(file, out.String())
	return nil
}
