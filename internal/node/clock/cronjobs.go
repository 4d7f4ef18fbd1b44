package clock

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// setAnnotation on a CronJob says when the clock was last set.
const setAnnotation = "perch.dev/clock-set"

// correction is a change of one CronJob, as a merge patch.
type correction struct {
	namespace, name string
	subresource     []string
	patch           string
}

// correctionOf is what a CronJob needs, if anything, at the start or when the clock has stepped. Its controller has computed how long it will wait for the
// next time, and waits that long, however late it is by then: any change makes it look again. And it counts on from the
// last time that it has started a Job for: when that lies ahead, since the clock was set back, it would start none until
// then.
func correctionOf(job batchv1.CronJob, now time.Time, stepped bool) (c correction, needed bool) {
	c = correction{namespace: job.Namespace, name: job.Name}
	stamp := now.UTC().Format(time.RFC3339)
	if last := job.Status.LastScheduleTime; last != nil && last.After(now.Add(least)) {
		c.subresource = []string{"status"}
		c.patch = fmt.Sprintf(`{"status":{"lastScheduleTime":%q}}`, stamp)
		return c, true
	}
	c.patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, setAnnotation, stamp)
	return c, stepped
}

// correct makes every CronJob fit the clock.
func (w *Watcher) correct(ctx context.Context, now time.Time, stepped bool) error {
	jobs, err := w.client.BatchV1().CronJobs(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("CronJobs: %w", err)
	}
	var errs []error
	for _, job := range jobs.Items {
		c, needed := correctionOf(job, now, stepped)
		if !needed {
			continue
		}
		_, err := w.client.BatchV1().CronJobs(c.namespace).Patch(ctx, c.name, types.MergePatchType, []byte(c.patch), metav1.PatchOptions{FieldManager: "perch-clock"}, c.subresource...)
		if err != nil {
			errs = append(errs, fmt.Errorf("CronJob %s/%s: %w", c.namespace, c.name, err))
		}
	}
	return errors.Join(errs...)
}
