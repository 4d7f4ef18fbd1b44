package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// policyWithin is how long a policy may take to hold: some 100 ms on a machine that does nothing else.
const policyWithin = 5 * time.Second

// TestPolicy is about NetworkPolicies on the real node: between pods, to Services, to the node, to the outside, and from it.
func TestPolicy(t *testing.T) {
	u := newUser(t, "p")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36", "python:3.11")
	p := newPeople(t, n)
	t.Run("Ingress", func(t *testing.T) { testIngress(t, p) })
	t.Run("Egress", func(t *testing.T) { testEgress(t, p) })
	t.Run("Newcomers", func(t *testing.T) { testNewcomers(t, p) })
	t.Run("Flood", func(t *testing.T) { testFlood(t, p) })
	t.Run("Restart", func(t *testing.T) { testPolicyRestart(t, p) })
	t.Run("Compose", func(t *testing.T) { testComposeNetworks(t, n) })
}

// people are the pods of the tests: a web server with a Service and a probe, a client beside it, and one in another namespace.
type people struct {
	*node
	web, service, near, far string // addresses
}

const sleeper = "{containers: [{command: [sleep, '3600']}]}"

func newPeople(t *testing.T, n *node) people {
	t.Helper()
	n.namespace(t, "one", map[string]string{"team": "one"})
	n.namespace(t, "two", map[string]string{"team": "two"})
	p := people{node: n}
	p.web = n.pod(t, "one", "web", `
containers:
- command: [sh, -c, "mkdir /www; echo hello >/www/index.html; httpd -p 9090 -h /www; exec httpd -f -vv -p 8080 -h /www"]
  ports: [{name: http, containerPort: 8080}]
  readinessProbe: {httpGet: {port: http}, periodSeconds: 1, failureThreshold: 1}
`)
	p.near = n.pod(t, "one", "near", sleeper)
	p.far = n.pod(t, "two", "far", sleeper)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}
	made, err := n.api.CoreV1().Services("one").Create(t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.service = made.Spec.ClusterIP + ":80"
	eventually(t, 10*time.Second, "the Service answers", func(ctx context.Context) error { return n.reaches(ctx, "one", "near", p.service) })
	return p
}

// answered is how many requests the web server has answered, as it says.
func (p people) answered(ctx context.Context) int {
	log, err := p.api.CoreV1().Pods("one").GetLogs("web", &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return 0
	}
	return strings.Count(string(log), "response:200")
}

// policy applies a policy, as YAML, until the end of the test.
func (n *node) policy(t *testing.T, text string) {
	t.Helper()
	one := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict([]byte(text), one); err != nil {
		t.Fatal(err)
	}
	policies := n.api.NetworkingV1().NetworkPolicies(one.Namespace)
	if _, err := policies.Create(t.Context(), one, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := policies.Delete(context.WithoutCancel(t.Context()), one.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// wants waits until who may get through does, and who may not does not: "near 10.42.0.3:80" is a try from near.
func (p people) wants(t *testing.T, within time.Duration, open, closed []string) {
	t.Helper()
	eventually(t, within, "the policies hold", func(ctx context.Context) error {
		for i, try := range append(open, closed...) {
			from, to, _ := strings.Cut(try, " ")
			namespace := map[string]string{"web": "one", "near": "one", "far": "two"}[from]
			err := p.reaches(ctx, namespace, from, to)
			if i < len(open) && err != nil {
				return err
			}
			if i >= len(open) && err == nil {
				return fmt.Errorf("%s gets through", try)
			}
		}
		return nil
	})
}

func tries(from string, to ...string) []string {
	var all []string
	for _, address := range to {
		all = append(all, from+" "+address)
	}
	return all
}

func testIngress(t *testing.T, p people) {
	http, other := p.web+":8080", p.web+":9090"
	everything := append(tries("near", http, other, p.service), tries("far", http, other, p.service)...)
	p.wants(t, policyWithin, everything, nil)
	deny := "{metadata: {namespace: one, name: deny}, spec: {podSelector: {}, policyTypes: [Ingress]}}"
	t.Run("default deny, but the node's probes go on", func(t *testing.T) {
		p.policy(t, deny)
		p.wants(t, policyWithin, nil, everything)
		before := p.answered(t.Context())
		eventually(t, 30*time.Second, "the probe goes on", func(ctx context.Context) error {
			if more := p.answered(ctx) - before; more < 3 {
				return fmt.Errorf("only %d more requests were answered", more)
			}
			return nil
		})
		p.podReady(t, "one", "web")
	})
	t.Run("and a policy that is removed is forgotten", func(t *testing.T) {
		p.wants(t, policyWithin, everything, nil)
		eventually(t, policyWithin, "no rules are left", func(context.Context) error {
			if tables := p.nft(t, "list", "tables"); strings.Contains(tables, "perch-policies") {
				return fmt.Errorf("there are %s", tables)
			}
			return nil
		})
	})
	for _, tt := range []struct {
		name, rule   string
		open, closed []string
	}{
		{
			"a selector of pods", "from: [{podSelector: {matchLabels: {app: near}}}]",
			tries("near", http, other, p.service), tries("far", http, other, p.service),
		},
		{
			"a selector of namespaces", "from: [{namespaceSelector: {matchLabels: {team: two}}}]",
			tries("far", http, other, p.service), tries("near", http, other, p.service),
		},
		{
			"both", "from: [{namespaceSelector: {matchLabels: {team: two}}, podSelector: {matchLabels: {app: near}}}]",
			nil, everything,
		},
		{
			"a port by its name", "ports: [{port: http}]",
			append(tries("near", http, p.service), tries("far", http, p.service)...), append(tries("near", other), tries("far", other)...),
		},
		{
			"a block with an exception", "from: [{ipBlock: {cidr: 10.42.0.0/16, except: [" + p.far + "/32]}}]",
			tries("near", http, other, p.service), tries("far", http, other, p.service),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.policy(t, deny)
			p.policy(t, "{metadata: {namespace: one, name: allow}, spec: {podSelector: {matchLabels: {app: web}}, ingress: [{"+tt.rule+"}]}}")
			p.wants(t, policyWithin, tt.open, tt.closed)
		})
	}
}

// resolves tells why a pod cannot resolve the name of the test's Service.
func (n *node) resolves(ctx context.Context, namespace, pod string) error {
	_, err := n.run(ctx, namespace, pod, "timeout", "3", "nslookup", "-type=a", "web.one.svc.cluster.local")
	return err
}

func testEgress(t *testing.T, p people) {
	http := p.web + ":8080"
	api := p.clusterIP(t, "default", "kubernetes") + ":443"
	p.wants(t, policyWithin, tries("far", http, p.service, api), nil)
	deny := "{metadata: {namespace: two, name: deny}, spec: {podSelector: {}, policyTypes: [Egress]}}"
	t.Run("default deny: neither pods, nor Services, nor the API server, nor names", func(t *testing.T) {
		p.policy(t, deny)
		p.wants(t, policyWithin, tries("near", http), tries("far", http, p.service, api))
		if err := p.resolves(t.Context(), "two", "far"); err == nil {
			t.Error("it resolves names")
		}
	})
	t.Run("the usual rule for cluster DNS, and a selector", func(t *testing.T) {
		p.policy(t, deny)
		p.policy(t, `
metadata: {namespace: two, name: allow}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
  - to: [{namespaceSelector: {matchLabels: {team: one}}, podSelector: {matchLabels: {app: web}}}]
    ports: [{port: http}]
`)
		p.wants(t, policyWithin, tries("far", http, p.service), tries("far", p.web+":9090", api))
		if err := p.resolves(t.Context(), "two", "far"); err != nil {
			t.Error(err)
		}
	})
	t.Run("to the outside", func(t *testing.T) {
		outside := p.outside(t)
		p.wants(t, policyWithin, tries("far", outside), nil)
		p.policy(t, deny)
		p.wants(t, policyWithin, nil, tries("far", outside))
		host, _, _ := net.SplitHostPort(outside)
		p.policy(t, "{metadata: {namespace: two, name: allow}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: "+host+"/32}}]}]}}")
		p.wants(t, policyWithin, tries("far", outside), tries("far", http))
	})
	p.wants(t, policyWithin, tries("far", http, p.service, api), nil)
}

func (n *node) clusterIP(t *testing.T, namespace, service string) string {
	t.Helper()
	s, err := n.api.CoreV1().Services(namespace).Get(t.Context(), service, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Spec.ClusterIP
}

// outside is a listener of this machine on its end of the cable to the sandbox: for a pod it is the outside.
func (n *node) outside(t *testing.T) string {
	t.Helper()
	link, err := net.InterfaceByName(n.context())
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := link.Addrs()
	if err != nil || len(addrs) == 0 {
		t.Fatalf("%s has no address: %v", link.Name, err)
	}
	return listenOn(t, addrs[0].(*net.IPNet).IP.String())
}

// listenOn takes connections on an address until the end of the test, and returns it with its port.
func listenOn(t *testing.T, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// testNewcomers starts pods under policies that hold already.
func testNewcomers(t *testing.T, p people) {
	p.policy(t, "{metadata: {namespace: two, name: deny}, spec: {podSelector: {matchLabels: {app: caged}}, policyTypes: [Ingress, Egress]}}")
	p.policy(t, "{metadata: {namespace: one, name: in}, spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: welcome}}}]}]}}")
	p.wants(t, policyWithin, nil, tries("far", p.web+":8080"))
	host, port, _ := net.SplitHostPort(p.web + ":8080")
	out, outPort, _ := net.SplitHostPort(p.outside(t))
	t.Run("one that may not get out never does", func(t *testing.T) {
		script := fmt.Sprintf("for i in $(seq 20); do nc -w 1 %s %s </dev/null 2>/dev/null && echo through; done; echo end; exec sleep 3600", out, outPort)
		p.pod(t, "two", "caged", "{containers: [{command: [sh, -c, '"+script+"']}]}")
		if log := p.logOf(t, "two", "caged", "end"); strings.Contains(log, "through") {
			t.Errorf("it got out %d times", strings.Count(log, "through"))
		}
	})
	t.Run("one that may get in does at its first try", func(t *testing.T) {
		script := fmt.Sprintf("nc -w 5 %s %s </dev/null && echo through; echo end; exec sleep 3600", host, port)
		p.pod(t, "two", "welcome", "{containers: [{command: [sh, -c, '"+script+"']}]}")
		if log := p.logOf(t, "two", "welcome", "end"); !strings.Contains(log, "through") {
			t.Errorf("it did not: %s", log)
		}
	})
}

// logOf is a pod's log once it has the word.
func (n *node) logOf(t *testing.T, namespace, pod, word string) string {
	t.Helper()
	var log string
	eventually(t, 60*time.Second, namespace+"/"+pod+" says "+word, func(ctx context.Context) error {
		data, err := n.api.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(ctx)
		log = string(data)
		if err == nil && !strings.Contains(log, word) {
			err = fmt.Errorf("so far: %s", log)
		}
		return err
	})
	return log
}

// testFlood opens many connections at once: every one that is allowed, none that is not.
func testFlood(t *testing.T, p people) {
	p.policy(t, "{metadata: {namespace: one, name: in}, spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: near}}}], ports: [{port: http}]}]}}")
	p.wants(t, policyWithin, tries("near", p.service), tries("far", p.service))
	host, port, _ := net.SplitHostPort(p.service)
	script := fmt.Sprintf("for i in $(seq 10); do for j in $(seq 50); do (nc -w 5 %s %s </dev/null 2>/dev/null && echo through) & done; wait; done; true", host, port)
	for _, tt := range []struct {
		namespace, pod string
		want           int
	}{{"one", "near", 500}, {"two", "far", 0}} {
		out, err := p.run(t.Context(), tt.namespace, tt.pod, "sh", "-c", script)
		if got := strings.Count(out, "through"); err != nil || got != tt.want {
			t.Errorf("from %s %d of 500 got through, wanted %d: %v", tt.pod, got, tt.want, err)
		}
	}
}

// testPolicyRestart kills the process that keeps the rules: they stay, and are kept again by the next one.
func testPolicyRestart(t *testing.T, p people) {
	http := p.web + ":8080"
	p.policy(t, "{metadata: {namespace: one, name: deny}, spec: {podSelector: {}, policyTypes: [Ingress]}}")
	p.wants(t, policyWithin, nil, tries("far", http))
	table := func() string { return p.nft(t, "list", "table", "inet", "perch-policies") }
	before := table()
	old := p.part(t, "kubernetes")
	old.kill(t)
	eventually(t, 20*time.Second, "there is another process", func(context.Context) error {
		for _, one := range p.inside() {
			if one.is("kubernetes") && one.pid != old.pid {
				return nil
			}
		}
		return fmt.Errorf("there is none")
	})
	if now := table(); now != before {
		t.Errorf("the rules were touched, before:\n%s\nnow:\n%s", before, now)
	}
	eventually(t, 30*time.Second, "the API answers", p.nodeReady)
	p.wants(t, policyWithin, nil, tries("far", http))
	p.policy(t, "{metadata: {namespace: one, name: allow}, spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}}")
	p.wants(t, policyWithin, tries("far", http), nil)
}

// testComposeNetworks keeps the services of a file apart that are on different networks.
func testComposeNetworks(t *testing.T, n *node) {
	a := n.application(t, "isolated", with(python(t, n, "app"), "compose.yaml", `
services:
  front: {build: app, ports: ["${PORT}:8000"], networks: [front], stop_grace_period: 1s}
  both: {build: app, networks: [front, back], expose: ["8000"], stop_grace_period: 1s}
  database: {build: app, networks: [back], expose: ["8000"], stop_grace_period: 1s}
  hidden: {build: app, networks: [vault], expose: ["8000"], stop_grace_period: 1s}
networks:
  front:
  back:
  vault: {internal: true}
`))
	r := a.start(t)
	if strings.Contains(r.all(), "carried in part") {
		t.Errorf("there is a warning: %s", r)
	}
	answers := func(t *testing.T, from, to string) error {
		t.Helper()
		pod := n.ready(t, "isolated", from, 1)[0]
		ask := "import urllib.request; print(urllib.request.urlopen('http://" + to + ":8000/', timeout=3).read())"
		_, err := n.run(t.Context(), "isolated", pod, "python", "-c", ask)
		return err
	}
	t.Run("a published port answers on the host", func(t *testing.T) { wantText(t, a.get(t, "/"), "hello from") })
	for _, tt := range []struct {
		from, to string
		open     bool
	}{
		{"front", "both", true}, {"both", "database", true}, {"both", "front", true}, {"database", "both", true},
		{"front", "database", false}, {"front", "hidden", false}, {"hidden", "both", false}, {"database", "front", true}, // a published port is everybody's
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			if err := answers(t, tt.from, tt.to); (err == nil) != tt.open {
				t.Errorf("it is %t: %v", err == nil, err)
			}
		})
	}
	t.Run("names resolve for all", func(t *testing.T) {
		for _, service := range []string{"front", "both", "database", "hidden"} {
			pod := n.ready(t, "isolated", service, 1)[0]
			if _, err := n.run(t.Context(), "isolated", pod, "python", "-c", "import socket; socket.gethostbyname('database')"); err != nil {
				t.Error(err)
			}
		}
	})
}
