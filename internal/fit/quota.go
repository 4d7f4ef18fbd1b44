package fit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/perch-k8s/perch/internal/kube"
)

// judgeQuotas compares what is left of the namespace's quotas with what the project adds: when all is there, and while it rolls.
func judgeQuotas(n Needs, s Seen) Findings {
	all := Findings{}
	if len(s.quotas) == 0 {
		return all
	}
	after, peak := n.demand(s)
	for _, q := range s.quotas {
		if len(q.Spec.Scopes) > 0 || q.Spec.ScopeSelector != nil {
			all = append(all, Finding{Level: Unknown, What: "quota " + q.Name, Why: "it counts some pods only"})
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
			if f, ok := overQuota(q, name, after, peak); ok {
				all = append(all, f)
			}
			all = append(all, n.unset(q, name, s.ranges)...)
		}
	}
	return all
}

// overQuota compares one number of a quota.
func overQuota(q corev1.ResourceQuota, name corev1.ResourceName, after, peak amounts) (Finding, bool) {
	hard, used := q.Status.Hard[name], q.Status.Used[name]
	add, rolling := after[plain(name)], peak[plain(name)]
	total, highest := used.DeepCopy(), used.DeepCopy()
	total.Add(add)
	highest.Add(rolling)
	f := Finding{
		What: fmt.Sprintf("quota %s: %s", q.Name, name),
		Hint: fmt.Sprintf("ask for more: kubectl edit resourcequota -n %s %s; or ask for less in the Compose file: deploy.replicas, deploy.resources", q.Namespace, q.Name),
	}
	switch {
	case add.Sign() > 0 && total.Cmp(hard) > 0:
		f.Level, f.Why = Missing, fmt.Sprintf("the project adds %s to the %s that are used, and %s is the limit", add.String(), used.String(), hard.String())
	case rolling.Sign() > 0 && highest.Cmp(hard) > 0:
		f.Level, f.Why = Risky, fmt.Sprintf("while services roll, up to %s come to the %s that are used, and %s is the limit", rolling.String(), used.String(), hard.String())
	case counted(name) && used.Cmp(hard) >= 0:
		f.Level, f.Why = Risky, fmt.Sprintf("all %s are used", hard.String())
	default:
		return f, false
	}
	return f, true
}

// counted tells whether a quota's number is one of objects that the project's demand is not reckoned for.
func counted(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourceServices:
		return true
	}
	return strings.HasPrefix(string(name), "count/")
}

// plain is a quota's name in its long form: cpu is requests.cpu.
func plain(name corev1.ResourceName) corev1.ResourceName {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return "requests." + name
	case "count/pods", "count/persistentvolumeclaims":
		return corev1.ResourceName(strings.TrimPrefix(string(name), "count/"))
	}
	return name
}

// amounts are quantities by the names that quotas have for them, in their long form.
type amounts map[corev1.ResourceName]resource.Quantity

// add adds another's amounts so many times, which may be a negative number.
func (a amounts) add(other amounts, times int64) {
	for name, q := range other {
		sum := a[name]
		q = q.DeepCopy()
		q.Mul(times)
		sum.Add(q)
		a[name] = sum
	}
}

// demand is what the project adds to what its namespace uses: when all of it is there, and at most while it rolls, when all
// services do so at once and the biggest migration runs beside them.
func (n Needs) demand(s Seen) (after, peak amounts) {
	after, peak = amounts{}, amounts{}
	job := amounts{}
	for _, p := range n.pods {
		one := costOf(p.template, s.ranges)
		live := s.liveOf(p)
		switch {
		case p.kind == "CronJob": // its pods come and go later
		case p.kind == "Job":
			if live == nil {
				job = larger(job, one)
			}
		case live == nil:
			after.add(one, replicas(p.object))
			peak.add(one, replicas(p.object))
		default:
			after.add(costOf(kube.PodTemplateOf(live), s.ranges), -replicas(live))
			after.add(one, replicas(p.object))
			peak.add(one, surge(p.object))
		}
	}
	peak.add(job, 1)
	for _, c := range n.claims {
		if !c.made(s) && (c.name != "" || !s.hasSet(c)) {
			cost := claimCost(c)
			after.add(cost, c.count)
			peak.add(cost, c.count)
		}
	}
	one := resource.MustParse("1")
	for range n.balanced {
		after.add(amounts{corev1.ResourceServicesLoadBalancers: one}, 1)
	}
	after[corev1.ResourceServicesLoadBalancers] = s.balancersLeft(after[corev1.ResourceServicesLoadBalancers])
	return after, peak
}

// balancersLeft is nothing where the namespace has load balancers already: which of them are the project's is not known.
func (s Seen) balancersLeft(q resource.Quantity) resource.Quantity {
	if s.balancers.given || s.balancers.waiting {
		return resource.Quantity{}
	}
	return q
}

// liveOf is the object of a workload as it is in the cluster, nil when it is not.
func (s Seen) liveOf(p pods) runtime.Object {
	for _, w := range s.live {
		if w.Kind() == strings.ToLower(p.kind) && w.Name() == p.name {
			return w.Object
		}
	}
	return nil
}

// hasSet tells whether the StatefulSet that a claim is of is there, and with it its claims.
func (s Seen) hasSet(c claim) bool {
	return slices.ContainsFunc(s.live, func(w kube.Workload) bool { return strings.HasPrefix(c.by, "statefulset "+w.Name()+",") })
}

func claimCost(c claim) amounts {
	size := c.size[corev1.ResourceStorage]
	one := resource.MustParse("1")
	cost := amounts{corev1.ResourceRequestsStorage: size, corev1.ResourcePersistentVolumeClaims: one}
	if c.class != nil && *c.class != "" {
		const of = ".storageclass.storage.k8s.io/"
		cost[corev1.ResourceName(*c.class+of+"requests.storage")] = size
		cost[corev1.ResourceName(*c.class+of+"persistentvolumeclaims")] = one
	}
	return cost
}

// costOf is what one pod counts as, with what the namespace's limit ranges put in for what it does not say.
func costOf(template *corev1.PodTemplateSpec, ranges []corev1.LimitRange) amounts {
	pod := filled(template, ranges)
	cost := amounts{corev1.ResourcePods: resource.MustParse("1")}
	for name, q := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		cost["requests."+name] = q
	}
	for name, q := range resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}) {
		cost["limits."+name] = q
	}
	return cost
}

// larger is the larger of each amount.
func larger(a, b amounts) amounts {
	out := maps.Clone(a)
	for name, q := range b {
		if have := out[name]; q.Cmp(have) > 0 {
			out[name] = q
		}
	}
	return out
}

// replicas is how many pods a workload has, one for a DaemonSet, of whose nodes nothing is known here.
func replicas(o runtime.Object) int64 {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return int64(count(o.Spec.Replicas))
	case *appsv1.StatefulSet:
		return int64(count(o.Spec.Replicas))
	case *appsv1.DaemonSet:
		return max(1, int64(o.Status.DesiredNumberScheduled))
	case *batchv1.Job:
		return 0 // one that is there has ended, as a rule
	}
	return 0
}

// surge is how many pods more a workload has while it rolls: 25 percent of a Deployment, as Kubernetes has it, unless it says so.
func surge(o runtime.Object) int64 {
	d, ok := o.(*appsv1.Deployment)
	if !ok || d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return 0
	}
	by := intstr.FromString("25%")
	if r := d.Spec.Strategy.RollingUpdate; r != nil && r.MaxSurge != nil {
		by = *r.MaxSurge
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&by, int(count(d.Spec.Replicas)), true)
	if err != nil {
		return 0
	}
	return int64(n)
}

// unset names the workloads that say nothing of a resource that a quota limits: their pods are refused.
func (n Needs) unset(q corev1.ResourceQuota, name corev1.ResourceName, ranges []corev1.LimitRange) Findings {
	all := Findings{}
	kind, of, ok := strings.Cut(string(plain(name)), ".")
	if !ok || kind != "requests" && kind != "limits" || of != "cpu" && of != "memory" {
		return all
	}
	for _, p := range n.pods {
		pod := filled(p.template, ranges)
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			list, key := c.Resources.Requests, "reservations"
			if kind == "limits" {
				list, key = c.Resources.Limits, "limits"
			}
			if _, said := list[corev1.ResourceName(of)]; !said {
				all = append(all, Finding{
					Level: Missing, What: fmt.Sprintf("%s.%s of %s", kind, of, p.by),
					Why:  fmt.Sprintf("quota %s has a limit for it, so that a pod must say how much it wants, and container %s does not", q.Name, c.Name),
					Hint: fmt.Sprintf("say it in the Compose file: deploy.resources.%s; or have a LimitRange with defaults made in namespace %s", key, q.Namespace),
				})
				break
			}
		}
	}
	return all
}
