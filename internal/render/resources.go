package render

import (
	"cmp"
	"math"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/perch-k8s/perch/internal/compose"
)

// amounts are what a container may use and what is set aside for it.
type amounts struct {
	cpu, reservedCPU       float64 // in cores; 0: not said
	memory, reservedMemory int64   // in bytes; 0: not said
	storage                int64
	devices                map[corev1.ResourceName]int64
}

// resources are the limits and requests of a service: those of deploy.resources, else those of the container.
func (w workload) resources() corev1.ResourceRequirements {
	a := containerAmounts(w.service.ContainerSpec)
	if d := w.service.Deploy; d != nil {
		if l := d.Resources.Limits; l != nil {
			a.cpu, a.memory = cmp.Or(float64(l.NanoCPUs), a.cpu), cmp.Or(int64(l.MemoryBytes), a.memory)
		}
		if r := d.Resources.Reservations; r != nil {
			a.reservedCPU, a.reservedMemory = cmp.Or(float64(r.NanoCPUs), a.reservedCPU), cmp.Or(int64(r.MemoryBytes), a.reservedMemory)
			a.gpus(r.Devices)
			a.generic(r.GenericResources)
		}
	}
	return a.requirements()
}

// containerResources are those of what is no service: a hook or a job.
func (b *builder) containerResources(c types.ContainerSpec) corev1.ResourceRequirements {
	a := containerAmounts(c)
	return a.requirements()
}

// cpuPerShares is what 1024 cpu_shares, Docker's default weight, set aside. Shares are a weight against other containers,
// as requests are; a whole core for each would not fit on the machine where Docker runs them all.
const cpuPerShares = 0.1

func containerAmounts(c types.ContainerSpec) amounts {
	a := amounts{cpu: float64(c.CPUS), memory: int64(c.MemLimit), reservedMemory: int64(c.MemReservation), devices: map[corev1.ResourceName]int64{}}
	if a.cpu == 0 && c.CPUQuota > 0 {
		period := float64(cmp.Or(c.CPUPeriod, 100_000)) // the kernel's default, in microseconds
		a.cpu = float64(c.CPUQuota) / period
	}
	if a.cpu == 0 && c.CPUCount > 0 {
		a.cpu = float64(c.CPUCount)
	}
	if c.CPUShares > 0 {
		a.reservedCPU = float64(c.CPUShares) / 1024 * cpuPerShares
		if a.cpu > 0 {
			a.reservedCPU = min(a.reservedCPU, a.cpu)
		}
	}
	if size, err := units.RAMInBytes(c.StorageOpt["size"]); err == nil && size > 0 {
		a.storage = size
	}
	a.gpus(c.Gpus)
	return a
}

// gpus are counted: which of them, and what they can do, is the device plugin's matter. Package compose has refused what no
// plugin gives.
func (a *amounts) gpus(devices []types.DeviceRequest) {
	for _, d := range devices {
		if name, count, err := compose.DeviceResource(d); err == nil {
			a.devices[corev1.ResourceName(name)] = max(a.devices[corev1.ResourceName(name)], count)
		}
	}
}

func (a *amounts) generic(all []types.GenericResource) {
	for _, g := range all {
		if name, count, err := compose.GenericResource(g); err == nil {
			a.devices[corev1.ResourceName(name)] = count
		}
	}
}

// requirements writes limits and requests. A limit without a reservation gets a request of 0: Kubernetes would else take
// the limit for the request, and a limit of 4 CPUs could not be scheduled on a machine with 2, where Compose runs it.
func (a amounts) requirements() corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{}
	limit := func(name corev1.ResourceName, value, reserved resource.Quantity) {
		if !value.IsZero() {
			if r.Limits == nil {
				r.Limits = corev1.ResourceList{}
			}
			r.Limits[name] = value
		}
		if !value.IsZero() || !reserved.IsZero() {
			if r.Requests == nil {
				r.Requests = corev1.ResourceList{}
			}
			r.Requests[name] = reserved
		}
	}
	limit(corev1.ResourceCPU, cpus(a.cpu), cpus(a.reservedCPU))
	limit(corev1.ResourceMemory, size(a.memory), size(a.reservedMemory))
	limit(corev1.ResourceEphemeralStorage, size(a.storage), size(a.storage/16)) // a quota in Docker: it sets little aside
	for _, name := range sortedKeys(a.devices) {
		count := *resource.NewQuantity(a.devices[name], resource.DecimalSI)
		limit(name, count, count) // Kubernetes wants both the same
	}
	return r
}

func cpus(n float64) resource.Quantity {
	return *resource.NewMilliQuantity(int64(math.Round(n*1000)), resource.DecimalSI)
}

func size(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) }
