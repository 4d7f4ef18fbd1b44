package compose

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Provided says that a service runs elsewhere, as a managed database does. What would become of the service here is not
// rendered: its name leads there, and the variables of other services that are a connection to it get what is said here.
//
//	x-perch:
//	  provided:
//	    url: ${DATABASE_URL}   # or host: and port:, or secret:
//
// The same under x-perch.targets.TARGET.provided.SERVICE of the top level counts when that target is chosen.
type Provided struct {
	Host   string            `yaml:"host"`   // a DNS name or an IP address
	Port   int32             `yaml:"port"`   // 0: the one that the variables have
	URL    string            `yaml:"url"`    // scheme://user:password@host:port/database?settings, each part as far as it is there
	Secret string            `yaml:"secret"` // a Secret of the namespace that holds the values of variables
	Keys   map[string]string `yaml:"keys"`   // key of Secret by variable; none: each variable of a connection has the key of its name
}

// Chart says that a service is what a Helm chart makes of it. One of Repo, OCI and Path is set.
//
//	x-perch:
//	  chart:
//	    repo: https://charts.example.com
//	    name: postgresql
//	    version: 1.2.3
//	    values: {auth: {database: shop}}
type Chart struct {
	Repo        string         `yaml:"repo"`         // URL of a chart repository; with Name
	Name        string         `yaml:"name"`         // of the chart in Repo
	OCI         string         `yaml:"oci"`          // oci://REGISTRY/PATH/NAME
	Version     string         `yaml:"version"`      // one version, no range; of Repo and OCI
	Path        string         `yaml:"path"`         // a folder or an archive; absolute in a Project
	Values      map[string]any `yaml:"values"`       // those of ValuesFiles are among them in a Project
	ValuesFiles []string       `yaml:"values_files"` // under Values, in order
	Service     string         `yaml:"service"`      // the chart's Service that answers under the service's name; "": the only one it has
	SecretValue string         `yaml:"secret_value"` // path of the value that gets the name of a Secret with the service's sensitive variables
}

// SecretKey is a value in a Secret that is in the namespace already.
type SecretKey struct{ Secret, Key string }

// Elsewhere tells whether no container of the service is Perch's to make: it is provided, or a chart's.
func (p *Project) Elsewhere(service string) bool {
	x := p.Services[service]
	return x.Provided != nil || x.Chart != nil
}

// String is the chart as people name it.
func (c Chart) String() string {
	switch {
	case c.OCI != "":
		return c.OCI + " " + c.Version
	case c.Repo != "":
		return c.Name + " " + c.Version + " of " + c.Repo
	}
	return filepath.Base(c.Path)
}

// Where is the host and port of what is provided, as far as they are known here.
func (p Provided) Where() string {
	switch {
	case p.Host == "":
		return "where the Secret " + p.Secret + " says"
	case p.Port == 0:
		return p.Host
	}
	return p.Host + ":" + strconv.Itoa(int(p.Port))
}

// elsewhere checks what is provided or a chart, and leads those who use what is provided there.
func (r *reading) elsewhere() {
	p := r.project
	for _, name := range sortedNames(p.Target.Provided) {
		at := []string{extensionKey, targetsKey, p.Target.Name, "provided", name}
		if _, there := p.Project.Services[name]; !there {
			if _, off := p.DisabledServices[name]; !off {
				r.problem(r.at(at...), fmt.Sprintf("%sthere is no service %q", subject(at[:4]), name), didYouMean(name, sortedNames(p.Project.Services)))
			}
			continue
		}
		x, provided := p.Services[name], p.Target.Provided[name]
		p.replaced = append(p.replaced, x)
		x.Provided, x.Chart = &provided, nil // the target has the last word
		p.Services[name] = x
	}
	for _, name := range sortedNames(p.Project.Services) {
		x := p.Services[name]
		at := []string{"services", name, extensionKey}
		switch {
		case x.Provided != nil && x.Chart != nil:
			r.problem(r.at(append(at, "chart")...), subject(at)+"it cannot be provided and a chart", "keep one of them, or provide it for a target only: x-perch.targets")
		case x.Provided != nil:
			if _, of := p.Target.Provided[name]; of {
				at = []string{extensionKey, targetsKey, p.Target.Name, "provided", name}
			} else {
				at = append(at, "provided")
			}
			r.provide(name, at)
		case x.Chart != nil:
			r.notOfCharts(name)
			r.chart(name, append(at, "chart"))
		}
		r.sharesNothing(name)
	}
}

// sharesNothing refuses services that want to be in the pod of one that has none of Perch's.
func (r *reading) sharesNothing(name string) {
	host := PodOf(r.project.Project, name)
	if host != name && (r.project.Elsewhere(host) || r.project.Elsewhere(name)) {
		at := []string{"services", name}
		r.problem(r.at(at...), fmt.Sprintf("%sit shares the pod of %q, and one of them is provided or a chart", subject(at), host), "leave out what they share, as network_mode")
	}
}

// provide checks one service that is provided, completes what is said of it from its URL, and rewrites who uses it.
func (r *reading) provide(name string, at []string) {
	before := len(r.problems)
	x := r.project.Services[name]
	c := r.checkProvided(x.Provided, at)
	if len(r.problems) > before {
		return
	}
	if x.Provided.URL != "" || x.Provided.Host == "" || c.port != "" {
		x.Provided.Host, x.Provided.Port = c.host, c.number()
	}
	r.lead(name, *x.Provided, c, at)
}

func (r *reading) checkProvided(p *Provided, at []string) connection {
	problem := func(key, message, hint string) {
		r.problem(r.at(append(slices.Clone(at), key)...), subject(at)+message, hint)
	}
	c := connection{host: p.Host}
	if p.Port != 0 {
		c.port = strconv.Itoa(int(p.Port))
	}
	switch {
	case p.URL == "" && p.Host == "" && p.Secret == "":
		problem("url", "url, host or secret is needed", "where does it run? as in url: ${DATABASE_URL}")
	case p.URL != "" && p.Host+p.Secret != "":
		problem("url", "url says all that host and secret say", "keep one of them")
	case p.URL != "":
		u, err := url.Parse(p.URL)
		if err != nil || u.Scheme == "" || u.Hostname() == "" {
			problem("url", "url is not a URL with a host", "as in postgres://user:password@host:5432/database; special characters of a password are written as %40")
			break
		}
		c = connectionOf(u)
	}
	if p.Port < 0 || p.Port > 65535 {
		problem("port", fmt.Sprintf("port %d is not between 1 and 65535", p.Port), "")
	}
	if p.Port != 0 && p.Host == "" {
		problem("port", "port is of a host, which is not given", "write the port into url:, or give host:")
	}
	if _, err := netip.ParseAddr(c.host); err != nil && c.host != "" && len(validation.IsDNS1123Subdomain(c.host)) > 0 {
		problem("host", fmt.Sprintf("%q is neither a DNS name nor an IP address", c.host), "use lower-case letters, digits, hyphens and dots")
	}
	if ofThePod(c.host) {
		problem("host", fmt.Sprintf("in a pod %s is the pod itself", c.host), "give a name or an address that pods can reach")
	}
	if p.Secret != "" && len(validation.IsDNS1123Subdomain(p.Secret)) > 0 {
		problem("secret", fmt.Sprintf("secret: %q is not a name that Kubernetes takes", p.Secret), "")
	}
	if len(p.Keys) > 0 && p.Secret == "" {
		problem("keys", "keys are of a Secret, which is not given", "name it: secret: NAME")
	}
	for _, name := range sortedNames(p.Keys) {
		if len(validation.IsConfigMapKey(p.Keys[name])) > 0 {
			problem("keys", fmt.Sprintf("keys: %q is not a key that a Secret can have", p.Keys[name]), "")
		}
	}
	return c
}

// ofThePod tells whether a host is another one in each pod.
func ofThePod(host string) bool {
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost" || strings.HasSuffix(host, ".localhost")
	}
	return address.IsLoopback() || address.IsUnspecified() || address.IsLinkLocalUnicast() || address.IsMulticast()
}

// exactVersion is a version of a chart: with a range, the same file would install something else tomorrow.
var exactVersion = regexp.MustCompile(`^v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// chart checks one service that is a chart, and reads its files of values.
func (r *reading) chart(name string, at []string) {
	x := r.project.Services[name]
	c := *x.Chart
	problem := func(key, message, hint string) {
		r.problem(r.at(append(slices.Clone(at), key)...), subject(at)+message, hint)
	}
	given := slices.DeleteFunc([]string{c.Repo, c.OCI, c.Path}, func(s string) bool { return s == "" })
	if len(given) != 1 {
		problem("repo", "one of repo, oci and path is needed", "where is the chart? as in repo: https://charts.example.com, with name: and version:")
		return
	}
	switch {
	case c.Path != "":
		c.Path = absolute(r.dir, c.Path)
		if info, err := os.Stat(c.Path); err != nil || info.IsDir() && !isFile(filepath.Join(c.Path, "Chart.yaml")) {
			problem("path", fmt.Sprintf("path: there is no chart at %s", x.Chart.Path), "it is a folder with a Chart.yaml in it, or an archive of one")
		}
		if c.Version != "" {
			problem("version", "the chart at a path has the version that its Chart.yaml says", "leave version out")
		}
	case c.Repo != "":
		if u, err := url.Parse(c.Repo); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			problem("repo", "repo is not the http or https URL of a chart repository", "for a registry write oci: oci://REGISTRY/PATH/NAME")
		}
		if c.Name == "" {
			problem("name", "name is needed: the chart's in the repository", "")
		}
	default:
		if rest, ok := strings.CutPrefix(c.OCI, "oci://"); !ok || !strings.Contains(strings.Trim(rest, "/"), "/") {
			problem("oci", "oci is not oci://REGISTRY/PATH/NAME", "")
		}
	}
	if c.Path == "" && !exactVersion.MatchString(c.Version) {
		problem("version", fmt.Sprintf("version: %q is not one version", c.Version), "as in 1.2.3: with a range, the same file would install something else tomorrow")
	}
	if c.Service != "" && len(validation.IsDNS1035Label(c.Service)) > 0 {
		problem("service", fmt.Sprintf("service: %q is not a name that a Service can have", c.Service), "")
	}
	c.Values = r.chartValues(c, at)
	x.Chart = &c
	r.project.Services[name] = x
	if ports := r.project.Project.Services[name].Ports; len(ports) > 0 {
		r.warn(r.at("services", name, "ports"), subject([]string{"services", name})+"ports of a service that is a chart are not published", "use perch kubectl port-forward, or values of the chart")
	}
}

// chartValues are the values of the files with those of the Compose file over them.
func (r *reading) chartValues(c Chart, at []string) map[string]any {
	all := map[string]any{}
	for i, file := range c.ValuesFiles {
		place := r.at(append(slices.Clone(at), "values_files", strconv.Itoa(i))...)
		data, err := readFile(absolute(r.dir, file), largestFile)
		if err != nil {
			r.problem(place, fmt.Sprintf("%svalues_files: %s cannot be read: %s", subject(at), file, reason(err)), "")
			continue
		}
		var values map[string]any
		if err := yaml.Unmarshal(data, &values); err != nil {
			r.problem(place, fmt.Sprintf("%svalues_files: %s: %s", subject(at), file, yamlReason(err)), "")
			continue
		}
		overlay(all, values)
	}
	overlay(all, mapOf(clone(c.Values)))
	return all
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// eachElsewhere goes over what x-perch says of services that run elsewhere and may be secret: URLs, and values of charts.
func (p *Project) eachElsewhere(visit func(name, value string, sensitive bool)) {
	provided := func(one Provided) {
		if one.URL == "" {
			return
		}
		visit("url", one.URL, Sensitive("url", one.URL))
		if u, err := url.Parse(one.URL); err == nil {
			if password, ok := u.User.Password(); ok {
				visit("password", password, true)
			}
		}
	}
	for _, target := range sortedNames(p.Targets) {
		for _, name := range sortedNames(p.Targets[target].Provided) {
			provided(p.Targets[target].Provided[name])
		}
	}
	said := slices.Clone(p.replaced)
	for _, name := range sortedNames(p.Services) {
		said = append(said, p.Services[name])
	}
	for _, x := range said {
		if x.Provided != nil {
			provided(*x.Provided)
		}
		if x.Chart != nil {
			eachValue(x.Chart.Values, visit)
		}
	}
}

// eachValue goes over the texts among the values of a chart, each under the name of its key.
func eachValue(values map[string]any, visit func(name, value string, sensitive bool)) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch v := values[key].(type) {
		case map[string]any:
			eachValue(v, visit)
		case string:
			if v != "" {
				visit(key, v, Sensitive(key, v))
			}
		}
	}
}

// runsElsewhere tells whether a file says that the service is provided or a chart, so that it needs no image. The extension is
// not decoded yet.
func (r *reading) runsElsewhere(name string) bool {
	if _, provided := r.targets[r.options.Target].Provided[name]; provided {
		return true
	}
	for _, key := range []string{"provided", "chart"} {
		if _, value := descendFirst(r.files, "services", name, extensionKey, key); value != nil {
			return true
		}
	}
	return false
}

// KeysOf are the keys that variables of the project read from a Secret which is there already, sorted.
func (p *Project) KeysOf(secret string) []string {
	var all []string
	for _, extensions := range []map[string]ServiceExtension{p.Services, p.JobExtensions} {
		for _, x := range extensions {
			for _, key := range x.SecretKeys {
				if key.Secret == secret && !slices.Contains(all, key.Key) {
					all = append(all, key.Key)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// Places are the services that run elsewhere, each with where, as far as what they hold goes by it: another place has other
// data. They are sorted, and hold no password.
func (p *Project) Places() []string {
	var all []string
	for _, name := range sortedNames(p.Project.Services) {
		x := p.Services[name]
		switch {
		case x.Chart != nil:
			all = append(all, name+": chart")
		case x.Provided != nil:
			place := name + ": " + x.Provided.Where()
			if u, err := url.Parse(x.Provided.URL); err == nil {
				place += u.Path
			}
			all = append(all, place)
		}
	}
	return all
}
