package render

import (
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// putLabels adds Compose labels: as labels where Kubernetes allows them, else as annotations. Ours are not overwritten.
func putLabels(m *metav1.ObjectMeta, labels types.Labels) {
	for name, value := range labels {
		if len(validation.IsQualifiedName(name)) > 0 || len(validation.IsValidLabelValue(value)) > 0 || reserved(name) {
			putAnnotation(m, name, value)
			continue
		}
		m.Labels[name] = value
	}
}

func putAnnotation(m *metav1.ObjectMeta, name, value string) {
	// The keys of annotations may be in capitals to the eye of the API server, but are compared in lower case.
	if len(validation.IsQualifiedName(strings.ToLower(name))) > 0 || name == annotationName {
		return // package compose warned of it
	}
	m.Annotations[name] = value
}

// reserved tells whether a label is Perch's, Kubernetes' or Helm's own.
func reserved(name string) bool {
	prefix, _, _ := strings.Cut(name, "/")
	return prefix == "app.kubernetes.io" || prefix == "perch.dev" || strings.HasSuffix(prefix, "kubernetes.io") ||
		strings.HasSuffix(prefix, "k8s.io") || prefix == "helm.sh"
}

func number(s string) (int32, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int32(n), err == nil
}

// quantity reads a size as Kubernetes (5Gi) or Docker (5g) writes it; package compose has checked it.
func quantity(s string) resource.Quantity {
	if q, err := resource.ParseQuantity(s); err == nil {
		return q
	}
	lower := strings.TrimSuffix(strings.ToLower(s), "b")
	for suffix, unit := range map[string]string{"k": "Ki", "m": "Mi", "g": "Gi", "t": "Ti"} {
		if digits, ok := strings.CutSuffix(lower, suffix); ok {
			if q, err := resource.ParseQuantity(digits + unit); err == nil {
				return q
			}
		}
	}
	return resource.MustParse(defaultSize)
}
