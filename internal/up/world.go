package up

import (
	"context"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/render"
)

// targetOn is the target with what its cluster has beyond Kubernetes itself. Perch's own node has nothing that changes objects.
func targetOn(ctx context.Context, o Options, client *kube.Client, project *compose.Project) (render.Target, error) {
	t := target(o, project)
	if t.Embedded {
		return t, nil
	}
	has, err := client.Offers(ctx, t.IngressClass)
	if err != nil {
		return t, err
	}
	t.GatewayAPI, t.ServiceMonitors, t.IngressController = has.GatewayAPI, has.ServiceMonitors, has.IngressController
	return t, nil
}

// targetDry is the same for a plan, which begins without a client.
func targetDry(ctx context.Context, o Options, project *compose.Project) (render.Target, error) {
	if o.Compose.Embedded {
		return target(o, project), nil
	}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return render.Target{}, err
	}
	return targetOn(ctx, o, client, project)
}

// hostURLs are where services answer to the world, by x-perch.host.
func hostURLs(rendered render.Output) []string {
	urls := []string{}
	for _, u := range rendered.Units {
		for _, h := range u.Hosts {
			urls = append(urls, h.URL)
		}
	}
	return urls
}
