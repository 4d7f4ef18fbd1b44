package main

import (
	"context"
	"crypto/tls"
	"fmt"
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
	matches matcher
	servers []*url.URL
	next    *atomic.Uint64 // the server whose turn it is
}

func newFront() *front {
	f := &front{certs: traefiktls.NewManager(nil), backend: http.DefaultTransport.(*http.Transport).Clone()}
	f.backend.Proxy = nil // pods are asked directly
	f.routes.Store(&[]route{})
	return f
}

// follow takes over each configuration that comes.
func (f *front) follow(ctx context.Context, changes <-chan dynamic.Message) {
	for {
		select {
		case <-ctx.Done():
			return
		case change := <-changes:
			f.apply(ctx, change.Configuration)
		}
	}
}

func (f *front) apply(ctx context.Context, c *dynamic.Configuration) {
	var certs []*traefiktls.CertAndStores
	if c.TLS != nil {
		certs = c.TLS.Certificates
	}
	f.certs.UpdateConfigs(ctx, nil, map[string]traefiktls.Options{traefiktls.DefaultTLSConfigName: traefiktls.DefaultTLSOptions}, certs)
	routes, err := routesOf(c.HTTP)
	if err != nil {
		fmt.Fprintln(os.Stderr, "left out:", err)
	}
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
	i := slices.IndexFunc(routes, func(one route) bool { return one.matches(r) })
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

// routesOf are the routes that have servers, the most particular rule first, as Traefik ranks them: by its length. Rules that
// are not understood are left out, and are in the error.
func routesOf(c *dynamic.HTTPConfiguration) (routes []route, err error) {
	var left []string
	for name, router := range c.Routers {
		matches, err := parse(router.Rule)
		if err != nil {
			left = append(left, fmt.Sprintf("%s: %q: %v", name, router.Rule, err))
			continue
		}
		if servers := serversOf(c.Services[router.Service]); len(servers) > 0 {
			routes = append(routes, route{router.Rule, matches, servers, &atomic.Uint64{}})
		}
	}
	slices.SortFunc(routes, func(a, b route) int {
		if n := len(b.rule) - len(a.rule); n != 0 {
			return n
		}
		return strings.Compare(a.rule, b.rule)
	})
	if len(left) > 0 {
		slices.Sort(left)
		err = fmt.Errorf("%s", strings.Join(left, "; "))
	}
	return routes, err
}

// serversOf are those that take new requests; a pod that ends answers what it has.
func serversOf(s *dynamic.Service) []*url.URL {
	if s == nil || s.LoadBalancer == nil {
		return nil
	}
	var servers []*url.URL
	for _, one := range s.LoadBalancer.Servers {
		if u, err := url.Parse(one.URL); err == nil && !one.Fenced {
			servers = append(servers, u)
		}
	}
	return servers
}
