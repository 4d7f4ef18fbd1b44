package chart

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// service is the template of a Service. One that is for the outside has its type by a value.
func (x *exporter) service(u *unit, t tree) {
	spec := mapping(t, "spec")
	name, kind := nameOf(t), word(t, "spec", "type")
	headless := spec["clusterIP"] == "None"
	tcp := x.portsOf(t)
	outside := strings.HasSuffix(name, "-published") || kind == "LoadBalancer" || kind == "NodePort"
	if !outside || headless {
		return
	}
	values := x.values.at(u.id).field("service")
	values.comment = "How the world reaches it."
	values.set("type", kind, "ClusterIP, NodePort or LoadBalancer.")
	values.set("annotations", tree{}, "")
	at := ".Values." + u.id + ".service"
	spec["type"] = raw("{{ " + at + ".type }}")
	if m := mapping(t, "metadata", "annotations"); m != nil {
		m[merged] = addedWhen(at + ".annotations")
	} else {
		put(t, "metadata")["annotations"] = wanted(at + ".annotations")
	}
	if len(tcp) > 0 {
		x.urls = append(x.urls, url{Service: name, ID: u.id, Port: tcp[0]})
	}
}

// portsOf are the TCP ports of a Service, which the chart's test connects to.
func (x *exporter) portsOf(t tree) []int64 {
	var all []int64
	for _, p := range list(mapping(t, "spec"), "ports") {
		n, ok := p["port"].(json.Number)
		if !ok || (word(p, "protocol") != "TCP" && word(p, "protocol") != "") {
			continue
		}
		port, err := n.Int64()
		if err != nil {
			continue
		}
		all = append(all, port)
		// A headless Service has the ports of its pods, whatever it says: one with an address stands for both.
		if mapping(t, "spec")["clusterIP"] != "None" {
			x.ports = append(x.ports, address{Service: nameOf(t), Port: port})
		}
	}
	return all
}

// ingress has class, hosts and certificates by values. When its hosts differ in more than their names, the rules are a
// value.
func (x *exporter) ingress(u *unit, t tree) (string, error) {
	at := ".Values." + u.id + ".ingress"
	values := x.values.at(u.id).field("ingress")
	spec := mapping(t, "spec")
	values.set("enabled", true, "")
	values.set("className", word(spec, "ingressClassName"), "Empty: the cluster's default.")
	annotations := mapping(t, "metadata", "annotations")
	if annotations == nil {
		annotations = tree{}
	}
	values.set("annotations", annotations, "")
	put(t, "metadata")["annotations"] = wanted(at + ".annotations")
	spec["ingressClassName"] = wantedScalar(at+".className", quoteIt)
	tls, ok := spec["tls"].([]any)
	if !ok {
		tls = []any{}
	}
	values.set("tls", tls, "As [{hosts: [shop.example.com], secretName: shop-tls}].")
	spec["tls"] = wanted(at + ".tls")
	x.rules(values, spec, at)
	x.hosts = append(x.hosts, u.id)
	x.instances(t)
	out, err := text(t)
	return "{{- if " + at + ".enabled }}\n" + out + "{{- end }}\n", err
}

func (x *exporter) rules(values *entry, spec tree, at string) {
	rules := list(spec, "rules")
	var hosts []any
	for _, r := range rules {
		if word(r, "host") == "" || !reflect.DeepEqual(r["http"], rules[0]["http"]) {
			values.set("rules", spec["rules"], "")
			spec["rules"] = wanted(at + ".rules")
			return
		}
		hosts = append(hosts, r["host"])
	}
	if len(rules) == 0 {
		return
	}
	values.set("hosts", hosts, "Names under which the world reaches it.")
	http := rules[0]["http"]
	spec["rules"] = block(func(key string, indent int) (string, error) {
		inner, err := text(tree{"http": http})
		if err != nil {
			return "", err
		}
		return lines(indent, key+":") + lines(indent+2, "{{- range "+at+".hosts }}", "- host: {{ . | quote }}") +
			indented(inner, indent+4) + lines(indent+2, "{{- end }}"), nil
	})
}

// route has its hosts and gateways by values.
func (x *exporter) route(u *unit, t tree) {
	values := x.values.at(u.id).field("gateway")
	spec := mapping(t, "spec")
	for field, comment := range map[string]string{"hostnames": "Names under which the world reaches it.", "parentRefs": "The Gateways that take requests for it."} {
		if v, ok := spec[field]; ok {
			values.set(field, v, comment)
			spec[field] = given(".Values." + u.id + ".gateway." + field)
		}
	}
}

// autoscaler has its bounds by values.
func (x *exporter) autoscaler(u *unit, t tree) {
	values := x.values.at(u.id).field("autoscaling")
	spec := mapping(t, "spec")
	for _, field := range []string{"minReplicas", "maxReplicas"} {
		if v, ok := spec[field]; ok {
			values.set(field, v, "")
			spec[field] = raw("{{ .Values." + u.id + ".autoscaling." + field + " }}")
		}
	}
}

// budget is only for what has more than one replica.
func (x *exporter) budget(u *unit, t tree) (string, error) {
	x.instances(t)
	out, err := text(t)
	if !x.values.at(u.id).has("replicas") && !replicated(u) {
		return out, err
	}
	return fmt.Sprintf("{{- if gt (int .Values.%s.replicas) 1 }}\n%s{{- end }}\n", u.id, out), err
}

// replicated tells whether the number of a unit's replicas is a value.
func replicated(u *unit) bool {
	for _, t := range u.objects {
		if _, ok := mapping(t, "spec")["replicas"]; ok && podTemplate(t) != nil {
			return true
		}
	}
	return false
}
