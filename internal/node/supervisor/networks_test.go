package supervisor

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/settings"
)

func TestWish(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix
	kept := State{Network: network.Plan{PodCIDR: prefix("10.142.0.0/16"), ServiceCIDR: prefix("10.143.0.0/16")}}
	tests := map[string]struct {
		state State
		there bool
		asked settings.Settings
		want  network.Wish
		fails string
	}{
		"a new cluster, nothing asked": {State{}, false, settings.Settings{}, network.Wish{}, ""},
		"a new cluster": {
			State{}, false, settings.Settings{Subnet: prefix("172.30.1.0/24"), PodCIDR: prefix("10.2.0.0/16")},
			network.Wish{Subnet: prefix("172.30.1.0/24"), PodCIDR: prefix("10.2.0.0/16")}, "",
		},
		"it has its networks": {
			kept, true, settings.Settings{Subnet: prefix("172.30.1.0/24")},
			network.Wish{Made: true, Subnet: prefix("172.30.1.0/24"), PodCIDR: prefix("10.142.0.0/16"), ServiceCIDR: prefix("10.143.0.0/16")}, "",
		},
		"one of before they were kept": {State{}, true, settings.Settings{}, network.Wish{Made: true, PodCIDR: prefix(network.PodCIDR), ServiceCIDR: prefix(network.ServiceCIDR)}, ""},
		"with IPv6": {
			State{Network: network.Plan{IPv6: network.Second{PodCIDR: prefix("fd01::/64"), ServiceCIDR: prefix("fd02::/112")}}}, true, settings.Settings{},
			network.Wish{
				Made: true, PodCIDR: prefix(network.PodCIDR), ServiceCIDR: prefix(network.ServiceCIDR),
				IPv6: network.Second{PodCIDR: prefix("fd01::/64"), ServiceCIDR: prefix("fd02::/112")},
			}, "",
		},
		"the same again":       {kept, true, settings.Settings{PodCIDR: prefix("10.142.7.0/16")}, network.Wish{Made: true, PodCIDR: prefix("10.142.0.0/16"), ServiceCIDR: prefix("10.143.0.0/16")}, ""},
		"others cannot be had": {kept, true, settings.Settings{PodCIDR: prefix("10.2.0.0/16")}, network.Wish{}, "--pod-cidr 10.2.0.0/16: the cluster has its pods in 10.142.0.0/16"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Wish(test.state, test.there, test.asked)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || fault.KindOf(err) != fault.Usage {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestExempt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ env, want []string }{
		"no proxy":          {[]string{"HOME=/root", "no_proxy=x"}, []string{"HOME=/root", "no_proxy=x"}},
		"an empty one":      {[]string{"HTTPS_PROXY="}, []string{"HTTPS_PROXY="}},
		"a proxy":           {[]string{"HTTPS_PROXY=http://p:1"}, []string{"HTTPS_PROXY=http://p:1", "NO_PROXY=10.42.0.0/16,.svc", "no_proxy=10.42.0.0/16,.svc"}},
		"with exceptions":   {[]string{"https_proxy=http://p:1", "no_proxy=.corp"}, []string{"NO_PROXY=.corp,10.42.0.0/16,.svc", "https_proxy=http://p:1", "no_proxy=.corp,10.42.0.0/16,.svc"}},
		"the big ones rule": {[]string{"HTTP_PROXY=http://p:1", "NO_PROXY=.a", "no_proxy=.b"}, []string{"HTTP_PROXY=http://p:1", "NO_PROXY=.a,10.42.0.0/16,.svc", "no_proxy=.a,10.42.0.0/16,.svc"}},
	} {
		if diff := cmp.Diff(c.want, exempt(c.env, "10.42.0.0/16", ".svc")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
