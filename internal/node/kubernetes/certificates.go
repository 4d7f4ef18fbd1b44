package kubernetes

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// renewEvery is how often certificates are looked at while the node runs. They are renewed months before they end (see package
// pki). No time passes for a process while the machine sleeps: that is seen by package clock.
const renewEvery = 24 * time.Hour

// certificates renews certificates while the node runs, as a component. At a start they were renewed before anything else. The
// API server and the kubelet, and client-go for all clients, take a changed file by themselves.
type certificates struct {
	always
	config Config
	ticks  <-chan time.Time
	set    <-chan time.Time // the clock says something else now
}

// Name is "certificates".
func (*certificates) Name() string { return "certificates" }

// Run renews until ctx ends. What fails is tried again the next time: the certificates of now still serve.
func (c *certificates) Run(ctx context.Context) error {
	for {
		var now time.Time
		select {
		case now = <-c.ticks:
		case now = <-c.set:
		case <-ctx.Done():
			return nil
		}
		if _, err := pki.Ensure(string(pkiFiles(c.config.Dir)), c.config.pkiRequest(now)); err != nil {
			klog.FromContext(ctx).Error(err, "certificates are not renewed")
		}
	}
}
