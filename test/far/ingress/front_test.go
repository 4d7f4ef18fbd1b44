package main

import (
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
