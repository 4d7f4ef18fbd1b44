package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	services := map[string]*dynamic.Service{}
	for _, name := range []string{"page", "api", "any", "none"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, name+" for "+r.Host)
		}))
		t.Cleanup(server.Close)
		services[name] = &dynamic.Service{LoadBalancer: &dynamic.ServersLoadBalancer{Servers: []dynamic.Server{{URL: server.URL, Fenced: name == "none"}}}}
	}
	f := newFront()
	f.apply(t.Context(), &dynamic.Configuration{HTTP: &dynamic.HTTPConfiguration{Services: services, Routers: map[string]*dynamic.Router{
		"page":  {Rule: `Host("shop.example") && PathPrefix("/")`, Service: "page"},
		"api":   {Rule: `Host("shop.example") && (Path("/api") || PathPrefix("/api/"))`, Service: "api"},
		"any":   {Rule: `Host("*.any.example")`, Service: "any"},
		"ended": {Rule: `Host("ended.example")`, Service: "none"},
		"wrong": {Rule: `Header("a", "b")`, Service: "page"},
	}}})
	for url, want := range map[string]string{
		"http://shop.example/":        "page for shop.example",
		"http://SHOP.example:443/a":   "page for SHOP.example:443",
		"http://shop.example/api":     "api for shop.example",
		"http://shop.example/api/1":   "api for shop.example",
		"http://shop.example/apis":    "page for shop.example",
		"http://one.any.example/":     "any for one.any.example",
		"http://one.two.any.example/": "404 page not found\n",
		"http://any.example/":         "404 page not found\n",
		"http://ended.example/":       "404 page not found\n",
	} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// TestGateways is about what Gateways add to Ingresses: entry points, weights, ranks, and a provider beside another one.
func TestGateways(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+r.URL.Path) }))
	t.Cleanup(server.Close)
	gateways := &dynamic.Configuration{HTTP: &dynamic.HTTPConfiguration{
		Services: map[string]*dynamic.Service{
			"shop-wrr": {Weighted: &dynamic.WeightedRoundRobin{Services: []dynamic.WRRService{{Name: "shop-svc", Weight: new(1)}}}},
			"shop-svc": {LoadBalancer: &dynamic.ServersLoadBalancer{Servers: []dynamic.Server{{URL: server.URL}}}},
			"other":    {LoadBalancer: &dynamic.ServersLoadBalancer{Servers: []dynamic.Server{{URL: server.URL + "/other"}}}},
			"none-wrr": {Weighted: &dynamic.WeightedRoundRobin{Services: []dynamic.WRRService{{Name: "none", Status: new(500)}}}},
		},
		Routers: map[string]*dynamic.Router{
			"shop":   {Rule: `Host("shop.example") && PathPrefix("/")`, Service: "shop-wrr", Priority: 1000},
			"lower":  {Rule: `Host("shop.example") && PathPrefix("/") && PathPrefix("/")`, Service: "other", Priority: 1},
			"secure": {Rule: `Host("secure.example") && PathPrefix("/")`, Service: "shop-wrr", EntryPoints: []string{entrySecure}},
			"none":   {Rule: `Host("none.example") && PathPrefix("/")`, Service: "none-wrr"},
		},
	}}
	ingresses := &dynamic.Configuration{HTTP: &dynamic.HTTPConfiguration{
		Services: map[string]*dynamic.Service{"old": {LoadBalancer: &dynamic.ServersLoadBalancer{Servers: []dynamic.Server{{URL: server.URL + "/old"}}}}},
		Routers:  map[string]*dynamic.Router{"old": {Rule: `Host("old.example") && PathPrefix("/")`, Service: "old"}},
	}}
	f, changes := newFront(), make(chan dynamic.Message)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.follow(ctx, changes) }()
	changes <- dynamic.Message{ProviderName: "ingress", Configuration: ingresses}
	changes <- dynamic.Message{ProviderName: "gateway", Configuration: gateways}
	changes <- dynamic.Message{ProviderName: "gateway"} // the one before is applied
	cancel()
	<-ended
	for url, want := range map[string]string{
		"http://shop.example/":    "shop.example/",
		"http://old.example/":     "old.example/old/",
		"http://secure.example/":  "404 page not found\n",
		"https://secure.example/": "secure.example/",
		"http://none.example/":    "404 page not found\n",
	} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
