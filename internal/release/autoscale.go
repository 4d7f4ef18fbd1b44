package release

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/kube"
)

// Where an autoscaler owns the number of a workload's pods, the workload itself says none. Server-side apply sets a field that its
// last owner leaves out back to its default, which is one pod: so the number that there is is held before such a workload is
// applied, and raised to what the autoscaler has at least after it, which would else take the autoscaler a while.

// floors are the least numbers of pods that autoscalers among the objects keep, by the workload.
func floors(objects []runtime.Object) map[Ref]int32 {
	least := map[Ref]int32{}
	for _, o := range objects {
		if h, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok {
			least[Ref{h.Spec.ScaleTargetRef.Kind, h.Spec.ScaleTargetRef.Name}] = count(h.Spec.MinReplicas)
		}
	}
	return least
}

// elastic are the workloads that do not say how many pods they have.
func elastic(objects []runtime.Object) []kube.WorkloadRef {
	var refs []kube.WorkloadRef
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			if o.Spec.Replicas == nil {
				refs = append(refs, kube.WorkloadRef{Kind: "Deployment", Name: o.Name})
			}
		case *appsv1.StatefulSet:
			if o.Spec.Replicas == nil {
				refs = append(refs, kube.WorkloadRef{Kind: "StatefulSet", Name: o.Name})
			}
		}
	}
	return refs
}

// podsOf is how many pods a workload has at least.
func podsOf(ref Ref, said *int32, least map[Ref]int32) int32 {
	if n, ok := least[ref]; ok && said == nil {
		return n
	}
	return count(said)
}

// raise gives workloads that an autoscaler owns as many pods as that one has at least.
func (e *executor) raise(ctx context.Context, objects []runtime.Object) error {
	least := floors(objects)
	for _, ref := range elastic(objects) {
		if least[Ref(ref)] == 0 {
			continue // nobody says how many
		}
		if err := e.client.RaiseReplicas(ctx, e.plan.Namespace, ref, least[Ref(ref)]); err != nil {
			return err
		}
	}
	return nil
}
