package up

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node"
	"github.com/perch-k8s/perch/internal/node/publisher"
	"github.com/perch-k8s/perch/internal/render"
)

const (
	publishWithin = 15 * time.Second
	publishStep   = 10 * time.Millisecond
)

// checkPorts refuses, before anything is changed, published ports that another program or another project has. Elsewhere than
// on this machine each project has its own.
func checkPorts(ctx context.Context, o Options, project *compose.Project, rendered render.Output) error {
	if !o.Compose.Embedded {
		return nil
	}
	status, err := o.Node.Status(ctx)
	if err != nil {
		return err
	}
	var taken, hints []string
	for _, u := range rendered.Units {
		for _, p := range u.Published {
			if why := occupied(ctx, status, namespaceOf(o, project), p); why != "" {
				taken = append(taken, fmt.Sprintf("service %q: port %d/%s: %s", u.Service, p.Published, strings.ToLower(p.Protocol), why))
				hints = append(hints, strconv.Itoa(int(p.Published)))
			}
		}
	}
	if len(taken) == 0 {
		return nil
	}
	hint := fmt.Sprintf("see who has it with ss -lnp 'sport = :%s', or publish another port in the Compose file", hints[0])
	return fault.New(fault.Other, hint, "%s", strings.Join(taken, "; "))
}

// occupied says who has the port, "" when it is free or already ours.
func occupied(ctx context.Context, status node.Status, namespace string, p render.Port) string {
	for _, have := range status.Published {
		if have.Port != p.Published || have.Protocol != p.Protocol {
			continue
		}
		if have.Namespace != namespace {
			return fmt.Sprintf("service %s of namespace %s is published on it", have.Service, have.Namespace)
		}
		if have.Error == "" {
			return ""
		}
	}
	if publisher.Bindable(ctx, p.Protocol, p.Published) != nil {
		return "another program of this machine has it"
	}
	return ""
}

// awaitPublished waits until every published port answers on the host, and returns their URLs. On a cluster that perch did not start
// they are those of hosts, which nobody waits for: DNS and certificates have their own time.
func awaitPublished(ctx context.Context, o Options, rendered render.Output) ([]string, error) {
	if !o.Compose.Embedded {
		return hostURLs(rendered), nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	urls := []string{}
	for _, u := range rendered.Units {
		for _, p := range u.Published {
			if err := awaitPort(ctx, o.Node, u.Service, p); err != nil {
				return nil, err
			}
			urls = append(urls, urlOf(p))
		}
	}
	return urls, nil
}

func awaitPort(ctx context.Context, cluster node.Cluster, service string, p render.Port) error {
	last := "the cluster has not published it"
	for {
		status, err := cluster.Status(ctx)
		if err == nil {
			for _, have := range status.Published {
				if have.Port == p.Published && have.Protocol == p.Protocol {
					if have.Error == "" {
						return nil
					}
					last = have.Error
				}
			}
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Rollout, "perch cluster status", "service %q: port %d does not answer on %s: %s", service, p.Published, publisher.BindIP, last)
		case <-time.After(publishStep):
		}
	}
}

func urlOf(p render.Port) string {
	address := net.JoinHostPort(publisher.BindIP, strconv.Itoa(int(p.Published)))
	if p.HTTP {
		return "http://" + address + "/"
	}
	return strings.ToLower(p.Protocol) + "://" + address
}
