package render_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

// checkLevels asks the Pod Security admission's own rules: a note names what makes a pod weaker than restricted exactly when
// something does, and says the level that it has.
func checkLevels(t *testing.T, project *compose.Project, out render.Output) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, why := map[string]string{}, map[string]string{}
	for path, specs := range podsByPath(out) {
		for _, spec := range specs {
			if l, reason := levelOf(evaluator, spec); rank(l) > rank(got[path]) {
				got[path], why[path] = l, reason
			}
		}
	}
	most := slices.ContainsFunc(slices.Collect(maps.Values(got)), func(l string) bool { return l == string(api.LevelPrivileged) })
	if most != (len(out.Privileged) > 0) {
		t.Errorf("a pod is privileged: %t; the keys that ask for it: %v", most, out.Privileged)
	}
	noted := notedLevels(project, out.Notes)
	for path, l := range got {
		if rank(l) > 1 && l != noted[path] || rank(l) <= 1 && noted[path] != "" {
			t.Errorf("%s has the level %q (%s), and the notes say %q", path, l, why[path], noted[path])
		}
	}
}

// levelOf is the strictest level that a pod has, and what keeps it from the next one.
func levelOf(evaluator policy.Evaluator, spec corev1.PodSpec) (level, reason string) {
	for _, l := range []api.Level{api.LevelRestricted, api.LevelBaseline} {
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: l, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, &spec))
		if result.Allowed {
			return string(l), reason
		}
		reason = result.ForbiddenDetail()
	}
	return string(api.LevelPrivileged), reason
}

// podsByPath are all pods by services.NAME and jobs.NAME.
func podsByPath(out render.Output) map[string][]corev1.PodSpec {
	all := map[string][]corev1.PodSpec{}
	for _, u := range out.Units {
		for _, o := range u.Objects {
			path := "services." + u.Service
			if _, cron := o.(*batchv1.CronJob); cron {
				path = "jobs." + u.Service
			}
			if spec := podOf(o); spec != nil {
				all[path] = append(all[path], *spec)
			}
		}
		for _, m := range u.Migrations {
			all["services."+u.Service] = append(all["services."+u.Service], m.Spec.Template.Spec)
		}
	}
	for name, job := range out.Jobs {
		all["jobs."+name] = append(all["jobs."+name], job.Spec.Template.Spec)
	}
	return all
}

// notedLevels are the weakest levels that notes tell of, by services.NAME (that whose pod it is) and jobs.NAME.
func notedLevels(project *compose.Project, notes []render.Note) map[string]string {
	noted := map[string]string{}
	for _, n := range notes {
		text, ok := strings.CutPrefix(n.Text, "Pod security is ")
		if !ok {
			continue
		}
		l, _, _ := strings.Cut(text, ":")
		kind, rest, _ := strings.Cut(n.Path, ".")
		name, _, _ := strings.Cut(rest, ".")
		if kind == "services" {
			name = compose.PodOf(project.Project, name)
		}
		if path := kind + "." + name; rank(l) > rank(noted[path]) {
			noted[path] = l
		}
	}
	return noted
}

func rank(level string) int {
	return slices.Index([]string{"", "restricted", "baseline", "privileged"}, level)
}

func podOf(o runtime.Object) *corev1.PodSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template.Spec
	case *appsv1.StatefulSet:
		return &o.Spec.Template.Spec
	case *appsv1.DaemonSet:
		return &o.Spec.Template.Spec
	case *batchv1.Job:
		return &o.Spec.Template.Spec
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template.Spec
	}
	return nil
}
