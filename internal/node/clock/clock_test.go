package clock

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/node/kubernetes/apitest"
)

// daily is a CronJob that has started a Job for this time; zero: for none.
func daily(name string, last time.Time) *batchv1.CronJob {
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault}}
	job.Spec.Schedule = "0 3 * * *"
	job.Spec.JobTemplate.Spec.Template.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "job", Image: "job"}},
	}
	if !last.IsZero() {
		job.Status.LastScheduleTime = &metav1.Time{Time: last}
	}
	return job
}

// After a step of the clock every CronJob is looked at again, and none counts on from a time that is to come.
func TestCronJobsFitTheClock(t *testing.T) {
	w := &Watcher{Kubeconfig: apitest.Start(t)}
	if err := w.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	tests := map[string]struct {
		last, want time.Time
		annotated  bool
	}{
		"new":       {annotated: true},
		"yesterday": {last: now.Add(-20 * time.Hour), want: now.Add(-20 * time.Hour), annotated: true},
		"ahead":     {last: now.Add(20 * time.Hour), want: now, annotated: true}, // at the start, and by the step
	}
	jobs := w.client.BatchV1().CronJobs(metav1.NamespaceDefault)
	for name, test := range tests {
		made, err := jobs.Create(t.Context(), daily(name, time.Time{}), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status = daily(name, test.last).Status
		if _, err := jobs.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, stepped := range []bool{false, true} {
		if err := w.correct(t.Context(), now, stepped); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range tests {
		got, err := jobs.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var last time.Time
		if got.Status.LastScheduleTime != nil {
			last = got.Status.LastScheduleTime.Time
		}
		if !last.Equal(test.want) {
			t.Errorf("%s: counts on from %s, want %s", name, last, test.want)
		}
		if annotated := got.Annotations[setAnnotation] == now.UTC().Format(time.RFC3339); annotated != test.annotated {
			t.Errorf("%s: annotations %v", name, got.Annotations)
		}
	}
}

// A clock that nobody sets has no steps: the wait ends with the context. That it ends with a step is seen in test/vm, where
// a clock can be set.
func TestStepsEnd(t *testing.T) {
	t.Parallel()
	s, err := watch()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { _, err := s.next(ctx); ended <- err }()
	cancel()
	if err := <-ended; err == nil {
		t.Error("a step was seen")
	}
}

// What happened before the wait began is not missed.
func TestStepBeforeTheWait(t *testing.T) {
	t.Parallel()
	s, err := watch()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []time.Duration{time.Hour, -time.Hour} {
		s.clock = s.clock.Add(-want)
		step, err := s.next(t.Context())
		if err != nil || (step-want).Abs() > time.Minute {
			t.Errorf("a step of %s, %v; want %s", step, err, want)
		}
	}
}
