package kubernetes

import (
	"context"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

// scheduler is kube-scheduler, as a component.
type scheduler struct {
	always
	files pki.Files
	share func(informers.SharedInformerFactory) error // gets its informers before they are started: others need the same

	options *options.Options
}

// Name is "kube-scheduler".
func (*scheduler) Name() string { return "kube-scheduler" }

// configuration is what the flags of kube-scheduler would set.
func (s *scheduler) configuration() *options.Options {
	o := options.NewOptions()
	o.Master = ""
	o.LeaderElection.LeaderElect = false
	o.SecureServing.BindPort = 0 // as with the controllers
	for flag, value := range map[string]string{
		// These live in a struct that Setup replaces by the defaults, and then by the flags that were given.
		"kubeconfig": s.files.Kubeconfig(pki.Scheduler), "leader-elect": "false", "secure-port": "0", "profiling": "false",
		"kube-api-qps": "500", "kube-api-burst": "1000",
	} {
		for _, set := range o.Flags.FlagSets {
			if set.Lookup(flag) != nil {
				_ = set.Set(flag, value)
			}
		}
	}
	return o
}

// Init computes the configuration.
func (s *scheduler) Init(context.Context) error {
	name, err := cache.NewInformerName(s.Name())
	if err != nil {
		return err
	}
	s.options = s.configuration()
	s.options.InformerName = name
	return nil
}

// Run schedules until ctx ends.
func (s *scheduler) Run(ctx context.Context) error {
	defer s.options.InformerName.Release()
	config, sched, err := app.Setup(ctx, s.options)
	if err != nil {
		return err
	}
	if err := s.share(config.InformerFactory); err != nil {
		return err
	}
	return app.Run(ctx, config, sched)
}
