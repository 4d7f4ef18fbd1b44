package proof

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	bodyLimit = 64 << 10 // of a body more than this need not be read: it may be a stream without an end
	userAgent = "perch-proof"

	// tcpHold is how long a connection is looked at. A port that Perch's own node publishes takes every connection, and
	// refuses it only after it has looked for a pod for two seconds.
	tcpHold = 2500 * time.Millisecond
	// tcpGlance is the same before the rollout, for which the deploy waits.
	tcpGlance = 200 * time.Millisecond
)

var errClosed = errors.New("closed without a word")

// statusError is an answer that says that the server has failed.
type statusError int

func (e statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", int(e), http.StatusText(int(e))))
}

// A probe asks once. Its error says why the request was not served; took is until the answer was there.
type probe interface {
	ask(ctx context.Context) (took time.Duration, err error)
}

// before finds out how a target serves now, and makes the stream for it; why is set when there can be none.
func before(ctx context.Context, t Target) (s *stream, why string) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(t.Port)))
	if !t.HTTP && t.URL == "" {
		return beforeTCP(ctx, t, address)
	}
	limited, cancel := context.WithTimeout(ctx, beforeFor)
	defer cancel()
	if t.URL != "" {
		p := newHTTPProbe(t.URL)
		status, took, err := p.get(limited)
		if err != nil {
			return nil, unanswered(err)
		}
		return p.stream(t, status, took), ""
	}
	plain := newHTTPProbe("http://" + address + "/")
	status, took, err := plain.get(limited)
	other := err != nil && otherProtocol(err)
	if other || status == http.StatusBadRequest { // as servers of HTTPS answer to plain HTTP
		secure := newHTTPProbe("https://" + address + "/")
		if status, took, err := secure.get(limited); err == nil {
			return secure.stream(t, status, took), ""
		}
	}
	switch {
	case err == nil:
		return plain.stream(t, status, took), ""
	case other:
		return beforeTCP(ctx, t, address)
	}
	return nil, unanswered(err)
}

// beforeTCP makes the stream for anything that takes connections. Whether somebody is behind a port that takes them all is
// known only later, and is looked at while the deploy goes on.
func beforeTCP(ctx context.Context, t Target, address string) (s *stream, why string) {
	p := tcpProbe{address: address, hold: tcpGlance}
	_, err := p.ask(ctx)
	if err != nil && !errors.Is(err, errClosed) {
		return nil, unanswered(err)
	}
	p.hold, p.closes = tcpHold, err != nil
	s = newStream(t, "tcp://"+address, p, tcpPace)
	s.drain = 0 // the last connections are held for longer than that
	later := make(chan error, 1)
	s.later = later
	go func() {
		_, err := p.ask(ctx)
		later <- err
	}()
	return s, ""
}

func unanswered(err error) string { return "it did not answer before: " + reason(err) }

// httpProbe gets a page. Any whole answer counts, but for one that says that the server has failed: what a page needs, a
// login or a host's name, is not known here.
type httpProbe struct {
	url    string
	client *http.Client
	broken bool // it answered with a failure of the server before, so that such an answer is as good as any
}

func newHTTPProbe(url string) httpProbe {
	return httpProbe{url: url, client: &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			// Whose certificate it is does not matter: nothing is sent, and nothing that comes is believed.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}, //nolint:gosec // see above
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// stream asks at most one request at a time of a server that takes long for each.
func (p httpProbe) stream(t Target, status int, took time.Duration) *stream {
	p.broken = status >= http.StatusInternalServerError
	return newStream(t, p.url, p, max(interval, took))
}

func (p httpProbe) ask(ctx context.Context) (time.Duration, error) {
	status, took, err := p.get(ctx)
	if err == nil && status >= http.StatusInternalServerError && !p.broken {
		err = statusError(status)
	}
	return took, err
}

func (p httpProbe) get(ctx context.Context) (status int, took time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return 0, 0, err
	}
	request.Header.Set("User-Agent", userAgent)
	began := time.Now()
	response, err := p.client.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, bodyLimit))
	return response.StatusCode, time.Since(began), err
}

// otherProtocol tells whether the other side did answer, but not in HTTP.
func otherProtocol(err error) bool {
	text := err.Error()
	return strings.Contains(text, "malformed HTTP") || strings.Contains(text, "server gave HTTP response to HTTPS client") ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// tcpProbe opens a connection, says nothing and looks whether it is refused.
type tcpProbe struct {
	address string
	hold    time.Duration
	closes  bool // it closed such a connection before too
}

func (p tcpProbe) ask(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	took := time.Since(began)
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetReadDeadline(time.Now().Add(p.hold)); err != nil {
		return 0, err
	}
	_, err = conn.Read(make([]byte, 1))
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF) && p.closes:
		return took, nil
	case errors.Is(err, io.EOF):
		return took, errClosed
	}
	return 0, err
}

// reason says in few words, the same for each request that failed in the same way, why one failed.
func reason(err error) string {
	var status statusError
	var timeout net.Error
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the answer was cut off"
	case errors.Is(err, io.EOF), errors.Is(err, errClosed):
		return errClosed.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	var in *url.Error
	if errors.As(err, &in) { // without the method and the address, which are known
		err = in.Err
	}
	return err.Error()
}
