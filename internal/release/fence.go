package release

import (
	"context"
	"io"
	"net/http"
	"time"
)

// fence is what requests of a run go through that holds the lock: nothing is changed with a lock that another run may have
// taken over, because it was not renewed for long or we slept, until it is seen to be ours; and when it is lost, requests end
// too, those of Helm, which know of no context.
//
//	fresh    pass
//	stale    changes wait for a renewal
//	lost     refused, and those on their way cancelled, with the cause
//	released pass: nobody acts any more but who tidies up
type fence struct {
	next http.RoundTripper
	lock *lock
}

var _ http.RoundTripper = fence{}

func (l *lock) fence(next http.RoundTripper) http.RoundTripper { return fence{next, l} }

// RoundTrip sends a request when it may be.
func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead
	if err := f.lock.permit(r.Context(), changes); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as a RoundTripper must; there is nothing to lose in it
		}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(f.lock.held, func() {
		if err := f.lock.lost(); err != nil {
			cancel(err)
		}
	})
	end := func() { stop(); cancel(nil) }
	response, err := f.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		lost := context.Cause(ctx)
		end()
		if lost != nil {
			return nil, lost
		}
		return nil, err
	}
	response.Body = fencedBody{response.Body, end}
	return response, nil
}

// WrappedRoundTripper is how client-go finds the transport below.
func (f fence) WrappedRoundTripper() http.RoundTripper { return f.next }

// fencedBody is an answer that ends with the lock.
type fencedBody struct {
	io.ReadCloser
	end func()
}

// Close closes the answer.
func (b fencedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// permit waits until a request may be sent. It is an error when it may not.
func (l *lock) permit(ctx context.Context, changes bool) error {
	for {
		l.mu.Lock()
		ended, stale, next := l.ended, staleAt(l.renewed, time.Now(), l.pace.stale), l.next
		l.mu.Unlock()
		switch {
		case ended != nil:
			return ended
		case !changes || !stale:
			return nil
		case l.held.Err() != nil:
			return context.Cause(l.held) // nobody renews it any more
		}
		select {
		case <-next:
		case <-l.held.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// staleAt tells whether a lock that was renewed then may have been taken over. What counts is the time of those who wait for
// it, so the calendar as well: the other clock stands still while a machine sleeps.
func staleAt(renewed, now time.Time, limit time.Duration) bool {
	return max(now.Sub(renewed), now.Round(0).Sub(renewed.Round(0))) >= limit
}
