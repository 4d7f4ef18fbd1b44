// Package clock notices that the machine's clock was set, or that it stands ahead since the machine slept, and puts right
// what Kubernetes does not put right by itself: CronJobs. Others who mind, as the certificates do, are told. It starts nothing,
// and sets no clock.
//
// Most of Kubernetes measures by the time that passes for a process, which no clock changes and which stands still while
// the machine sleeps: leases, time limits and back-offs need nothing.
package clock

import (
	"context"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// least is the smallest step that counts. Clocks are put right by less all the time.
const least = 30 * time.Second

// Watcher watches the clock, as a component.
type Watcher struct {
	Kubeconfig string
	Set        chan<- time.Time // gets what the clock says after each of its steps

	client kubernetes.Interface
	steps  *steps
}

// Name is "clock".
func (*Watcher) Name() string { return "clock" }

// Init makes the client, and begins to watch.
func (w *Watcher) Init(context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", w.Kubeconfig)
	if err != nil {
		return err
	}
	if w.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	w.steps, err = watch()
	return err
}

// Ready is at once.
func (*Watcher) Ready(context.Context) error { return nil }

// Run puts right what the clock left wrong, at first and after each of its steps, until ctx ends. What fails is logged: the
// rest of Kubernetes runs on.
func (w *Watcher) Run(ctx context.Context) error {
	log := klog.FromContext(ctx)
	if err := w.correct(ctx, time.Now(), false); err != nil && ctx.Err() == nil { // it may have been set while nothing ran
		log.Error(err, "not everything was put right")
	}
	for {
		step, err := w.steps.next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		log.Info("the clock was set, or the machine slept", "by", step)
		now := time.Now()
		select {
		case w.Set <- now:
		case <-ctx.Done():
			return nil
		}
		if err := w.correct(ctx, now, true); err != nil {
			log.Error(err, "not everything was put right")
		}
	}
}
