package supervisor

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/settings"
)

// Wish is what a cluster's networks must be: those of its pods and Services as they were, when it was started before,
// since its objects hold addresses of them; else as the settings say. there tells that a state was read. Settings that
// want to change them are refused.
func Wish(state State, there bool, s settings.Settings) (network.Wish, error) {
	w := network.Wish{Subnet: s.Subnet, PodCIDR: s.PodCIDR, ServiceCIDR: s.ServiceCIDR}
	if !there {
		return w, nil
	}
	w.Made, w.IPv6 = true, state.Network.IPv6
	for _, one := range []struct {
		flag, of string
		kept     netip.Prefix
		first    string // of clusters that were made before it was kept
		wish     *netip.Prefix
	}{
		{"--pod-cidr", "pods", state.Network.PodCIDR, network.PodCIDR, &w.PodCIDR},
		{"--service-cidr", "Services", state.Network.ServiceCIDR, network.ServiceCIDR, &w.ServiceCIDR},
	} {
		kept := one.kept
		if !kept.IsValid() {
			kept = netip.MustParsePrefix(one.first)
		}
		if one.wish.IsValid() && one.wish.Masked() != kept {
			return w, fault.New(fault.Usage, "leave "+one.flag+" out, or delete the cluster first: perch cluster delete",
				"%s %s: the cluster has its %s in %s, and that cannot be changed", one.flag, one.wish, one.of, kept)
		}
		*one.wish = kept
	}
	return w, nil
}

// exempt adds to an environment that names a proxy the addresses and names that are inside the sandbox, which no proxy
// can reach. Go's programs ask NO_PROXY first, others no_proxy: both get the same.
func exempt(env []string, inside ...string) []string {
	proxied, exempted := false, ""
	rest := slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY":
			proxied = proxied || value != ""
		case "NO_PROXY":
			if exempted == "" || name == "NO_PROXY" && value != "" {
				exempted = value
			}
			return true
		}
		return false
	})
	if !proxied {
		return env
	}
	if exempted != "" {
		inside = append([]string{exempted}, inside...)
	}
	all := strings.Join(inside, ",")
	rest = append(rest, "NO_PROXY="+all, "no_proxy="+all)
	slices.Sort(rest)
	return rest
}

// insideNames is what is inside the sandbox, as NO_PROXY has it.
func insideNames(p network.Plan) []string {
	names := []string{"localhost", "127.0.0.1", p.NodeIP.Masked().String(), p.PodCIDR.String(), p.ServiceCIDR.String(), ".svc", ".cluster.local"}
	if p.IPv6.On() {
		names = append(names, "::1", p.IPv6.NodeIP.Masked().String(), p.IPv6.PodCIDR.String(), p.IPv6.ServiceCIDR.String())
	}
	return names
}
