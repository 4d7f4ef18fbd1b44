package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// DeviceResource is the resource of a node that gpus or reservations.devices ask for, and how many of it: nvidia.com/gpu,
// amd.com/gpu, or the driver's own name when it is one that device plugins give. The error says what is not carried.
func DeviceResource(d types.DeviceRequest) (name string, count int64, err error) {
	count = int64(d.Count)
	if len(d.IDs) > 0 {
		count = int64(len(d.IDs))
	}
	if count < 1 {
		count = 1 // all, or not said: Kubernetes wants a number
	}
	gpu := len(d.Capabilities) == 0 || slices.ContainsFunc(d.Capabilities, func(c string) bool { return strings.EqualFold(c, "gpu") || strings.EqualFold(c, "nvidia") })
	switch {
	case extendedResource(d.Driver):
		return d.Driver, count, nil
	case gpu && (d.Driver == "" || d.Driver == "nvidia" || d.Driver == "amd"):
		return cmpOr(d.Driver, "nvidia") + ".com/gpu", count, nil
	case d.Driver == "" || d.Driver == "nvidia" || d.Driver == "amd":
		return "", 0, fmt.Errorf("capabilities %s: no device plugin has such devices", strings.Join(d.Capabilities, ", "))
	}
	return "", 0, fmt.Errorf("driver %s is not known", d.Driver)
}

// GenericResource is the resource of a node that one of reservations.generic_resources asks for.
func GenericResource(g types.GenericResource) (name string, count int64, err error) {
	d := g.DiscreteResourceSpec
	switch {
	case d == nil:
		return "", 0, fmt.Errorf("it says no resource")
	case extendedResource(d.Kind):
		return d.Kind, max(d.Value, 1), nil
	case strings.EqualFold(d.Kind, "gpu") || strings.EqualFold(d.Kind, "nvidia-gpu"):
		return "nvidia.com/gpu", max(d.Value, 1), nil
	}
	return "", 0, fmt.Errorf("kind %s is no resource that a device plugin gives", d.Kind)
}

// extendedResource tells whether a name is one that a device plugin could have, as vendor.com/thing.
func extendedResource(name string) bool {
	domain, _, slash := strings.Cut(name, "/")
	return slash && domain != "" && !strings.HasSuffix(domain, "kubernetes.io") && len(validation.IsQualifiedName(name)) == 0
}
