package kube

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const enforceLabel = "pod-security.kubernetes.io/enforce"

func podWith(edit func(*corev1.PodSpec)) corev1.PodSpec {
	s := corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none"}}}
	edit(&s)
	return s
}

func privileged(s *corev1.PodSpec) {
	s.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
}

func TestSecurityOf(t *testing.T) {
	t.Parallel()
	plain := func(*corev1.PodSpec) {}
	hostPath := func(s *corev1.PodSpec) {
		s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv"}}}}
	}
	template := func(edit func(*corev1.PodSpec)) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{Spec: podWith(edit)}
	}
	for name, tt := range map[string]struct {
		objects []runtime.Object
		want    Security
	}{
		"nothing":      {nil, Security{}},
		"no workloads": {[]runtime.Object{&corev1.Service{}, &corev1.ConfigMap{}}, Security{}},
		"plain pods": {[]runtime.Object{
			&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template(plain)}}, &batchv1.Job{Spec: batchv1.JobSpec{Template: template(plain)}},
		}, Security{}},
		"one of two": {[]runtime.Object{
			&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template(plain)}}, &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: template(privileged)}},
		}, Security{Privileged: true, Because: "privileged"}},
		"a schedule": {[]runtime.Object{&batchv1.CronJob{Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{
			Spec: batchv1.JobSpec{Template: template(hostPath)},
		}}}}, Security{Privileged: true, Because: "hostPath volumes"}},
		"each reason once": {[]runtime.Object{
			&appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: template(hostPath)}}, &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template(hostPath)}},
		}, Security{Privileged: true, Because: "hostPath volumes"}},
	} {
		got, err := SecurityOf(tt.objects)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestOwnSecurity(t *testing.T) {
	t.Parallel()
	namespace := func(labels, annotations map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: labels, Annotations: annotations}}
	}
	mine := map[string]string{ProjectLabel: "n"}
	with := func(level string) map[string]string { return map[string]string{ProjectLabel: "n", enforceLabel: level} }
	noted := func(text string) map[string]string { return map[string]string{SecurityAnnotation: text} }
	for name, tt := range map[string]struct {
		n         *corev1.Namespace
		want      Security
		set, mine bool
	}{
		"as it is made":                     {ProjectNamespace("n", Security{}), Security{}, true, true},
		"made for more":                     {ProjectNamespace("n", Security{Privileged: true, Because: "services.a.b"}), Security{Privileged: true, Because: "services.a.b"}, true, true},
		"of an earlier Perch":               {namespace(mine, nil), Security{}, false, true},
		"somebody else's":                   {namespace(nil, nil), Security{}, false, false},
		"somebody else's, with a level":     {namespace(map[string]string{enforceLabel: "baseline"}, noted("baseline")), Security{}, true, false},
		"with a level that the user set":    {namespace(with("privileged"), nil), Security{Privileged: true}, true, false},
		"with a level that the user raised": {namespace(with("restricted"), noted("baseline")), Security{}, true, false},
		"with a level that the user freed":  {namespace(with("privileged"), noted("baseline")), Security{Privileged: true}, true, false},
	} {
		got, set, own := OwnSecurity(tt.n)
		if got != tt.want || set != tt.set || own != tt.mine {
			t.Errorf("a namespace %s: %+v, set %t, ours %t", name, got, set, own)
		}
	}
}

// TestNamespaceEnforces asks a real API server for pods.
func TestNamespaceEnforces(t *testing.T) {
	t.Parallel()
	c := connect(t, "secured")
	ctx := t.Context()
	ensure := func(n *corev1.Namespace, want string) {
		t.Helper()
		changed, err := c.EnsureNamespace(ctx, n)
		if err != nil || changed != want {
			t.Errorf("changed %q, %v; wanted %q", changed, err, want)
		}
	}
	admits := func(namespace string) bool {
		t.Helper()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: podWith(privileged)}
		pod.Spec.AutomountServiceAccountToken = new(false)
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := c.Interface.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		_, err := c.Interface.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && !strings.Contains(err.Error(), "violates PodSecurity") {
			t.Fatal(err)
		}
		return err == nil
	}
	more := Security{Privileged: true, Because: "services.web.privileged"}
	ensure(ProjectNamespace("guarded", Security{}), "created")
	if admits("guarded") {
		t.Error("a privileged pod is let in")
	}
	ensure(ProjectNamespace("guarded", Security{}), "")
	ensure(ProjectNamespace("guarded", more), "Pod Security is privileged for services.web.privileged")
	if !admits("guarded") {
		t.Error("a privileged pod is not let in")
	}
	ensure(ProjectNamespace("guarded", Security{}), "") // another part of the project may need it
	if err := c.SetSecurity(ctx, "guarded", Security{}); err != nil || admits("guarded") {
		t.Errorf("a privileged pod is let in again: %v", err)
	}
	ensure(ProjectNamespace("open", more), "created; Pod Security is privileged for services.web.privileged")
	ensure(ProjectNamespace("secured", more), "") // it is not Perch's: it was made above without its label
	n, err := c.Interface.CoreV1().Namespaces().Get(ctx, "secured", metav1.GetOptions{})
	if err != nil || n.Labels[enforceLabel] != "" {
		t.Errorf("labels %v, %v", n.Labels, err)
	}
}
