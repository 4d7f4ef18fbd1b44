package render_test

import (
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
	level := func(spec corev1.PodSpec) (string, string) {
		reasons := ""
		for _, l := range []api.Level{api.LevelRestricted, api.LevelBaseline} {
			result := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: l, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, &spec))
			if result.Allowed {
				return string(l), reasons
			}
			reasons = result.ForbiddenDetail()
		}
		return string(api.LevelPrivileged), reasons
	}
	got, why := map[string]string{}, map[string]string{}
	weaker := func(path string, spec corev1.PodSpec) {
		l, reason := level(spec)
		if rank(l) > rank(got[path]) {
			got[path], why[path] = l, reason
		}
	}
	for _, u := range out.Units {
		path := "services." + u.Service
		for _, o := range u.Objects {
			if spec := podOf(o); spec != nil {
				if _, cron := o.(*batchv1.CronJob); cron {
					path = "jobs." + u.Service
				}
				weaker(path, *spec)
			}
		}
		for _, m := range u.Migrations {
			weaker(path, m.Spec.Template.Spec)
		}
	}
	for name, job := range out.Jobs {
		weaker("jobs."+name, job.Spec.Template.Spec)
	}
	noted := map[string]string{}
	for _, n := range out.Notes {
		text, ok := strings.CutPrefix(n.Text, "Pod security is ")
		if !ok {
			continue
		}
		l, _, _ := strings.Cut(text, ":")
		for path := range got {
			about := n.Path
			for name := range project.Project.Services {
				if strings.HasPrefix(about, "services."+name+".") {
					about = "services." + compose.PodOf(project.Project, name) + "."
				}
			}
			if strings.HasPrefix(about, path+".") && rank(l) > rank(noted[path]) {
				noted[path] = l
			}
		}
	}
	for path, l := range got {
		if rank(l) > 1 && l != noted[path] || rank(l) <= 1 && noted[path] != "" {
			t.Errorf("%s has the level %q (%s), and the notes say %q", path, l, why[path], noted[path])
		}
	}
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
