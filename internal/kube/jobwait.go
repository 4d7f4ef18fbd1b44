package kube

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/perch-k8s/perch/internal/fault"
)

// errJobGone is the cause of a wait that ends because somebody deleted the Job.
var errJobGone = errors.New("it was deleted")

// WaitEnded waits until the Job has ended, well or not, and gives the exit code of the container that decided: 0 when it is
// complete. It is 1 when no container tells.
func (c *Client) WaitEnded(ctx context.Context, job *batchv1.Job) (exit int, err error) {
	jobs := c.Interface.BatchV1().Jobs(job.Namespace)
	var last *batchv1.Job
	err = waitUntil(ctx, jobSource(jobs, job.Name), func(found []*batchv1.Job) bool {
		last = nil
		if len(found) > 0 && found[0].UID == job.UID {
			last = found[0]
		}
		return last == nil || StateOf(last) != JobRunning
	})
	switch {
	case err != nil:
		return -1, c.Explain(fmt.Errorf("job %s: %w", job.Name, err))
	case last == nil:
		return -1, fault.New(fault.Other, "", "job %s: %w", job.Name, errJobGone)
	case StateOf(last) == JobComplete:
		return 0, nil
	}
	pods, err := c.Interface.CoreV1().Pods(job.Namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job.Name})
	if err != nil {
		return -1, c.Explain(fmt.Errorf("job %s: %w", job.Name, err))
	}
	for i := range pods.Items {
		for _, cs := range containers(&pods.Items[i]) {
			if end := cs.State.Terminated; end != nil && end.ExitCode != 0 {
				return int(end.ExitCode), nil
			}
		}
	}
	return 1, nil
}
