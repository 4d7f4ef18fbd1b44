// Package ext is where Traefik lets others add to its configuration. Its own one is not part of its module, and adds nothing.
package ext

// HTTP is added to the configuration of HTTP.
type HTTP struct{}

// Router is added to the configuration of a router.
type Router struct{}
