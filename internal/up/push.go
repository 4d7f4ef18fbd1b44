package up

import (
	"context"

	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// push builds for a registry. The node is started where its builder is needed, and goes on as it was where it is not.
func (o Options) push(ctx context.Context, options image.Options, r progress.Reporter) (map[string]image.Image, error) {
	if len(options.Services) == 0 {
		return map[string]image.Image{}, nil
	}
	if len(options.Registry.Platforms) == 0 && !o.Compose.Embedded {
		client, err := kube.Load(o.Kube)
		if err != nil {
			return nil, err
		}
		if options.Registry.Platforms, err = client.Platforms(ctx); err != nil {
			return nil, err
		}
	}
	started := false
	s := store(o)
	s.Start = func(ctx context.Context) error {
		started = true
		return o.Node.StartStore(ctx, r)
	}
	images, err := image.Resolve(ctx, options, s, r)
	if err == nil && started {
		err = o.Node.Start(ctx, r)
	}
	return images, err
}
