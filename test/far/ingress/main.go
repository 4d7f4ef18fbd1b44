// Command ingress is the ingress controller of the tests' remote cluster. How Ingresses, Services, endpoints and Secrets are
// read, which class is its own, and what an Ingress' status says, is Traefik's code (its Kubernetes provider); Gateways and
// their routes likewise. Traefik whole would take as long to build as Kubernetes, most of it for clouds: requests are passed on
// by Go's reverse proxy instead, with HTTP/2, websockets and the certificate that the name asks for.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/provider/kubernetes/ingress"
	"github.com/traefik/traefik/v3/pkg/safe"
)

const drain = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("ingress", flag.ContinueOnError)
	class := flags.String("class", "", "`name` of the IngressClass whose Ingresses are served")
	gateways := flags.Bool("gateways", false, "serve Gateways and their routes too")
	service := flags.String("service", "", "`NAMESPACE/NAME` of the Service that this program is reached by, for the status of Ingresses and Gateways")
	plain := flags.String("http", ":8080", "`address` for HTTP")
	secure := flags.String("https", ":8443", "`address` for HTTPS")
	if err := flags.Parse(args); err != nil {
		return err
	}
	provider := ingress.Provider{IngressClass: *class, StrictPrefixMatching: true}
	if *service != "" {
		provider.IngressEndpoint = &ingress.EndpointIngress{PublishedService: *service}
	}
	pool := safe.NewPool(ctx)
	defer pool.Stop()
	changes := make(chan dynamic.Message)
	if err := provider.Provide(changes, pool); err != nil {
		return err
	}
	if *gateways {
		if err := provideGateways(*service, changes, pool); err != nil {
			return err
		}
	}
	front := newFront()
	pool.GoCtx(func(ctx context.Context) { front.follow(ctx, changes) })
	return serve(ctx,
		&http.Server{Addr: *plain, Handler: front, ReadHeaderTimeout: drain},
		&http.Server{Addr: *secure, Handler: front, ReadHeaderTimeout: drain, TLSConfig: front.tlsConfig()},
	)
}

// serve runs both servers until ctx ends or one of them fails. Requests under way are then answered.
func serve(ctx context.Context, plain, secure *http.Server) error {
	ended := make(chan error, 2)
	go func() { ended <- plain.ListenAndServe() }()
	go func() { ended <- secure.ListenAndServeTLS("", "") }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	_ = plain.Shutdown(ctx)
	_ = secure.Shutdown(ctx)
	return err
}
