package main

import (
	"strings"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/provider/kubernetes/gateway"
	"github.com/traefik/traefik/v3/pkg/safe"
)

// The entry points by which listeners of Gateways are known. Their ports are those of the Service, as the world knows them.
const (
	entryPlain  = "http"
	entrySecure = "https"
)

// provideGateways follows Gateways of the controller traefik.io/gateway-controller, and their routes. The kinds must be there.
// Their status says the addresses of the service, NAMESPACE/NAME; "" leaves them out.
func provideGateways(service string, changes chan<- dynamic.Message, pool *safe.Pool) error {
	provider := &gateway.Provider{EntryPoints: map[string]gateway.Entrypoint{entryPlain: {Address: ":80"}, entrySecure: {Address: ":443"}}}
	provider.SetDefaults()
	if namespace, name, ok := strings.Cut(service, "/"); ok {
		provider.StatusAddress = &gateway.StatusAddress{Service: gateway.ServiceRef{Namespace: namespace, Name: name}}
	}
	if err := provider.Init(); err != nil {
		return err
	}
	return provider.Provide(changes, pool)
}
