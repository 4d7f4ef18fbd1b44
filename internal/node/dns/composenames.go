package dns

import (
	"context"
	"slices"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/nonwriter"
	"github.com/miekg/dns"
)

// composeNamesDirective is the plugin's name in the Corefile. It stands before kubernetes, whose answers it looks at.
const composeNamesDirective = "composenames"

// registerComposeNames makes the plugin known to CoreDNS, whose lists of plugins are variables of its packages: so it is
// done when the server starts, and once.
func registerComposeNames() {
	if _, err := caddy.DirectiveAction("dns", composeNamesDirective); err == nil {
		return
	}
	before := slices.Index(dnsserver.Directives, "kubernetes")
	dnsserver.Directives = slices.Insert(slices.Clone(dnsserver.Directives), before, composeNamesDirective)
	plugin.Register(composeNamesDirective, func(c *caddy.Controller) error {
		c.Next() // the directive itself
		if !c.NextArg() {
			return plugin.Error(composeNamesDirective, c.ArgErr())
		}
		suffix := "svc." + dns.Fqdn(c.Val())
		dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
			return composeNames{suffix: suffix, next: next}
		})
		return nil
	})
}

// composeNames answers names that Compose allows and Kubernetes does not: when my_db.SHOP or db.internal.SHOP (in the
// zone of Services) is nothing, it is the Service that such a name becomes, my-db or db-internal.
type composeNames struct {
	suffix string // svc.cluster.local.
	next   plugin.Handler
}

// Name is the name of the directive.
func (composeNames) Name() string { return composeNamesDirective }

// ServeDNS asks the next plugin, and once more under the other name when there is nothing under this one.
func (c composeNames) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	asked := ""
	if len(r.Question) == 1 {
		asked = r.Question[0].Name
	}
	other, ok := c.kubernetesName(asked)
	if !ok {
		return plugin.NextOrFailure(c.Name(), c.next, ctx, w, r)
	}
	first := nonwriter.New(w)
	code, err := plugin.NextOrFailure(c.Name(), c.next, ctx, first, r)
	if err != nil || first.Msg == nil || first.Msg.Rcode != dns.RcodeNameError {
		return written(w, first.Msg, code, err)
	}
	again := r.Copy()
	again.Question[0].Name = other
	second := nonwriter.New(w)
	code, err = plugin.NextOrFailure(c.Name(), c.next, ctx, second, again)
	if err != nil || second.Msg == nil || second.Msg.Rcode != dns.RcodeSuccess {
		return written(w, first.Msg, dns.RcodeSuccess, nil)
	}
	second.Msg.Question = r.Question
	for _, record := range second.Msg.Answer {
		if header := record.Header(); strings.EqualFold(header.Name, other) {
			header.Name = asked
		}
	}
	return written(w, second.Msg, code, nil)
}

func written(w dns.ResponseWriter, m *dns.Msg, code int, err error) (int, error) {
	if err != nil || m == nil {
		return code, err
	}
	return code, w.WriteMsg(m)
}

// kubernetesName is what the Service of a name in a namespace is called, as package compose names it; false when that is
// the same name, or the name is no Service's. Names of ports (_http._tcp) are none.
func (c composeNames) kubernetesName(asked string) (string, bool) {
	rest, ok := strings.CutSuffix(strings.ToLower(asked), "."+c.suffix)
	at := strings.LastIndexByte(rest, '.')
	if !ok || at < 1 || rest[0] == '_' {
		return "", false
	}
	name, namespace := rest[:at], rest[at+1:]
	service := strings.Trim(strings.NewReplacer("_", "-", ".", "-").Replace(name), "-")
	if service == "" {
		return "", false
	}
	if service[0] >= '0' && service[0] <= '9' {
		service = "x" + service
	}
	return service + "." + namespace + "." + c.suffix, service != name
}
