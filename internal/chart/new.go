package chart

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// New lays out a chart called release: templates/KIND-NAME.yaml for each object, and Chart.yaml. appVersion is what the
// application calls its version, "" for none; it is not in Digest, so that a version alone is no change.
func New(release, appVersion string, objects []runtime.Object) (Chart, error) {
	c := Chart{Name: release}
	seen := map[string]bool{}
	for _, o := range objects {
		name, err := fileName(o)
		if err != nil {
			return Chart{}, fmt.Errorf("chart %s: %w", release, err)
		}
		if seen[name] {
			return Chart{}, fmt.Errorf("chart %s: two objects are called %s", release, strings.TrimSuffix(name, ".yaml"))
		}
		seen[name] = true
		data, err := manifest(o)
		if err != nil {
			return Chart{}, fmt.Errorf("chart %s: %s: %w", release, name, err)
		}
		c.Files = append(c.Files, File{Name: "templates/" + name, Data: escape(data)})
	}
	sortFiles(c.Files)
	c.Digest = digest(c.Files)
	c.Version = "0.1.0+" + c.Digest[:12]
	meta, err := yaml.Marshal(map[string]any{
		"apiVersion":  "v2",
		"name":        release,
		"version":     c.Version,
		"appVersion":  cmp.Or(appVersion, c.Digest[:12]),
		"type":        "application",
		"description": "Made by perch from a Compose file.",
	})
	if err != nil {
		return Chart{}, fmt.Errorf("chart %s: %w", release, err)
	}
	c.Files = append(c.Files, File{Name: "Chart.yaml", Data: meta})
	sortFiles(c.Files)
	return c, nil
}

// Write puts the files of the chart into dir, which it makes when it is not there. Files of an earlier chart are not
// removed: the caller gives an empty folder.
func (c Chart) Write(dir string) error {
	if err := Write(dir, c.Files); err != nil {
		return fmt.Errorf("chart %s: %w", c.Name, err)
	}
	return nil
}

// Write puts files into dir, which it makes when it is not there. Others that are there stay.
func Write(dir string, files []File) error {
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil { // a Secret may be among them
			return err
		}
	}
	return nil
}

// DigestOf is over names and contents of files, which are sorted.
func DigestOf(files []File) string { return digest(files) }

// Template is the file that makes an object, as New lays it out.
func Template(o runtime.Object) (File, error) {
	name, err := fileName(o)
	if err != nil {
		return File{}, err
	}
	data, err := manifest(o)
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return File{Name: "templates/" + name, Data: escape(data)}, nil
}

func sortFiles(files []File) {
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
}

// fileName is kind-name.yaml, so that files of one kind stand together.
func fileName(o runtime.Object) (string, error) {
	named, ok := o.(metav1.Object)
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if !ok || kind == "" || named.GetName() == "" {
		return "", fmt.Errorf("an object of type %T has no kind or no name", o)
	}
	return strings.ToLower(kind) + "-" + named.GetName() + ".yaml", nil
}

// manifest is the YAML of an object without status and without its namespace, which the release decides.
func manifest(o runtime.Object) ([]byte, error) {
	t, err := treeOf(o)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(data)
}

// prune removes the null times that Go's types write.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["creationTimestamp"] == nil {
			delete(v, "creationTimestamp")
		}
		for _, one := range v {
			prune(one)
		}
	case []any:
		for _, one := range v {
			prune(one)
		}
	}
}

// escape keeps Helm from taking braces in a value for a template.
func escape(data []byte) []byte {
	if !bytes.Contains(data, []byte("{{")) && !bytes.Contains(data, []byte("}}")) {
		return data
	}
	text := strings.NewReplacer("{{", "{{`{{`}}", "}}", "{{`}}`}}").Replace(string(data))
	return []byte(text)
}

// digest is over names and content of files in order.
func digest(files []File) string {
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%d:%s%d:", len(f.Name), f.Name, len(f.Data))
		sum.Write(f.Data)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
