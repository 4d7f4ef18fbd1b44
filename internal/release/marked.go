package release

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"helm.sh/helm/v4/pkg/postrenderer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/kube"
)

// marked tells by annotations and labels of which service a foreign chart's objects are, so that what runs is found under the
// service's name. No label that is there is changed, and no selector. Claims stay when the release goes, as the volumes of any
// other service do.
type marked struct{ service, release, namespace string }

var _ postrenderer.PostRenderer = marked{}

// Run is called by Helm with all documents that the chart's templates make.
func (m marked) Run(rendered *bytes.Buffer) (*bytes.Buffer, error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(rendered))
	out := &bytes.Buffer{}
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		object, err := exact(document)
		if err != nil {
			return nil, fmt.Errorf("it makes a document that is not an object of Kubernetes: %w", err)
		}
		if object == nil {
			continue
		}
		m.object(object)
		text, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		if text, err = yaml.JSONToYAML(text); err != nil {
			return nil, err
		}
		out.WriteString("---\n")
		out.Write(text)
	}
}

// exact reads YAML as the API server does, with numbers as they are written.
func exact(document []byte) (map[string]any, error) {
	data, err := yaml.YAMLToJSON(document)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return object, decoder.Decode(&object)
}

// object marks one object, or those of a list.
func (m marked) object(o map[string]any) {
	if items, ok := o["items"].([]any); ok {
		for _, one := range items {
			if item, ok := one.(map[string]any); ok {
				m.object(item)
			}
		}
		return
	}
	switch o["kind"] {
	case "Deployment", "DaemonSet", "Job":
		m.annotate(o)
		m.annotate(below(o, "spec", "template"))
	case "StatefulSet":
		m.annotate(o)
		m.annotate(below(o, "spec", "template"))
		claims, _ := below(o, "spec")["volumeClaimTemplates"].([]any)
		for _, one := range claims {
			if claim, ok := one.(map[string]any); ok {
				m.volume(claim)
			}
		}
	case "CronJob":
		m.annotate(o)
		m.annotate(below(o, "spec", "jobTemplate", "spec", "template"))
	case "PersistentVolumeClaim":
		m.annotate(o)
		unlessThere(below(o, "metadata", "annotations"), "helm.sh/resource-policy", "keep")
		m.volume(o)
	}
}

// annotate marks a workload, a claim or a pod.
func (m marked) annotate(o map[string]any) {
	unlessThere(below(o, "metadata", "annotations"), kube.ServiceAnnotation, m.service)
	unlessThere(below(o, "metadata", "labels"), kube.InstanceLabel, m.release)
}

// volume makes a claim one that perch down keeps, and down --volumes removes.
func (m marked) volume(claim map[string]any) {
	labels := below(claim, "metadata", "labels")
	unlessThere(labels, kube.ProjectLabel, m.namespace)
	unlessThere(labels, kube.ComponentLabel, "volume")
}

// below is the mapping at a path of keys, which is made where it is not there.
func below(o map[string]any, path ...string) map[string]any {
	for _, key := range path {
		next, ok := o[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			o[key] = next
		}
		o = next
	}
	return o
}

func unlessThere(m map[string]any, key, value string) {
	if _, there := m[key]; !there {
		m[key] = value
	}
}
