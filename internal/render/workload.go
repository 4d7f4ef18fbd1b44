package render

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/perch-k8s/perch/internal/compose"
)

// historyLimit is how many old ReplicaSets a Deployment keeps.
const historyLimit = 10

// workload is one service on its way to become objects.
type workload struct {
	*builder
	service   types.ServiceConfig
	extension compose.ServiceExtension
	name      string
	image     Image
	ports     []containerPort
	sidecars  []workload // services that run in the same pod, by name
}

// parts are the service itself and those in its pod.
func (w workload) parts() []workload { return append([]workload{w}, w.sidecars...) }

// allPorts are those of all containers of the pod.
func (w workload) allPorts() []containerPort {
	var all []containerPort
	for _, part := range w.parts() {
		all = append(all, part.ports...)
	}
	return all
}

// dependsOn is what the containers of the pod wait for.
func (w workload) dependsOn() []types.DependsOnConfig {
	var all []types.DependsOnConfig
	for _, part := range w.parts() {
		all = append(all, part.service.DependsOn)
	}
	return all
}

// kind is what a service becomes in Kubernetes.
type kind int

const (
	deployment  kind = iota
	statefulSet      // it writes to a named volume
	daemonSet        // deploy.mode: global
	oneShot          // a Job: another service waits for its end, or deploy.mode: replicated-job
)

func (w workload) kind() kind {
	mode := ""
	if w.service.Deploy != nil {
		mode = w.service.Deploy.Mode
	}
	switch {
	case mode == "replicated-job", mode == "global-job", !restartsAlways(w.service) && w.isAwaited(), w.runsOnce():
		return oneShot
	case mode == "global":
		return daemonSet
	}
	if w.update().Order != "start-first" && slices.ContainsFunc(w.parts(), workload.keepsData) {
		return statefulSet
	}
	return deployment
}

// keepsData tells whether the service writes to a named volume. Two of its pods at once on the same data could ruin it, so
// the old one is stopped first, unless the file says start-first.
func (w workload) keepsData() bool {
	return slices.ContainsFunc(w.service.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Type == types.VolumeTypeVolume && v.Source != "" && !v.ReadOnly
	})
}

// restartsAlways tells whether the file has a container restarted after it ended well. Compose's default is "no".
func restartsAlways(s types.ServiceConfig) bool {
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		return s.Deploy.RestartPolicy.Condition == "any" || s.Deploy.RestartPolicy.Condition == ""
	}
	return s.Restart == types.RestartPolicyAlways || s.Restart == types.RestartPolicyUnlessStopped
}

// isAwaited tells whether another service waits for this one to end.
func (w workload) isAwaited() bool {
	for _, other := range w.project.Project.Services {
		if other.DependsOn[w.service.Name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	for _, job := range w.project.Jobs {
		if job.DependsOn[w.service.Name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

// runsOnce tells whether the file says in so many words that the service is not started again, and nothing makes it a
// server: a port, a health check, somebody who waits for it to be there. Those of the image count where the image's own
// program runs: "psql -f seed.sql" is none.
func (w workload) runsOnce() bool {
	s := w.service
	never := s.Restart == types.RestartPolicyNo
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		never = s.Deploy.RestartPolicy.Condition == "none"
	}
	if !never || w.serves() || len(w.sidecars) > 0 {
		return false
	}
	for _, other := range w.project.Project.Services {
		if _, awaited := other.DependsOn[s.Name]; awaited {
			return false
		}
	}
	return true
}

func (w workload) serves() bool {
	declared := slices.ContainsFunc(w.ports, func(p containerPort) bool { return p.declared })
	return declared || w.service.HealthCheck != nil || w.runsImage() && (len(w.ports) > 0 || w.image.Health != nil)
}

// run is the service as a container.
func (w workload) run() runs {
	s := w.service
	return runs{
		of: s.Name, path: "services." + s.Name, container: w.name, spec: s.ContainerSpec, image: w.image, extension: w.extension,
		ports: w.ports, resources: w.resources(), tty: s.Tty, stdin: s.StdinOpen,
	}
}

// pod is the pod of the service with its ports, probes, hooks and resources, and with those that run beside it.
func (w workload) pod() (podParts, error) {
	var all []runs
	for i, part := range w.parts() {
		r := part.run()
		if i > 0 {
			r.scratch = part.name + "-"
		}
		all = append(all, r)
	}
	parts, err := w.builder.pod(all...)
	if err != nil {
		return podParts{}, err
	}
	for i, part := range w.parts() {
		if err := part.initContainers(&parts); err != nil {
			return podParts{}, err
		}
		if w.kind() == oneShot {
			continue
		}
		c := &parts.spec.Containers[i]
		c.ReadinessProbe, c.LivenessProbe, c.StartupProbe = part.probes()
		if part.stopSignal(all[i]) != "" && w.target.Embedded {
			parts.spec.OS = &corev1.PodOS{Name: corev1.Linux} // else the API server takes no stopSignal
		}
		used := part.lifecycle(c, all[i], parts.spec.ShareProcessNamespace != nil, w.drains())
		parts.config = append(parts.config, used...)
	}
	w.place(&parts.spec)
	w.standing(&parts.spec)
	if w.kind() == oneShot {
		parts.spec.RestartPolicy = corev1.RestartPolicyNever
	} else if w.drains() {
		*parts.spec.TerminationGracePeriodSeconds += drainSeconds
	}
	return parts, nil
}

// drains tells whether a pod serves on for a moment when it is going to be stopped. The pods of a StatefulSet are stopped
// before their successors start, so there it would only be a longer gap.
func (w workload) drains() bool { return len(w.allPorts()) > 0 && w.kind() != statefulSet }

// objects are what the release of the service holds.
func (w workload) objects(parts podParts) []runtime.Object {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: w.labels(w.name), Annotations: map[string]string{annotationName: w.service.Name}},
		Spec:       parts.spec,
	}
	for _, part := range w.parts() {
		part.userLabels(&template.ObjectMeta)
	}
	objects := w.servicesOf()
	objects = append(objects, w.measured(&template.ObjectMeta, objects)...)
	objects = append(objects, w.account()...)
	if w.policies {
		w.networkLabels(&template.ObjectMeta, w.networks())
		objects = append(objects, w.policy())
	}
	switch w.kind() {
	case oneShot:
		return append(objects, w.oneShot(template))
	case daemonSet:
		objects = append(objects, w.daemonSet(template))
	case statefulSet:
		objects = append(objects, w.statefulSet(template))
	default:
		objects = append(objects, w.deployment(template))
	}
	if kind := map[kind]string{deployment: "Deployment", statefulSet: "StatefulSet"}[w.kind()]; w.extension.Autoscale != nil && kind != "" {
		objects = append(objects, w.autoscaler(kind))
	}
	if w.replicas() >= 2 && w.kind() != daemonSet {
		objects = append(objects, w.budget())
	}
	return objects
}

// meta is the metadata of the workload itself: deploy.labels are of the service, not of its containers.
func (w workload) meta() metav1.ObjectMeta {
	m := w.builder.meta(w.name, w.service.Name)
	if w.service.Deploy != nil {
		putLabels(&m, w.service.Deploy.Labels)
	}
	return m
}

func (w workload) deployment(template corev1.PodTemplateSpec) *appsv1.Deployment {
	surge, unavailable := w.rolling()
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: w.meta(),
		Spec: appsv1.DeploymentSpec{
			Replicas:             w.fixedReplicas(),
			RevisionHistoryLimit: new(int32(historyLimit)),
			Selector:             &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
			MinReadySeconds:      w.delay(),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
			},
			Template: template,
		},
	}
}

// update is update_config.
func (w workload) update() types.UpdateConfig {
	if w.service.Deploy == nil || w.service.Deploy.UpdateConfig == nil {
		return types.UpdateConfig{}
	}
	return *w.service.Deploy.UpdateConfig
}

// rolling is how a rollout goes: new pods first, a quarter at a time, none missing; or as update_config has it. Pods that
// have the ports of their node cannot be there twice.
func (w workload) rolling() (surge, unavailable intstr.IntOrString) {
	surge, unavailable = intstr.FromString("25%"), intstr.FromInt32(0)
	u := w.update()
	if at, ok := w.atOnce(); ok {
		surge = at
	}
	if u.Order == "stop-first" || w.service.NetworkMode == "host" {
		if u.Parallelism == nil {
			surge = intstr.FromInt32(1)
		}
		return intstr.FromInt32(0), surge
	}
	return surge, unavailable
}

// atOnce is update_config.parallelism; 0 is all at once.
func (w workload) atOnce() (intstr.IntOrString, bool) {
	p := w.update().Parallelism
	switch {
	case p == nil:
		return intstr.IntOrString{}, false
	case *p == 0:
		return intstr.FromString("100%"), true
	}
	return intstr.FromInt32(int32(min(*p, 1<<20))), true //nolint:gosec // bounded
}

// unprobed is for how many seconds a pod without a readiness probe must run before it counts. Such a pod is ready as soon as
// its program was started: one that ends at once would be taken for a success, and the old pods would be gone.
const unprobed = 2

// delay is how many seconds a new pod must be ready before the next one is replaced: update_config.delay, and monitor, in
// which a pod that fails counts as failed.
func (w workload) delay() int32 {
	u := w.update()
	d := int32(min(seconds(time.Duration(max(u.Delay, u.Monitor))), 1<<20)) //nolint:gosec // bounded
	if _, probed := w.readiness(); !probed {
		d = max(d, unprobed)
	}
	return d
}

func (w workload) statefulSet(template corev1.PodTemplateSpec) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: w.meta(),
		Spec: appsv1.StatefulSetSpec{
			Replicas:             w.fixedReplicas(),
			RevisionHistoryLimit: new(int32(historyLimit)),
			Selector:             &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
			MinReadySeconds:      w.delay(),
			ServiceName:          podsName(w.name), // always headless, whether a port is known or not
			PodManagementPolicy:  appsv1.ParallelPodManagement,
			Template:             template,
		},
	}
	if at, ok := w.atOnce(); ok && at.IntVal != 1 {
		s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{
			Type:          appsv1.RollingUpdateStatefulSetStrategyType,
			RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: &at},
		}
	}
	return s
}

func (w workload) daemonSet(template corev1.PodTemplateSpec) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: w.meta(),
		Spec: appsv1.DaemonSetSpec{
			RevisionHistoryLimit: new(int32(historyLimit)),
			Selector:             &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
			MinReadySeconds:      w.delay(),
			Template:             template,
		},
	}
	if u := w.update(); u.Parallelism != nil || u.Order != "" {
		at, ok := w.atOnce()
		if !ok {
			at = intstr.FromInt32(1)
		}
		none := intstr.FromInt32(0)
		rolling := &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &at, MaxSurge: &none}
		if u.Order == "start-first" && w.service.NetworkMode != "host" {
			rolling = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &none, MaxSurge: &at}
		}
		d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: rolling}
	}
	return d
}

// oneShot is a Job. A Job cannot be changed, so its name says what it is: an edit makes a new one.
func (w workload) oneShot(template corev1.PodTemplateSpec) *batchv1.Job {
	meta := w.meta()
	meta.Name = compose.NameWithin(w.name, 52) + "-" + hash10(template)
	count := max(w.replicas(), 1)
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			BackoffLimit: new(w.backoff()),
			Completions:  &count,
			Parallelism:  &count,
			Template:     template,
		},
	}
}

// backoff is how often a Job is tried again: as often as restart says.
func (w workload) backoff() int32 {
	const unlimited = 6 // what Kubernetes does when not told; Compose would try for ever
	if d := w.service.Deploy; d != nil && d.RestartPolicy != nil {
		if d.RestartPolicy.Condition == "none" {
			return 0
		}
		if d.RestartPolicy.MaxAttempts != nil {
			return int32(min(*d.RestartPolicy.MaxAttempts, 1<<20)) //nolint:gosec // bounded
		}
		return unlimited
	}
	policy, limit, _ := strings.Cut(w.service.Restart, ":")
	if policy != types.RestartPolicyOnFailure {
		return 0
	}
	if n, ok := number(limit); ok {
		return n
	}
	return unlimited
}

// budget lets a drain of a node take one pod at a time.
func (w workload) budget() *policyv1.PodDisruptionBudget {
	one := intstr.FromInt32(1)
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: w.builder.meta(w.name, w.service.Name),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &one,
			Selector:       &metav1.LabelSelector{MatchLabels: w.selector(w.name)},
		},
	}
}

// userLabels puts labels: and annotations: of the service on its pods.
func (w workload) userLabels(m *metav1.ObjectMeta) {
	putLabels(m, w.service.Labels)
	for name, value := range w.service.Annotations {
		putAnnotation(m, name, value)
	}
}

// sortedKeys are the keys of a map in order.
func sortedKeys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
