package chart

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime"
)

// config is a ConfigMap or Secret. With us its name has a hash of its content; in a chart, whose values change, the name
// stays, and pods have a checksum of it.
type config struct {
	tree
	id       string            // kind and name with us
	name     string            // in the chart
	path     string            // of its template, below templates/
	env      bool              // a container has all of it as variables
	running  bool              // more than migrations read it
	values   string            // path of its values; "": it has none, its content is in files
	existing string            // path of the value that names a Secret to use instead
	data     map[string][]byte // content
	files    map[string]string // path of a key's file in the chart
}

const byteOrderMark = "\ufeff" // which Helm takes off the files of a chart

// readConfig gives each ConfigMap and Secret its name and the place of its values. names are the paths that pods give to
// keys, by kind and name.
func (x *exporter) readConfig(names map[string]map[string]string) error {
	all, err := configTrees(x.project)
	if err != nil {
		return err
	}
	variables, running := map[string]bool{}, map[string]bool{}
	for _, u := range x.units {
		for _, t := range slices.Concat(u.migrations, u.objects) {
			references(t, func(kind, at string, m tree, key string) {
				id := kind + "/" + word(m, key)
				variables[id] = variables[id] || strings.HasSuffix(at, "Ref")
			})
		}
		for _, t := range u.objects {
			references(t, func(kind, _ string, m tree, key string) { running[kind+"/"+word(m, key)] = true })
		}
	}
	// What services run with is named first: a migration with settings of its own gets the longer name.
	slices.SortStableFunc(all, func(a, b tree) int { return order(running[idOf(b)]) - order(running[idOf(a)]) })
	taken := map[string]bool{}
	for _, t := range all {
		id := idOf(t)
		c := &config{tree: t, id: id, name: free(taken, unhashed(nameOf(t))), env: variables[id], running: running[id], data: content(t)}
		of := word(t, "metadata", "annotations", markOf)
		c.path = path(of, tree{"kind": kindOf(t), "metadata": tree{"name": c.name}})
		x.place(c, of, running[id], names[id])
		x.configs = append(x.configs, c)
	}
	slices.SortFunc(x.configs, func(a, b *config) int { return strings.Compare(a.id, b.id) })
	return nil
}

func idOf(t tree) string { return kindOf(t) + "/" + nameOf(t) }

func order(first bool) int {
	if first {
		return 1
	}
	return 0
}

// configTrees are the ConfigMaps and Secrets of all units, each once.
func configTrees(p Project) ([]tree, error) {
	var objects []runtime.Object
	for _, u := range p.Units {
		objects = append(objects, u.Config...)
	}
	all, err := trees(objects)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(t tree) bool {
		was := seen[idOf(t)]
		seen[idOf(t)] = true
		return was
	}), nil
}

// content is what a ConfigMap or Secret holds.
func content(t tree) map[string][]byte {
	all := map[string][]byte{}
	for key, value := range mapping(t, "data") {
		text, _ := value.(string)
		all[key] = []byte(text)
		if kindOf(t) == "Secret" {
			all[key], _ = base64.StdEncoding.DecodeString(text)
		}
	}
	for key, value := range mapping(t, "binaryData") {
		text, _ := value.(string)
		all[key], _ = base64.StdEncoding.DecodeString(text)
	}
	for key, value := range mapping(t, "stringData") {
		text, _ := value.(string)
		all[key] = []byte(text)
	}
	return all
}

// place decides where the content of c is: variables and what is secret in values.yaml, files in files/.
func (x *exporter) place(c *config, of string, running bool, names map[string]string) {
	secret := kindOf(c.tree) == "Secret"
	switch {
	case c.env:
		group := serviceID(of)
		if !running {
			group += ".migration"
		}
		part, key, comment := x.values.at(group), "env", "Variables that are not sensitive. Values are strings."
		if secret {
			key, comment = "secretEnv", "Variables that are sensitive. Give them by a file that is in no repository: helm install -f secrets.yaml."
		}
		key = freeField(part, key)
		f := part.set(key, x.valuesOf(c), comment)
		f.open, f.value = true, x.valuesOf(c)
		c.values = ".Values." + group + "." + key
		if secret {
			name := freeField(part, "existingSecret")
			part.set(name, "", fmt.Sprintf("Name of a Secret that has the variables of %s, instead of them.", key))
			c.existing = ".Values." + group + "." + name
		}
	case secret:
		id := identifier(c.name)
		part := x.values.at("secrets." + id)
		part.comment = "Content of files. Give it as secrets.yaml: helm install --set-file " + "secrets." + id + ".data.KEY=FILE."
		part.set("existingSecret", "", "Name of a Secret that has these keys, instead of them.")
		data := part.set("data", x.valuesOf(c), "")
		data.open = true
		c.values, c.existing = ".Values.secrets."+id+".data", ".Values.secrets."+id+".existingSecret"
	default:
		c.files = chartFiles(c, names)
	}
}

// freeField is a field that a part of the values does not have yet.
func freeField(part *entry, key string) string {
	found := key
	for n := 2; part.has(found); n++ {
		found = fmt.Sprintf("%s%d", key, n)
	}
	return found
}

// valuesOf are the values that c begins with. Secret ones are empty unless they were asked for.
func (x *exporter) valuesOf(c *config) tree {
	values := tree{}
	for key, value := range c.data {
		values[key] = ""
		switch {
		case kindOf(c.tree) == "Secret" && !x.project.Secrets:
		case utf8.Valid(value):
			values[key] = string(value)
		default:
			values[key] = base64.StdEncoding.EncodeToString(value)
		}
	}
	return values
}

// chartFiles are the files of the chart that have c's content, by key.
func chartFiles(c *config, names map[string]string) map[string]string {
	files, taken := map[string]string{}, map[string]bool{}
	for _, key := range sortedKeys(c.data) {
		name := names[key]
		if !filepath.IsLocal(name) || strings.ContainsAny(name, "=\n") || taken[name] {
			name = key
		}
		taken[name] = true
		if len(c.data[key]) > 0 && !strings.HasPrefix(string(c.data[key]), byteOrderMark) {
			files[key] = "files/" + c.name + "/" + name
		}
	}
	return files
}

// configFiles are the templates of config, and the files that they read. What a ConfigMap or Secret holds is a template of
// its own: hooks have a copy, and pods a checksum of it.
func (x *exporter) configFiles() error {
	if len(x.configs) == 0 {
		return nil
	}
	all := "{{/* What ConfigMaps and Secrets hold. */}}\n"
	for _, c := range x.configs {
		data, err := x.dataText(c)
		if err != nil {
			return err
		}
		all += fmt.Sprintf("\n{{- define %q -}}\n%s{{- end }}\n", x.dataName(c), data)
		for _, key := range sortedKeys(c.files) {
			x.files = append(x.files, File{Name: c.files[key], Data: c.data[key]})
		}
		if !c.running {
			continue // hooks have it
		}
		text, err := x.configText(c, false)
		if err != nil {
			return err
		}
		x.add("templates/"+c.path, text)
	}
	x.add("templates/_config.tpl", all)
	return nil
}

// dataName is the template of what c holds.
func (x *exporter) dataName(c *config) string {
	return x.name + "." + strings.ToLower(kindOf(c.tree)) + "." + c.name
}

// configText is the template of a ConfigMap or Secret; for a hook, which runs before the chart's own objects change, it
// is a copy that comes and goes with it.
func (x *exporter) configText(c *config, hook bool) (string, error) {
	t := tree{"apiVersion": "v1", "kind": kindOf(c.tree), "metadata": tree{"name": c.name}}
	for _, field := range []string{"labels", "annotations"} {
		if m := mapping(c.tree, "metadata", field); m != nil {
			put(t, "metadata")[field] = maps.Clone(m)
		}
	}
	tidy(t)
	x.labels(t)
	if kind, ok := c.tree["type"]; ok {
		t["type"] = kind
	}
	if hook {
		put(t, "metadata")["name"] = hookName(c)
		asHook(t, configWeight)
	}
	t[merged] = block(func(string, int) (string, error) {
		return lines(0, fmt.Sprintf("{{ include %q . }}", x.dataName(c))), nil
	})
	out, err := text(t)
	if err != nil || c.existing == "" {
		return out, err
	}
	return "{{- if not " + c.existing + " }}\n" + out + "{{- end }}\n", nil
}

// dataText prints data:, and binaryData: for what is no text.
func (x *exporter) dataText(c *config) (string, error) {
	switch {
	case c.values != "" && kindOf(c.tree) == "Secret":
		return secretData(c), nil
	case c.values != "":
		return lines(0, "data:", "  {{- range $name, $value := "+c.values+" }}", "  {{ $name | quote }}: {{ $value | quote }}", "  {{- end }}"), nil
	}
	return fileData(c)
}

// secretData demands every value that is not empty by intent. One that is no text is in base64 in the values too.
func secretData(c *config) string {
	var empty, binary []string
	for _, key := range sortedKeys(c.data) {
		if len(c.data[key]) == 0 {
			empty = append(empty, fmt.Sprintf("%q", key))
		}
		if !utf8.Valid(c.data[key]) {
			binary = append(binary, fmt.Sprintf("%q", key))
		}
	}
	missing, encoded := "not $value", "$value | b64enc | quote"
	if len(empty) > 0 {
		missing = fmt.Sprintf("not (or $value (has $name (list %s)))", strings.Join(empty, " "))
	}
	if len(binary) > 0 {
		encoded = fmt.Sprintf("has $name (list %s) | ternary $value ($value | b64enc) | quote", strings.Join(binary, " "))
	}
	message := fmt.Sprintf("%s.%%s is empty: give it a value, or name a Secret that has it in %s",
		strings.TrimPrefix(c.values, ".Values."), strings.TrimPrefix(c.existing, ".Values."))
	// A Secret that is there may lack values here, and its name is what there is to know of it.
	return lines(0, "{{- if "+c.existing+" }}", "# {{ "+c.existing+" }}", "{{- else }}", "data:") + lines(2,
		"{{- range $name, $value := "+c.values+" }}",
		"{{- if "+missing+" }}", fmt.Sprintf("{{- fail (printf %q $name) }}", message), "{{- end }}",
		"{{ $name | quote }}: {{ "+encoded+" }}",
		"{{- end }}") + lines(0, "{{- end }}")
}

// fileData reads the files of the chart.
func fileData(c *config) (string, error) {
	var texts, binary strings.Builder
	for _, key := range sortedKeys(c.data) {
		name, err := scalar(key)
		if err != nil {
			return "", err
		}
		quoted, err := encode(name)
		if err != nil {
			return "", err
		}
		source := fmt.Sprintf("%q | b64dec", base64.StdEncoding.EncodeToString(c.data[key]))
		if file := c.files[key]; file != "" {
			source = fmt.Sprintf(".Files.Get %q", file)
		}
		entry := strings.TrimSpace(string(quoted))
		if utf8.Valid(c.data[key]) {
			texts.WriteString(lines(2, entry+": {{ "+source+" | quote }}"))
		} else {
			binary.WriteString(lines(2, entry+": {{ "+source+" | b64enc | quote }}"))
		}
	}
	out := ""
	if texts.Len() > 0 {
		out += "data:\n" + texts.String()
	}
	if binary.Len() > 0 {
		out += "binaryData:\n" + binary.String()
	}
	return out, nil
}
