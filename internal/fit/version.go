package fit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/kube"
)

// ownMinor is the minor version of Kubernetes whose libraries Perch is built with: k8s.io/client-go of go.mod.
const ownMinor = 37

// newerBy is how many minor versions an API server may be ahead without a word: as many as of kubectl
// (kubernetes.io/releases/version-skew-policy).
const newerBy = 1

// oldest is the first minor version that Perch works with: it has server-side apply, and the API groups that are always used.
const oldest = 25

// gateOff is the version of a field that every API server has switched off as it comes.
const gateOff = 1 << 10

// feature is a field that API servers know from a minor version on. Older ones leave it out in silence, or refuse the object.
type feature struct {
	path  string // of the object, or of its pods when it begins with "pod."; [] is every element of a list
	value string // "": any
	since int    // the first minor version that has it switched on (pkg/features/kube_features.go), gateOff for none yet
}

// features are those that rendered or patched objects may have, as of Kubernetes 1.37.
func features() []feature {
	return []feature{
		{"spec.timeZone", "", 25},
		{"spec.podFailurePolicy", "", 26},
		{"spec.persistentVolumeClaimRetentionPolicy", "", 27},
		{"spec.unhealthyPodEvictionPolicy", "", 27},
		{"spec.accessModes[]", "ReadWriteOncePod", 27},
		{"spec.podReplacementPolicy", "", 29},
		{"spec.backoffLimitPerIndex", "", 29},
		{"spec.trafficDistribution", "", 31},
		{"spec.managedBy", "", 32},
		{"spec.volumeAttributesClassName", "", 34},
		{"spec.behavior.scaleDown.tolerance", "", 35},
		{"spec.behavior.scaleUp.tolerance", "", 35},
		{"spec.minReplicas", "0", 37},
		{"spec.updateStrategy.rollingUpdate.maxUnavailable", "", 37},

		{"pod.topologySpreadConstraints[].nodeTaintsPolicy", "", 26},
		{"pod.topologySpreadConstraints[].matchLabelKeys", "", 27},
		{"pod.initContainers[].restartPolicy", "Always", 29},
		{"pod.containers[].lifecycle.preStop.sleep", "", 30},
		{"pod.securityContext.appArmorProfile", "", 30},
		{"pod.containers[].securityContext.appArmorProfile", "", 30},
		{"pod.containers[].volumeMounts[].recursiveReadOnly", "", 31},
		{"pod.hostUsers", "false", 33},
		{"pod.containers[].securityContext.procMount", "Unmasked", 33},
		{"pod.securityContext.supplementalGroupsPolicy", "", 33},
		{"pod.resources", "", 34},
		{"pod.volumes[].image", "", 35},
		{"pod.hostnameOverride", "", 35},
		{"pod.containers[].restartPolicyRules", "", 35},
		{"pod.containers[].env[].valueFrom.fileKeyRef", "", 35},
		{"pod.containers[].lifecycle.stopSignal", "", gateOff},
	}
}

// featureUse is a feature and the object that has it.
type featureUse struct {
	feature
	by string
}

// featuresOf are the features of an object.
func featuresOf(o runtime.Object, by string) ([]featureUse, error) {
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", by, err)
	}
	var pod any
	if template := kube.PodTemplateOf(o); template != nil {
		if pod, err = runtime.DefaultUnstructuredConverter.ToUnstructured(&template.Spec); err != nil {
			return nil, fmt.Errorf("%s: %w", by, err)
		}
	}
	var all []featureUse
	for _, f := range features() {
		in, path := any(tree), f.path
		if rest, ok := strings.CutPrefix(path, "pod."); ok {
			in, path = pod, rest
		}
		if holds(in, strings.Split(path, "."), f.value) {
			all = append(all, featureUse{f, by})
		}
	}
	return all, nil
}

// holds tells whether there is something at a path, and if a value is given, that.
func holds(at any, path []string, value string) bool {
	if list, ok := at.([]any); ok {
		return slices.ContainsFunc(list, func(one any) bool { return holds(one, path, value) })
	}
	if len(path) == 0 {
		return at != nil && (value == "" || fmt.Sprint(at) == value)
	}
	m, ok := at.(map[string]any)
	if !ok {
		return false
	}
	next, there := m[strings.TrimSuffix(path[0], "[]")]
	return there && holds(next, path[1:], value)
}

// minor is the minor version of the server, 0 when it does not say one that can be read: "27", "27+".
func (s Seen) minor() int {
	digits := strings.TrimRightFunc(s.version.Minor, func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.Atoi(digits)
	if err != nil || s.version.Major != "1" {
		return 0
	}
	return n
}

// judgeVersion compares the server's version with what the objects have. What no object has, no version is needed for.
func judgeVersion(n Needs, s Seen) Findings {
	minor := s.minor()
	all := Findings{}
	switch {
	case minor == 0:
		all = append(all, Finding{Level: Unknown, What: "version of Kubernetes", Why: fmt.Sprintf("the server says %q", s.version.GitVersion)})
	case minor < oldest:
		all = append(all, Finding{
			Level: Missing, What: fmt.Sprintf("Kubernetes 1.%d", oldest), Why: "the server is " + s.version.GitVersion + ", which Perch does not work with",
			Hint: "update the cluster",
		})
	case minor > ownMinor+newerBy:
		all = append(all, Finding{
			Level: Risky, What: "Kubernetes " + s.version.GitVersion, Why: fmt.Sprintf("Perch was made for 1.%d, and knows nothing of what came later", ownMinor),
			Hint: "update Perch",
		})
	}
	for i, f := range n.features {
		if slices.ContainsFunc(n.features[:i], func(before featureUse) bool { return before.feature == f.feature }) {
			continue
		}
		field := strings.TrimPrefix(f.path, "pod.")
		switch {
		case f.since == gateOff:
			all = append(all, Finding{
				Level: Risky, What: "field " + field, Why: f.by + " has it, and Kubernetes leaves it out as it comes: it is behind a feature gate",
			})
		case minor > 0 && minor < f.since:
			all = append(all, Finding{
				Level: Missing, What: fmt.Sprintf("field %s, of Kubernetes 1.%d", field, f.since),
				Why:  fmt.Sprintf("%s has it, and the server is %s, which leaves it out or refuses it", f.by, s.version.GitVersion),
				Hint: "update the cluster, or take out of the Compose file what asks for it: perch config --format kubernetes shows the object",
			})
		}
	}
	return all
}
