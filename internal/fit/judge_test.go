package fit

import (
	"os"
	"strings"
	"testing"

	cmpdiff "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// web is a Deployment of two pods that ask for 100m and 64Mi.
func web(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec: appsv1.DeploymentSpec{Replicas: new(int32(2)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "web:1", Resources: corev1.ResourceRequirements{Requests: list("cpu", "100m", "memory", "64Mi")},
		}}}}},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

func podOf(change func(*corev1.PodSpec)) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { change(&d.Spec.Template.Spec) }
}

// list is pairs of a name and a quantity.
func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func data(class *string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}, ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: class, Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "2Gi")}},
	}
}

func entry(class *string, secret string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}, ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: networkingv1.IngressSpec{IngressClassName: class, TLS: []networkingv1.IngressTLS{{SecretName: secret}}},
	}
}

func balanced() *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
}

func scaler() *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: []autoscalingv2.MetricSpec{
			{Type: autoscalingv2.ResourceMetricSourceType}, {Type: autoscalingv2.PodsMetricSourceType},
		}},
	}
}

func role() *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: metav1.ObjectMeta{Name: "robot"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"endpoints"}, Verbs: []string{"watch"}}},
	}
}

func node(arch string, change ...func(*corev1.Node)) corev1.Node {
	n := corev1.Node{Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: arch}}}
	for _, c := range change {
		c(&n)
	}
	return n
}

func quota(hard, used corev1.ResourceList) []corev1.ResourceQuota {
	return []corev1.ResourceQuota{{
		ObjectMeta: metav1.ObjectMeta{Name: "team", Namespace: "shop"}, Status: corev1.ResourceQuotaStatus{Hard: hard, Used: used},
	}}
}

// good is a cluster on which all is well.
func good(change ...func(*Seen)) Seen {
	s := Seen{
		version: version.Info{Major: "1", Minor: "36", GitVersion: "v1.36.1"}, namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		kinds: map[schema.GroupVersionKind]bool{
			{Group: "apps", Version: "v1", Kind: "Deployment"}: true, {Version: "v1", Kind: "Service"}: true,
			{Version: "v1", Kind: "PersistentVolumeClaim"}: true, {Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}: true,
		},
		storage: []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "standard", Annotations: map[string]string{defaultStorage: "true"}}}},
		ingress: []networkingv1.IngressClass{{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}}},
		nodes:   []corev1.Node{node("amd64"), node("amd64")}, claims: map[string]bool{}, names: map[nameUse]presence{},
		priority: map[string]bool{"high": true, "system-node-critical": true}, quotas: []corev1.ResourceQuota{}, ranges: []corev1.LimitRange{},
		balancers: balance{known: true, given: true}, denied: map[right]bool{},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func TestJudge(t *testing.T) {
	t.Parallel()
	amd := map[string][]string{"web:1": {"linux/amd64"}}
	level := func(l string) func(*Seen) {
		return func(s *Seen) { s.namespace.Labels = map[string]string{"pod-security.kubernetes.io/enforce": l} }
	}
	cases := []struct {
		name    string
		objects []runtime.Object
		wanted  func(*Wanted)
		seen    Seen
		want    string // "LEVEL  WHAT: WHY" a line
	}{
		{"all is well", []runtime.Object{web(), data(nil), entry(new("nginx"), ""), balanced()}, nil, good(), ""},
		{"a verb is missing", []runtime.Object{web()}, nil, good(func(s *Seen) { s.denied[right{"delete", "apps", "deployments"}] = true }), `
missing  permission to delete deployments.apps in namespace shop: it is an object of a release`},
		{"what can be done without", []runtime.Object{web()}, nil, good(func(s *Seen) { s.denied[right{"list", "", "events"}] = true }), `
risky    permission to list events in namespace shop: the cause of a rollout that fails may not be told`},
		{"no namespace", []runtime.Object{web()}, nil, good(func(s *Seen) {
			s.namespace, s.absent, s.denied = nil, true, map[right]bool{{"create", "", "namespaces"}: true}
		}), `
missing  permission to create namespaces: namespace shop is not there`},
		{"a namespace that is not there, or not ours", []runtime.Object{web()}, nil, good(func(s *Seen) {
			s.namespace = nil
			for one := range essentials(rightsFor([]kindUse{{kind: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}}})) {
				s.denied[one] = true
			}
		}), `
missing  permission to do anything in namespace shop: it is not there, or is somebody else's
unknown  Pod Security of namespace shop: this account may not look at the namespace`},
		{"nothing may be looked at", []runtime.Object{web(), data(nil), entry(nil, ""), balanced()}, func(w *Wanted) { w.Platforms = amd }, Seen{
			version: version.Info{Major: "1", Minor: "36"}, denied: map[right]bool{},
		}, `
unknown  Pod Security of namespace shop: this account may not look at the namespace
unknown  architecture of the nodes: this account may not list nodes
unknown  ingress class (default): this account may not list ingress classes; ingress web needs it
unknown  load balancer: service web asks for one, and nothing shows that Services of this type get an address here
unknown  storage class (default): this account may not list storage classes; persistentvolumeclaim data needs it`},
		{"an old server", []runtime.Object{web(podOf(func(p *corev1.PodSpec) {
			p.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}}
			p.InitContainers = []corev1.Container{{Name: "fill"}, {Name: "beside", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
		}))}, nil, good(func(s *Seen) { s.version = version.Info{Major: "1", Minor: "29+", GitVersion: "v1.29.3-gke.1"} }), `
missing  field containers[].lifecycle.preStop.sleep, of Kubernetes 1.30: deployment web has it, and the server is v1.29.3-gke.1, which leaves it out or refuses it`},
		{"the same server, and nothing that it does not know", []runtime.Object{web()}, nil, good(func(s *Seen) { s.version.Minor = "29" }), ""},
		{"a very old server", []runtime.Object{web()}, nil, good(func(s *Seen) { s.version = version.Info{Major: "1", Minor: "20", GitVersion: "v1.20.0"} }), `
missing  Kubernetes 1.25: the server is v1.20.0, which Perch does not work with`},
		{"one version ahead", []runtime.Object{web()}, nil, good(func(s *Seen) { s.version.Minor = "38" }), ""},
		{"a server of the future", []runtime.Object{web()}, nil, good(func(s *Seen) { s.version = version.Info{Major: "1", Minor: "39", GitVersion: "v1.39.0"} }), `
risky    Kubernetes v1.39.0: Perch was made for 1.37, and knows nothing of what came later`},
		{"a field behind a gate", []runtime.Object{web(podOf(func(p *corev1.PodSpec) {
			p.Containers[0].Lifecycle = &corev1.Lifecycle{StopSignal: new(corev1.SIGQUIT)}
		}))}, nil, good(), `
risky    field containers[].lifecycle.stopSignal: deployment web has it, and Kubernetes leaves it out as it comes: it is behind a feature gate`},
		{"a kind that is not there", []runtime.Object{web()}, func(w *Wanted) { w.Issuer = "letsencrypt" }, good(func(s *Seen) { s.issuer = isAbsent }), `
missing  issuer letsencrypt: certificates are to come from it, and it is not there
missing  kind Certificate of cert-manager.io/v1: issuer letsencrypt is of it, and the API server has it not`},
		{"a kind whose server is down", []runtime.Object{web()}, func(w *Wanted) { w.Issuer = "letsencrypt" }, good(func(s *Seen) { s.unsure = []string{"cert-manager.io/v1"} }), `
unknown  kind Certificate of cert-manager.io/v1: the server of this API does not answer`},
		{"nobody measures", []runtime.Object{scaler()}, nil, good(func(s *Seen) {
			s.kinds[schema.GroupVersionKind{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}] = true
			s.kinds[schema.GroupVersionKind{Group: "custom.metrics.k8s.io", Version: "v1beta2", Kind: "MetricValueList"}] = true
		}), `
risky    API group metrics.k8s.io: horizontalpodautoscaler web scales by it, and will not without`},
		{"a role that gives what the account has not", []runtime.Object{role()}, nil, good(func(s *Seen) {
			s.kinds[schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}] = true
			s.denied[right{"delete", "", "pods"}], s.denied[right{"watch", "", "endpoints"}] = true, true
		}), `
missing  permission to delete pods in namespace shop: pods are waited for, and those that a failed rollout left are removed
missing  permission to watch endpoints in namespace shop: role robot gives it, and nobody may give what they have not`},
		{"no gateway", []runtime.Object{web()}, func(w *Wanted) { w.Gateway = "infra/public" }, good(func(s *Seen) { s.gateway = isAbsent }), `
missing  gateway infra/public: routes go through it, and it is not there`},
		{"a storage class that is not there", []runtime.Object{data(new("fast"))}, nil, good(), `
missing  storage class fast: persistentvolumeclaim data asks for it; there are standard`},
		{"a volume that is there needs no class", []runtime.Object{data(new("fast"))}, nil, good(func(s *Seen) { s.claims["data"] = true }), ""},
		{"no default storage class", []runtime.Object{data(nil)}, nil, good(func(s *Seen) { s.storage[0].Annotations = nil }), `
missing  a default storage class: persistentvolumeclaim data names none; there are standard, and none is the default`},
		{"no storage class at all", []runtime.Object{data(nil)}, nil, good(func(s *Seen) { s.storage = []storagev1.StorageClass{} }), `
missing  a default storage class: persistentvolumeclaim data names none; there is none, and none is the default`},
		{"an ingress class that is not there", []runtime.Object{entry(new("traefik"), "")}, nil, good(), `
missing  ingress class traefik: ingress web asks for it; there are nginx`},
		{"no default ingress class", []runtime.Object{entry(nil, "")}, nil, good(), `
missing  a default ingress class: ingress web names none; there are nginx, and none is the default`},
		{"nobody gives load balancers an address", []runtime.Object{balanced()}, nil, good(func(s *Seen) { s.balancers = balance{known: true, waiting: true} }), `
risky    load balancer: service web asks for one, and others that do have no address`},
		{"a cloud does", []runtime.Object{balanced()}, nil, good(func(s *Seen) {
			s.balancers, s.nodes[0].Spec.ProviderID = balance{known: true}, "aws:///eu-west-1a/i-0"
		}), ""},
		{"names that nobody makes", []runtime.Object{entry(new("nginx"), "web-tls"), web(podOf(func(p *corev1.PodSpec) {
			p.ServiceAccountName, p.PriorityClassName = "robot", "highest"
			p.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "database"}}}}
		}))}, nil, good(func(s *Seen) {
			s.names = map[nameUse]presence{
				{"secrets", "web-tls", "ingress web"}: isAbsent, {"secrets", "database", "deployment web"}: isAbsent, {"serviceaccounts", "robot", "deployment web"}: notSeen,
			}
		}), `
missing  priority class highest: deployment web asks for it; there are high
missing  secret database: deployment web needs it, and it is not in namespace shop
missing  secret web-tls: ingress web needs it, and it is not in namespace shop`},
		{"nodes of another architecture", []runtime.Object{web()}, func(w *Wanted) { w.Platforms = amd }, good(func(s *Seen) { s.nodes = []corev1.Node{node("arm64")} }), `
missing  a node for image web:1: it is for linux/amd64, and the nodes that deployment web may run on are linux/arm64`},
		{"some nodes of another architecture", []runtime.Object{web()}, func(w *Wanted) { w.Platforms = amd }, good(func(s *Seen) { s.nodes = append(s.nodes, node("arm64")) }), `
risky    image web:1: it is for linux/amd64, and 1 of the 3 nodes that deployment web may run on are linux/arm64`},
		{"an image for both, and a variant", []runtime.Object{web()}, func(w *Wanted) {
			w.Platforms = map[string][]string{"web:1": {"linux/amd64", "linux/arm64/v8"}}
		}, good(func(s *Seen) { s.nodes = append(s.nodes, node("arm64")) }), ""},
		{"nodes of another architecture that take no pods", []runtime.Object{web()}, func(w *Wanted) { w.Platforms = amd }, good(func(s *Seen) {
			s.nodes = append(s.nodes, node("arm64", func(n *corev1.Node) {
				n.Spec.Taints = []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}}
			}), node("arm64", func(n *corev1.Node) { n.Spec.Unschedulable = true }))
		}), ""},
		{"no node has the label", []runtime.Object{web(podOf(func(p *corev1.PodSpec) { p.NodeSelector = map[string]string{"disk": "ssd"} }))}, nil, good(), `
risky    a node for deployment web: none of 2 has the labels that it asks for`},
		{"Pod Security restricted", []runtime.Object{web(podOf(func(p *corev1.PodSpec) { p.HostNetwork = true }))}, nil, good(level("baseline")), `
missing  Pod Security for deployment web: namespace shop enforces baseline: host namespaces (hostNetwork=true)`},
		{"Pod Security that lets it in", []runtime.Object{web(podOf(func(p *corev1.PodSpec) { p.HostNetwork = true }))}, nil, good(level("privileged")), ""},
		{"Pod Security that Perch may change", []runtime.Object{web(podOf(func(p *corev1.PodSpec) { p.HostNetwork = true }))}, nil, good(func(s *Seen) {
			s.namespace = kube.ProjectNamespace("shop", kube.Security{})
		}), ""},
		{"Pod Security that it may not", []runtime.Object{web(podOf(func(p *corev1.PodSpec) { p.HostNetwork = true }))}, nil, good(func(s *Seen) {
			s.namespace, s.denied = kube.ProjectNamespace("shop", kube.Security{}), map[right]bool{{"patch", "", "namespaces"}: true}
		}), `
missing  Pod Security for deployment web: namespace shop enforces baseline: host namespaces (hostNetwork=true)`},
		{"too much for the quota", []runtime.Object{web(), data(nil)}, nil, good(func(s *Seen) {
			s.quotas = quota(list("cpu", "1", "pods", "3", "requests.storage", "1Gi"), list("cpu", "900m", "pods", "1", "requests.storage", "0"))
		}), `
missing  quota team: cpu: the project adds 200m to the 900m that are used, and 1 is the limit
missing  quota team: requests.storage: the project adds 2Gi to the 0 that are used, and 1Gi is the limit`},
		{"enough, but not while it rolls", []runtime.Object{web()}, nil, good(func(s *Seen) {
			s.quotas, s.live = quota(list("pods", "2"), list("pods", "2")), []kube.Workload{{Object: web()}}
		}), `
risky    quota team: pods: while services roll, up to 1 come to the 2 that are used, and 2 is the limit`},
		{"a quota that is full of what nobody reckons", []runtime.Object{web()}, nil, good(func(s *Seen) { s.quotas = quota(list("secrets", "10"), list("secrets", "10")) }), `
risky    quota team: secrets: all 10 are used`},
		{"a quota for what is not said", []runtime.Object{web()}, nil, good(func(s *Seen) { s.quotas = quota(list("limits.memory", "1Gi"), list("limits.memory", "0")) }), `
missing  limits.memory of deployment web: quota team has a limit for it, so that a pod must say how much it wants, and container web does not`},
		{"and defaults for it", []runtime.Object{web()}, nil, good(func(s *Seen) {
			s.quotas = quota(list("limits.memory", "1Gi"), list("limits.memory", "0"))
			s.ranges = []corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: list("memory", "128Mi")}}}}}
		}), ""},
		{"a limit range", []runtime.Object{web(), data(nil)}, nil, good(func(s *Seen) {
			s.ranges = []corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
				{Type: corev1.LimitTypeContainer, Min: list("cpu", "200m"), Max: list("memory", "32Mi")},
				{Type: corev1.LimitTypePersistentVolumeClaim, Max: list("storage", "1Gi")},
			}}}}
		}), `
missing  request of cpu for deployment web, container web: it is 100m, and the namespace's limit range has 200m as the least
missing  request of memory for deployment web, container web: it is 64Mi, and the namespace's limit range has 32Mi as the most
missing  size of storage for persistentvolumeclaim data: it is 2Gi, and the namespace's limit range has 1Gi as the most`},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			w := Wanted{Project: "shop", Namespace: "shop", Objects: k.objects}
			if k.wanted != nil {
				k.wanted(&w)
			}
			n, err := Of(w)
			if err != nil {
				t.Fatal(err)
			}
			found := Judge(n, k.seen)
			if diff := cmpdiff.Diff(strings.TrimPrefix(k.want, "\n"), strings.TrimSuffix(found.String(), "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, f := range found {
				if f.Level == Missing && f.Hint == "" {
					t.Errorf("no way out of %s", f.What)
				}
			}
		})
	}
}

// TestErr is all that is missing as one error, with the hint of each once.
func TestErr(t *testing.T) {
	t.Parallel()
	n, err := Of(Wanted{Project: "shop", Namespace: "shop", Objects: []runtime.Object{web(), data(new("fast"))}})
	if err != nil {
		t.Fatal(err)
	}
	err = Judge(n, good(func(s *Seen) {
		s.user = "system:serviceaccount:ci:robot"
		s.denied = map[right]bool{{"patch", "apps", "deployments"}: true, {"create", "", "secrets"}: true, {"list", "", "events"}: true}
	})).Err()
	const want = `the cluster lacks what the project needs; nothing was changed:
  permission to create secrets in namespace shop: each revision of a release is a Secret
  permission to patch deployments.apps in namespace shop: it is an object of a release
  storage class fast: persistentvolumeclaim data asks for it; there are standard`
	if err == nil || err.Error() != want || fault.KindOf(err) != fault.Other {
		t.Errorf("error\n%v\nwanted\n%s", err, want)
	}
	hint := fault.HintOf(err)
	if strings.Count(hint, "kind: RoleBinding") != 1 || !strings.Contains(hint, "{kind: ServiceAccount, name: robot, namespace: ci}") || !strings.Contains(hint, "storage_class of the target") {
		t.Errorf("hint\n%s", hint)
	}
	if err := Judge(n, good(func(s *Seen) { s.storage[0].Name = "fast" })).Err(); err != nil {
		t.Errorf("nothing is missing, and the error is %v", err)
	}
}

func TestGranted(t *testing.T) {
	t.Parallel()
	rule := func(verbs, groups, resources string, names ...string) authorizationv1.ResourceRule {
		return authorizationv1.ResourceRule{Verbs: strings.Fields(verbs), APIGroups: strings.Split(groups, ","), Resources: strings.Fields(resources), ResourceNames: names}
	}
	log, namespace := right{"get", "", "pods/log"}, right{"get", "", "namespaces"}
	cases := []struct {
		name string
		rule authorizationv1.ResourceRule
		of   right
		want bool
	}{
		{"as it is", rule("get list", "", "pods pods/log"), log, true},
		{"another verb", rule("list", "", "pods/log"), log, false},
		{"another group", rule("get", "apps", "pods/log"), log, false},
		{"a resource does not give what is under it", rule("get", "", "pods"), log, false},
		{"all that is under any", rule("get", "", "*/log"), log, true},
		{"everything", rule("*", "*", "*"), log, true},
		{"some by name", rule("get", "", "pods/log", "one"), log, false},
		{"the namespace by name", rule("get", "", "namespaces", "shop"), namespace, true},
		{"another namespace by name", rule("get", "", "namespaces", "other"), namespace, false},
	}
	for _, k := range cases {
		if got := granted([]authorizationv1.ResourceRule{k.rule}, k.of, "shop"); got != k.want {
			t.Errorf("%s: %v", k.name, got)
		}
	}
}

// TestOwnVersion holds the version that is compared with to the libraries.
func TestOwnVersion(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "k8s.io/client-go => k8s.io/client-go v0.37.") || ownMinor != 37 {
		t.Errorf("client-go is of another version than 1.%d: look at the features of the new one too", ownMinor)
	}
}
