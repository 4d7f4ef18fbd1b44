package compose

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// ports checks what is published on the host: each port once, and only where it can be.
func (r *reading) ports() {
	type user struct{ service, ip string }
	taken := map[string]user{}
	for _, name := range sortedNames(r.project.Project.Services) {
		s := r.project.Project.Services[name]
		for i, p := range s.Ports {
			path := []string{"services", name, "ports", r.portItem(name, i, p)}
			at := r.at(path...)
			if p.HostIP != "" && !ownAddress(p.HostIP) {
				r.warn(at, fmt.Sprintf("service %q: ports: host address %s is ignored: the port answers on 127.0.0.1", name, p.HostIP), "")
			}
			first, _, isRange := strings.Cut(p.Published, "-")
			if first == "" || first == "0" {
				r.warn(at, fmt.Sprintf("service %q: ports: %d has no published port, so it is reached by other services only", name, p.Target),
					fmt.Sprintf("write \"%d:%d\" to reach it from the host", p.Target, p.Target))
				continue
			}
			if isRange {
				r.warn(at, fmt.Sprintf("service %q: ports: of the range %s the first is published", name, p.Published), "write one port")
			}
			key := first + "/" + p.Protocol
			if other, ok := taken[key]; ok && (other.service != name || other.ip == p.HostIP) {
				r.problem(at, fmt.Sprintf("service %q: port %s of the host is published by service %q too", name, first, other.service),
					fmt.Sprintf("publish another one, as in \"%s:%d\"", nextPort(first), p.Target))
				continue
			}
			taken[key] = user{name, p.HostIP}
		}
	}
}

// portItem is the index of a port in the file, where one item may be a range that became several ports.
func (r *reading) portItem(service string, i int, p types.ServicePortConfig) string {
	at := r.files
	for n := range 4096 {
		_, found := descendFirst(at, "services", service, "ports", strconv.Itoa(n))
		if found == nil {
			break
		}
		text := r.interpolate.text(found)
		if configs, err := types.ParsePortConfig(text); err == nil {
			for _, c := range configs {
				if c.Target == p.Target && c.Published == p.Published && c.Protocol == p.Protocol && c.HostIP == p.HostIP {
					return strconv.Itoa(n)
				}
			}
		}
	}
	return strconv.Itoa(i)
}

func ownAddress(ip string) bool {
	addr, err := netip.ParseAddr(strings.Trim(ip, "[]"))
	return err == nil && (addr.IsLoopback() || addr.IsUnspecified())
}

func nextPort(port string) string {
	n, _ := strconv.Atoi(port)
	return strconv.Itoa(min(n+1, 65535))
}
