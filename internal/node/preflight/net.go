package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/node/network"
	"github.com/perch-k8s/perch/internal/node/settings"
)

// answerWithin is how long something on the network may take to answer: longer, and it counts as not reached.
const answerWithin = 2 * time.Second

func checkForwarding(_ context.Context, m Machine) Finding {
	on, err := network.Forwarding()
	if err != nil {
		return unknown(err)
	}
	sealed := m.UID == 0 && errors.Is(unix.Access(sysctlFile("net.ipv4.ip_forward"), unix.W_OK), unix.EROFS)
	return judgeForwarding(on, sealed)
}

// judgeForwarding takes whether packets are passed on, and whether that cannot be changed.
func judgeForwarding(on, sealed bool) Finding {
	switch {
	case on:
		return ok("on")
	case sealed:
		return missing("IP forwarding is off, and /proc/sys is read-only", "sysctl net.ipv4.ip_forward=1 on the machine itself")
	}
	return ok("off: it is on while a node runs")
}

func checkSubnets(_ context.Context, m Machine) Finding {
	host, err := network.HostNetworks()
	if err != nil {
		return unknown(err)
	}
	via := ""
	if m.Cluster.Running {
		if via, err = m.Cluster.Plan.WayTo(); err != nil {
			return unknown(err)
		}
	}
	return judgeSubnets(m.Cluster, host.Networks, via)
}

// judgeSubnets takes what the host has a way to, and the interface by which it reaches the node that runs.
func judgeSubnets(c Cluster, host []network.Route, via string) Finding {
	const again = "perch cluster stop, then: perch cluster start --subnet NETWORK/24"
	p := c.Plan
	if c.PlanErr != nil {
		return missing(c.PlanErr.Error(), fault.HintOf(c.PlanErr))
	}
	if !p.NodeIP.IsValid() {
		return ok("not looked at: only root knows the cluster's")
	}
	if c.Running && via != "" && via != p.HostLink {
		return warn(fmt.Sprintf("what is sent to the node at %s goes to %s: a rule of it comes before the node's route, and pods get no answer from outside", p.NodeIP.Addr(), via), again)
	}
	if hidden := p.Hidden(host); len(hidden) > 0 {
		return warn(fmt.Sprintf("this machine has %s: pods reach none of it in %s and %s, which are the cluster's own", routesText(hidden), p.PodCIDR, p.ServiceCIDR),
			"if they must: perch cluster delete, then: perch cluster start --pod-cidr NETWORK/16 --service-cidr NETWORK/16")
	}
	text := fmt.Sprintf("node %s, pods %s, Services %s", p.NodeIP.Addr(), p.PodCIDR, p.ServiceCIDR)
	if wide := slices.DeleteFunc(slices.Clone(host), func(r network.Route) bool {
		return r.Prefix.Bits() < 1 || r.Prefix.Bits() > 16 || r.Prefix.Addr().IsLoopback()
	}); len(wide) > 0 {
		text += "; taken by others: " + routesText(wide)
	}
	return ok(text)
}

func checkIPv6(_ context.Context, m Machine) Finding {
	host, err := network.HostNetworks()
	if err != nil {
		return unknown(err)
	}
	return judgeIPv6(m.Cluster.Plan, host.IPv6)
}

// judgeIPv6 takes the cluster's networks and what the machine has of IPv6. To have none is nothing bad.
func judgeIPv6(p network.Plan, host network.IPv6) Finding {
	second := p.IPv6
	nets := fmt.Sprintf("pods %s, Services %s", second.PodCIDR, second.ServiceCIDR)
	switch {
	case !p.NodeIP.IsValid():
		return ok("not looked at: only root knows the cluster's")
	case second.Out():
		return ok(nets + "; they reach the outside by it")
	case second.On():
		return ok(nets + "; not the outside: this machine passes no IPv6 packets on (net.ipv6.conf.all.forwarding), or knows no way for them")
	case second.PodCIDR.IsValid():
		return ok("the cluster has it, this kernel has not: pods have IPv4 alone")
	case host.On:
		return ok("the cluster was made without it, and stays so: a new one has it")
	}
	return ok("switched off on this machine: pods have IPv4 alone")
}

func routesText(routes []network.Route) string {
	const most = 4
	var texts []string
	for _, r := range routes {
		if text := r.String(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if len(texts) > most {
		texts = append(texts[:most], "…")
	}
	return strings.Join(texts, ", ")
}

func checkPorts(ctx context.Context, m Machine) Finding {
	const usual = 6443
	wanted := m.Cluster.APIPort
	if wanted == 0 {
		wanted = usual
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(wanted)))
	if err == nil {
		_ = l.Close()
	}
	return judgePorts(m.Cluster, wanted, errors.Is(err, syscall.EADDRINUSE))
}

// judgePorts takes the port that the API server has or will ask for, and whether somebody listens there.
func judgePorts(c Cluster, wanted int, taken bool) Finding {
	if len(c.Unbound) > 0 {
		return warn("not published: "+strings.Join(c.Unbound, "; "), "ss -ltnup shows who has the port; end that, or change it in the Compose file")
	}
	if c.Running {
		return ok(fmt.Sprintf("the API server answers at 127.0.0.1:%d, and every published port is open", c.APIPort))
	}
	if taken {
		return ok(fmt.Sprintf("port %d is taken: the API server will have another", wanted))
	}
	return ok(fmt.Sprintf("port %d is free for the API server", wanted))
}

func checkFirewall(ctx context.Context, m Machine) Finding {
	if m.UID != 0 {
		return asRoot()
	}
	link := m.Cluster.Plan.HostLink
	if link == "" {
		return ok("not looked at: there is no network for the cluster")
	}
	found, err := m.Cluster.Plan.Firewalls(ctx)
	if err != nil {
		return ok("not looked at: " + err.Error()) // checkNFT says what is wrong
	}
	f := judgeFirewall(found, link, m.Cluster.Running)
	if f.State != OK && slices.ContainsFunc(found, func(w network.Firewall) bool { return w.Door != "" && !w.Open }) {
		f.Repairs = []Repair{{Command: f.Cure, Do: m.Cluster.Plan.OpenDoors}}
	}
	return f
}

// judgeFirewall takes the firewalls that drop what they do not know, and the cluster's interface.
func judgeFirewall(found []network.Firewall, link string, running bool) Finding {
	var names, cures []string
	doors := 0
	for _, w := range found {
		if w.Open || w.Door != "" && !running {
			doors++
			continue
		}
		names, cures = append(names, w.String()), append(cures, w.Cure(link))
	}
	switch {
	case len(names) > 0 && running:
		return warn(fmt.Sprintf("the firewall of this machine (%s) drops what pods send to the outside: no image can be pulled", strings.Join(names, ", ")), strings.Join(cures, " && "))
	case len(names) > 0:
		return warn(fmt.Sprintf("the firewall of this machine (%s) will drop what pods send to the outside", strings.Join(names, ", ")), "when the cluster runs: "+strings.Join(cures, " && "))
	case doors > 0 && running:
		return ok("a firewall drops what it does not know; it has a rule for the node's cable")
	case doors > 0:
		return ok("a firewall drops what it does not know; the node puts a rule for its cable into it, and takes it away again")
	}
	return ok("none drops what pods send to the outside")
}

func checkResolvers(ctx context.Context, m Machine) Finding {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	servers := network.HostServers()
	var others []string
	for _, stub := range m.Stubs {
		for _, server := range stub.Servers {
			others = append(others, server.String())
		}
	}
	answers := answersOf(ctx, append(slices.Clone(servers), others...))
	f := judgeResolvers(servers, answers[:len(servers)])
	return judgeStubs(f, m.Stubs, answers[len(servers):])
}

// answersOf asks servers side by side why each does not answer.
func answersOf(ctx context.Context, servers []string) []error {
	answers := make([]error, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() { answers[i] = network.Answers(ctx, server) })
	}
	all.Wait()
	return answers
}

// judgeStubs adds to a finding about resolvers the servers of single domains, and why each, in order, does not answer.
func judgeStubs(f Finding, stubs []settings.Stub, answers []error) Finding {
	at := 0
	for _, stub := range stubs {
		f.What += "; " + stub.String()
		for _, server := range stub.Servers {
			if err := answers[at]; err != nil {
				f.What += fmt.Sprintf(" (%s does not answer: %v)", server, err)
				f.State = Warn
				if f.Cure == "" {
					f.Cure = "perch cluster stop, then: perch cluster start --dns-stub DOMAIN=SERVER, or --dns-stub none"
				}
			}
			at++
		}
	}
	return f
}

// judgeResolvers takes the DNS servers of /etc/resolv.conf, and why each does not answer.
func judgeResolvers(servers []string, answers []error) Finding {
	var silent []string
	for i, server := range servers {
		if answers[i] != nil {
			silent = append(silent, fmt.Sprintf("%s (%v)", server, answers[i]))
		}
	}
	switch {
	case len(servers) == 0:
		return warn("/etc/resolv.conf names no DNS server: pods and builds resolve no name of the outside", "add a line to it, as: nameserver ADDRESS")
	case len(silent) == len(servers):
		return warn("no DNS server answers: "+strings.Join(silent, ", ")+"; pods and builds resolve no name of the outside", "look at the network of this machine: getent hosts NAME")
	case len(silent) > 0:
		return warn("a DNS server does not answer: "+strings.Join(silent, ", ")+"; names of the outside take seconds longer", "take it out of /etc/resolv.conf")
	}
	return ok(strings.Join(servers, ", "))
}

// osRelease is the kernel's name of itself.
func osRelease() string {
	data, _ := os.ReadFile(sysctlFile("kernel.osrelease"))
	return strings.TrimSpace(string(data))
}
