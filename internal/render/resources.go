package render

import (
	"math"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// resources are the limits and requests of a service: those of deploy.resources, else cpus, mem_limit and
// mem_reservation.
func resources(s types.ServiceConfig) corev1.ResourceRequirements {
	cpu, memory := float64(s.CPUS), int64(s.MemLimit)
	reservedCPU, reservedMemory := 0.0, int64(s.MemReservation)
	if s.Deploy != nil {
		if l := s.Deploy.Resources.Limits; l != nil {
			cpu, memory = or(float64(l.NanoCPUs), cpu), or(int64(l.MemoryBytes), memory)
		}
		if r := s.Deploy.Resources.Reservations; r != nil {
			reservedCPU, reservedMemory = or(float64(r.NanoCPUs), reservedCPU), or(int64(r.MemoryBytes), reservedMemory)
		}
	}
	return requirements(cpu, reservedCPU, memory, reservedMemory)
}

// containerResources are those of what is no service: a hook or a job.
func containerResources(c types.ContainerSpec) corev1.ResourceRequirements {
	return requirements(float64(c.CPUS), 0, int64(c.MemLimit), int64(c.MemReservation))
}

func or[N int64 | float64](first, second N) N {
	if first != 0 {
		return first
	}
	return second
}

// requirements writes limits and requests. A limit without a reservation gets a request of 0: Kubernetes would else take
// the limit for the request, and a limit of 4 CPUs could not be scheduled on a machine with 2, where Compose runs it.
func requirements(cpu, reservedCPU float64, memory, reservedMemory int64) corev1.ResourceRequirements {
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
	limit(corev1.ResourceCPU, cpus(cpu), cpus(reservedCPU))
	limit(corev1.ResourceMemory, size(memory), size(reservedMemory))
	return r
}

func cpus(n float64) resource.Quantity {
	return *resource.NewMilliQuantity(int64(math.Round(n*1000)), resource.DecimalSI)
}

func size(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) }
