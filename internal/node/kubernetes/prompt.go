package kubernetes

import (
	"fmt"
	"time"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/features"
)

// jobBatch is how long the Job controller collects changes before it looks at a Job. Upstream it is a second, which spares
// big clusters requests; here it is most of what a migration takes.
const jobBatch = 50 * time.Millisecond

// prompt makes one node's Kubernetes tell of things when they happen: that a container has begun or ended is known by the
// runtime's events (EventedPLEG, which since 1.37 only asks the kubelet to look at once), not at the kubelet's next look,
// up to a second later; and the Job controller takes note of it without waiting for more.
func prompt() error {
	job.SyncJobBatchPeriod = jobBatch
	if err := utilfeature.DefaultMutableFeatureGate.Set(string(features.EventedPLEG) + "=true"); err != nil {
		return fmt.Errorf("feature gates: %w", err)
	}
	return nil
}
