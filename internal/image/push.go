package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/perch-k8s/perch/internal/progress"
)

// pushing is one artifact on its way to a registry.
type pushing struct {
	hub    *hub
	id     string // of its events
	report progress.Reporter
	to     name.Tag
}

// push sends what the registry has not, then the manifest by its digest, and at the very end gives it the tag: what is cut
// off leaves no name behind, and what has arrived is not sent again.
func (p pushing) push(ctx context.Context, a artifact) error {
	updates := make(chan ggcr.Update)
	told := make(chan struct{})
	go func() {
		defer close(told)
		p.tell(updates)
	}()
	err := p.send(ctx, a, updates)
	close(updates)
	<-told
	if err != nil {
		return p.hub.fault(ctx, fmt.Sprintf("image %q cannot be pushed", familiar(p.to.Name())), p.to.Context(), err)
	}
	return nil
}

func (p pushing) send(ctx context.Context, a artifact, updates chan<- ggcr.Update) error {
	digest, err := a.Digest()
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(append(p.hub.options(ctx, p.again), remote.WithProgress(updates))...)
	if err != nil {
		return err
	}
	if err := pusher.Push(ctx, p.to.Digest(digest.String()), a); err != nil {
		return err
	}
	return pusher.Put(ctx, p.to, a)
}

func (p pushing) text() string { return "pushing " + familiar(p.to.Name()) }

// tell reports how far the push is, some times a second.
func (p pushing) tell(updates <-chan ggcr.Update) {
	p.report.Report(progress.Event{ID: p.id, Status: progress.Working, Text: p.text()})
	var last time.Time
	for u := range updates {
		if now := time.Now(); now.Sub(last) >= pullTick || u.Complete == u.Total {
			last = now
			p.report.Report(progress.Event{ID: p.id, Status: progress.Working, Text: p.text(), Current: u.Complete, Total: u.Total})
		}
	}
}

// again says whether to try once more, and tells why.
func (p pushing) again(err error) bool {
	if !passing(err) {
		return false
	}
	cause, _ := p.hub.cause(p.to.Context(), err)
	p.report.Report(progress.Event{ID: p.id, Status: progress.Working, Text: p.text() + ": " + cause})
	return true
}

// passing is true for a failure that may not come again in a moment.
func passing(err error) bool {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), plain(err), untrusted(err) != nil:
		return false
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return false
	}
	t, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return true
	}
	switch t.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return !full(t)
	}
	return false
}

// mayPush asks whether the registry would take an image, before one is built for it.
func (h *hub) mayPush(ctx context.Context, repo name.Repository) error {
	if err := remote.CheckPushPermission(repo.Tag("latest"), authn.DefaultKeychain, h); err != nil {
		return h.fault(ctx, fmt.Sprintf("images cannot be pushed to %s", familiar(repo.Name())), repo, err)
	}
	return nil
}

// repository is where an image of that name lies in the registry: below the prefix, without the host of another registry.
func (r Registry) repository(full string) (name.Repository, error) {
	prefix := strings.TrimSuffix(r.Prefix, "/")
	if !strings.HasPrefix(full, prefix+"/") {
		_, rest, _ := strings.Cut(full, "/")
		full = prefix + "/" + strings.TrimPrefix(rest, "library/")
	}
	repo, err := name.NewRepository(full, name.StrictValidation)
	if err != nil {
		return repo, nameFault(full, err)
	}
	return repo, nil
}
