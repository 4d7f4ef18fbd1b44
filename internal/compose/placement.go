package compose

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Constraint is one of deploy.placement.constraints as a condition on the labels of a node.
type Constraint struct {
	Label string // of the node, as Kubernetes has it: kubernetes.io/hostname, node-role.kubernetes.io/control-plane, disk
	Value string // that it must have, or must not; "": the label must be there, or must not
	Not   bool
}

var constraint = regexp.MustCompile(`^\s*([A-Za-z0-9_.\-/]+)\s*(==|!=)\s*(\S.*?)\s*$`)

// ParseConstraint reads a constraint as Swarm writes it: node.labels.X == v, node.hostname, node.platform.os,
// node.platform.arch and node.role. The error says what is not carried.
func ParseConstraint(text string) (Constraint, error) {
	m := constraint.FindStringSubmatch(text)
	if m == nil {
		return Constraint{}, fmt.Errorf("%q is not a constraint", text)
	}
	key, value := m[1], m[3]
	c := Constraint{Value: value, Not: m[2] == "!="}
	switch lower := strings.ToLower(key); {
	case lower == "node.hostname":
		c.Label = "kubernetes.io/hostname"
	case lower == "node.platform.os":
		c.Label = "kubernetes.io/os"
	case lower == "node.platform.arch":
		c.Label, c.Value = "kubernetes.io/arch", architecture(value)
	case lower == "node.role":
		c.Label, c.Value = "node-role.kubernetes.io/control-plane", ""
		if value != "manager" && value != "worker" {
			return c, fmt.Errorf("%q: node.role is manager or worker", text)
		}
		c.Not = c.Not != (value == "worker")
	case strings.HasPrefix(lower, "node.labels."):
		c.Label = key[len("node.labels."):]
		if len(validation.IsQualifiedName(c.Label)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			return c, fmt.Errorf("%q: Kubernetes has no such label", text)
		}
	default:
		return c, fmt.Errorf("%s is not carried: Kubernetes knows node.labels.NAME, node.hostname, node.role, node.platform.os and node.platform.arch", key)
	}
	return c, nil
}

// architecture is Go's name of an architecture, which Kubernetes uses.
func architecture(name string) string {
	switch strings.ToLower(name) {
	case "x86_64", "x86-64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv7l", "armv6l":
		return "arm"
	}
	return strings.ToLower(name)
}

// SpreadLabel is the label of nodes that a placement preference spreads over: spread: node.labels.zone. It is "" when it is
// not a label that Kubernetes can have.
func SpreadLabel(spread string) string {
	switch key := strings.TrimSpace(spread); {
	case strings.EqualFold(key, "node.hostname") || strings.EqualFold(key, "node.id"):
		return "kubernetes.io/hostname"
	case strings.HasPrefix(key, "node.labels.") && len(validation.IsQualifiedName(key[len("node.labels."):])) == 0:
		return key[len("node.labels."):]
	}
	return ""
}
