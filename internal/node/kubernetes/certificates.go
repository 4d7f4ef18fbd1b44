package kubernetes

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// renewEvery is how often certificates are looked at while the node runs. They are renewed months before they end (see package
// pki), so a machine that sleeps most of the time, when no clock of a process runs, does not miss it.
const renewEvery = 24 * time.Hour

// certificates renews certificates while the node runs, as a component. At a start they were renewed before anything else. The
// API server and the kubelet, and client-go for all clients, take a changed file by themselves.
type certificates struct {
	always
	config Config
	ticks  <-chan time.Time
}

// Name is "certificates".
func (*certificates) Name() string { return "certificates" }

// Run renews until ctx ends. What fails is tried again the next time: the certificates of now still serve.
func (c *certificates) Run(ctx context.Context) error {
	for {
		select {
		case now := <-c.ticks:
			if _, err := pki.Ensure(string(pkiFiles(c.config.Dir)), c.config.pkiRequest(now)); err != nil {
				klog.FromContext(ctx).Error(err, "certificates are not renewed")
			}
		case <-ctx.Done():
			return nil
		}
	}
}
