package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/connrotation"

	"github.com/perch-k8s/perch/internal/fault"
)

// dialPatience bounds how long a connection of Apart may take to come about.
const dialPatience = 5 * time.Second

// Through is the client with all its requests going through wrap. It shares connections and what is known of the cluster.
func (c *Client) Through(wrap transport.WrapperFunc) (*Client, error) {
	config := rest.CopyConfig(c.REST)
	config.Wrap(wrap)
	return c.with(config)
}

// Apart is the client with connections of its own, and a function that closes them, so that what is asked next goes by a new
// one. It is for who must know whether the API server answers. A connection that all share, and that somebody on the way has
// forgotten, is found out by HTTP/2's health check only, after 45 s (client-go's defaults), and is in use until then.
func (c *Client) Apart() (apart *Client, drop func(), err error) {
	config := rest.CopyConfig(c.REST)
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialPatience}).DialContext
	}
	dialer := connrotation.NewDialer(dial)
	config.Dial = dialer.DialContext
	apart, err = c.with(config)
	return apart, dialer.CloseAll, err
}

// with is the client with another configuration for the same cluster.
func (c *Client) with(config *rest.Config) (*Client, error) {
	other, err := New(config, c.Namespace)
	if err != nil {
		return nil, err
	}
	other.Discovery, other.Mapper = c.Discovery, c.Mapper
	other.Context, other.Kubeconfig = c.Context, c.Kubeconfig
	return other, nil
}

// Silent is the error, of kind fault.Unreachable, for a run that ends because the API server did not answer, or with errors
// only, for so long. err is that of the last attempt.
func (c *Client) Silent(quiet time.Duration, err error) error {
	what, why := "has not answered", err.Error()
	if e, ok := errors.AsType[*url.Error](err); ok {
		why = e.Err.Error() // the rest is our request, which nobody has asked for
	}
	switch {
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown:
		what = "has answered with errors only"
	case errors.Is(err, context.DeadlineExceeded):
		why = "no answer comes, and no refusal either"
	}
	return fault.New(fault.Unreachable, "run the same command again when it answers: it takes over and finishes what was begun; "+c.lookHint(),
		"cluster %s: the API server %s for %s: %s", c.place(), what, quiet.Round(time.Second), why)
}

// place names the cluster, for errors: its address, and the context that leads there.
func (c *Client) place() string {
	if c.Context == "" {
		return c.REST.Host
	}
	return fmt.Sprintf("%s (context %s)", c.REST.Host, c.Context)
}

// lookHint is the command for a cluster that does not answer.
func (c *Client) lookHint() string {
	if cluster, ok := embedded(c.Context); ok {
		return startHint(cluster)
	}
	if c.Context == "" {
		return "is the cluster running? perch kubectl cluster-info"
	}
	return fmt.Sprintf("is the cluster running? perch kubectl --context %s cluster-info", c.Context)
}

// lastSeen is the error for a wait that ended because nobody answers. Why is in its context's cause.
func (w *wait) lastSeen(last verdict) error {
	text := fmt.Sprintf("%d/%d ready when it was last seen", last.ready, last.total)
	if last.total == 0 {
		text = "not seen before the API server stopped answering"
	}
	if len(last.troubles) > 0 {
		text += "; " + last.troubles[0].place()
	} else if last.note != "" {
		text += "; " + last.note
	}
	return &fault.Error{Kind: fault.Unreachable, Err: &RolloutError{Workload: w.title, Service: w.service, Cause: CauseSilent, Text: text}}
}
