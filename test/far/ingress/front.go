package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	traefiktls "github.com/traefik/traefik/v3/pkg/tls"
)

// front passes requests on by the newest configuration.
type front struct {
	routes  atomic.Pointer[[]route]
	certs   *traefiktls.Manager
	backend *http.Transport
}

// route is a rule and where its requests go.
type route struct {
	rule    string
	rank    int      // the higher one is asked first
	entries []string // entry points that it is for; none: all
	matches matcher
	servers []*url.URL
	next    *atomic.Uint64 // the server whose turn it is
}

func (one route) takes(r *http.Request) bool {
	entry := entryPlain
	if r.TLS != nil {
		entry = entrySecure
	}
	return (len(one.entries) == 0 || slices.Contains(one.entries, entry)) && one.matches(r)
}

func newFront() *front {
	f := &front{certs: traefiktls.NewManager(nil), backend: http.DefaultTransport.(*http.Transport).Clone()}
	f.backend.Proxy = nil // pods are asked directly
	f.routes.Store(&[]route{})
	return f
}

// follow takes over each configuration that comes, beside the newest of the other providers.
func (f *front) follow(ctx context.Context, changes <-chan dynamic.Message) {
	known := map[string]*dynamic.Configuration{}
	for {
		select {
		case <-ctx.Done():
			return
		case change := <-changes:
			if change.Configuration == nil { // it could not be read: what was known stays
				continue
			}
			known[change.ProviderName] = change.Configuration
			f.apply(ctx, slices.Collect(maps.Values(known))...)
		}
	}
}

func (f *front) apply(ctx context.Context, all ...*dynamic.Configuration) {
	var certs []*traefiktls.CertAndStores
	var routes []route
	for _, c := range all {
		if c.TLS != nil {
			certs = append(certs, c.TLS.Certificates...)
		}
		more, err := routesOf(c.HTTP)
		if err != nil {
			fmt.Fprintln(os.Stderr, "left out:", err)
		}
		routes = append(routes, more...)
	}
	slices.SortFunc(routes, func(a, b route) int { return cmp.Or(b.rank-a.rank, strings.Compare(a.rule, b.rule)) })
	f.certs.UpdateConfigs(ctx, nil, map[string]traefiktls.Options{traefiktls.DefaultTLSConfigName: traefiktls.DefaultTLSOptions}, certs)
	f.routes.Store(&routes)
	for _, r := range routes {
		fmt.Fprintln(os.Stderr, r.rule, "->", r.servers)
	}
}

// tlsConfig asks for the certificates anew with each connection.
func (f *front) tlsConfig() *tls.Config {
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return f.certs.Get(traefiktls.DefaultTLSStoreName, traefiktls.DefaultTLSConfigName)
	}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}
}

// ServeHTTP passes the request to a server of the first route that matches.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	routes := *f.routes.Load()
	i := slices.IndexFunc(routes, func(one route) bool { return one.takes(r) })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	server := routes[i].servers[routes[i].next.Add(1)%uint64(len(routes[i].servers))]
	proxy := httputil.ReverseProxy{Transport: f.backend, FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(server)
		p.Out.Host = p.In.Host
		p.SetXForwarded()
	}}
	proxy.ServeHTTP(w, r)
}

// routesOf are the routes that have servers. Rules that are not understood are left out, and are in the error. A router without
// a rank of its own has the length of its rule, as in Traefik.
func routesOf(c *dynamic.HTTPConfiguration) (routes []route, err error) {
	var left []string
	for name, router := range c.Routers {
		matches, err := parse(router.Rule)
		if err != nil {
			left = append(left, fmt.Sprintf("%s: %q: %v", name, router.Rule, err))
			continue
		}
		if servers := serversOf(c.Services, router.Service); len(servers) > 0 {
			rank := cmp.Or(router.Priority, len(router.Rule))
			routes = append(routes, route{router.Rule, rank, router.EntryPoints, matches, servers, &atomic.Uint64{}})
		}
	}
	if len(left) > 0 {
		slices.Sort(left)
		err = fmt.Errorf("%s", strings.Join(left, "; "))
	}
	return routes, err
}

// serversOf are those that take new requests; a pod that ends answers what it has. A weighted service has those of the services
// that it names, one like the other: there is no more than one in a route of Perch.
func serversOf(services map[string]*dynamic.Service, name string) []*url.URL {
	var servers []*url.URL
	s := services[name]
	if s == nil {
		return nil
	}
	if s.Weighted != nil {
		for _, one := range s.Weighted.Services {
			servers = append(servers, serversOf(services, one.Name)...)
		}
	}
	if s.LoadBalancer != nil {
		for _, one := range s.LoadBalancer.Servers {
			if u, err := url.Parse(one.URL); err == nil && !one.Fenced {
				servers = append(servers, u)
			}
		}
	}
	return servers
}
