package policy

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"sigs.k8s.io/knftables"
)

const (
	batch      = 10 * time.Millisecond  // how long a change may wait for others to be written with it
	retryFirst = 100 * time.Millisecond // after a table that could not be written; twice as long each time
	retryLast  = 10 * time.Second
)

// Options say which node it is.
type Options struct {
	Table   string         // the nft table, of the family inet; what is in it before is replaced
	PodNets []netip.Prefix // the addresses that pods get
	Parts   []Pod          // parts of the node that policies know as pods
	Runtime string         // the container runtime's socket, CRI
}

// Controller keeps the table as the NetworkPolicies say, as a component. While nothing changes it does nothing; when it ends,
// the table stays and goes on being enforced.
type Controller struct {
	Options

	watching chan struct{} // closed when there are informers
	enforced chan struct{} // closed when the table was written for the first time
	changed  chan struct{}

	pods, namespaces, policies cache.SharedIndexInformer
	learned                    learned

	open    func() (knftables.Interface, error) // runs nft, so it comes when it is needed
	nft     knftables.Interface
	applied *Rules // nil: what is in the table is not known
}

// New makes a Controller, which waits for Watch.
func New(o Options) *Controller {
	return &Controller{
		Options: o, watching: make(chan struct{}), enforced: make(chan struct{}), changed: make(chan struct{}, 1),
		open: func() (knftables.Interface, error) { return knftables.New(knftables.InetFamily, o.Table) },
	}
}

// Name is "network-policies".
func (*Controller) Name() string { return "network-policies" }

// Init has nothing to prepare.
func (*Controller) Init(context.Context) error { return nil }

// Watch tells it the informers, which somebody else starts: the pods and namespaces of a cluster are not kept in memory once
// more for its sake. It is called once.
func (c *Controller) Watch(f informers.SharedInformerFactory) error {
	c.pods = f.Core().V1().Pods().Informer()
	c.namespaces = f.Core().V1().Namespaces().Informer()
	c.policies = f.Networking().V1().NetworkPolicies().Informer()
	for _, w := range []struct {
		informer cache.SharedIndexInformer
		same     func(before, now any) bool
		gone     func(any)
	}{
		{c.pods, func(a, b any) bool { return samePod(a.(*corev1.Pod), b.(*corev1.Pod)) }, c.podGone},
		{c.namespaces, func(a, b any) bool { return labels.Equals(a.(*corev1.Namespace).Labels, b.(*corev1.Namespace).Labels) }, nil},
		{c.policies, func(a, b any) bool {
			return a.(*networkingv1.NetworkPolicy).Generation == b.(*networkingv1.NetworkPolicy).Generation
		}, nil},
	} {
		_, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { c.poke() },
			UpdateFunc: func(before, now any) {
				if !w.same(before, now) {
					c.poke()
				}
			},
			DeleteFunc: func(o any) {
				if w.gone != nil {
					w.gone(o)
				}
				c.poke()
			},
		})
		if err != nil {
			return fmt.Errorf("network policies: %w", err)
		}
	}
	close(c.watching)
	return nil
}

func (c *Controller) podGone(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	if p, ok := o.(*corev1.Pod); ok {
		c.learned.forget(p.UID)
	}
}

// poke says that something changed.
func (c *Controller) poke() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Run enforces until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	select {
	case <-c.watching:
	case <-ctx.Done():
		return nil
	}
	if !cache.WaitFor(ctx, "", c.pods.HasSyncedChecker(), c.namespaces.HasSyncedChecker(), c.policies.HasSyncedChecker()) {
		return nil
	}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return c.followRuntime(ctx) })
	both.Go(func() error {
		c.keep(ctx)
		return nil
	})
	return both.Wait()
}

// Ready waits until the table is as the policies say.
func (c *Controller) Ready(ctx context.Context) error {
	select {
	case <-c.enforced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("writing the nft table %s: %w", c.Table, ctx.Err())
	}
}

// keep writes the table at first, and whenever something changed.
func (c *Controller) keep(ctx context.Context) {
	pause := retryFirst
	for {
		var retry <-chan time.Time
		if err := c.enforce(ctx); err == nil {
			pause = retryFirst
		} else if ctx.Err() == nil { // what was in the table is still in force
			klog.FromContext(ctx).Error(err, "network policies are not in force as they are written")
			retry = time.After(pause)
			pause = min(2*pause, retryLast)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		case <-retry:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(batch):
		}
	}
}

// enforce writes the table if it is not what it should be.
func (c *Controller) enforce(ctx context.Context) error {
	rules := Decide(c.snapshot())
	if c.applied != nil && reflect.DeepEqual(*c.applied, rules) {
		return nil
	}
	if c.nft == nil {
		nft, err := c.open()
		if err != nil {
			return err
		}
		c.nft = nft
	}
	tx := c.nft.NewTransaction()
	write(tx, rules, c.PodNets)
	if err := c.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("nft table %s: %w", c.Table, err)
	}
	if c.applied == nil {
		close(c.enforced)
	}
	c.applied = &rules
	return nil
}
