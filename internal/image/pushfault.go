package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/perch-k8s/perch/internal/fault"
)

const againHint = "run the same command again: what the registry has of it is not sent twice"

// fault words what a registry did not do.
func (h *hub) fault(ctx context.Context, what string, repo name.Repository, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	cause, hint := h.cause(repo, err)
	return &fault.Error{Kind: fault.Build, Hint: hint, Err: worded{what + ": " + cause, err}}
}

// worded is an error in words for people.
type worded struct {
	text  string
	cause error
}

func (w worded) Error() string { return w.text }
func (w worded) Unwrap() error { return w.cause }

// cause is why a registry did not do something, and what to do about it.
func (h *hub) cause(repo name.Repository, err error) (cause, hint string) {
	host := shownHost(repo)
	why := untrusted(err)
	if _, other := why.(x509.HostnameError); other { //nolint:errorlint // untrusted has taken it out of what was around it
		return fmt.Sprintf("the certificate of %s is not its own: %s", host, why), "name the registry as its certificate does, or have one issued for this name"
	}
	if why != nil {
		return fmt.Sprintf("the certificate of %s is not trusted: %s", host, why),
			fmt.Sprintf("put its authority's certificate into /etc/docker/certs.d/%s/ca.crt, where docker looks too", host)
	}
	if s, ok := errors.AsType[stalledError](err); ok { // before an answer: to the attempt without TLS, on this machine
		return fmt.Sprintf("%s does not go on: %s", host, s), "look whether it is overloaded, then " + againHint
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return answered(host, repo, answer)
	}
	text := err.Error()
	switch {
	case plain(err):
		return fmt.Sprintf("%s answers without TLS, and %s", host, errPlain), "give it a certificate, or put a proxy with one in front of it"
	case strings.Contains(text, "credentials"):
		return text, "mend the entry in ~/.docker/config.json, or log in again: `docker login " + host + "`"
	case strings.Contains(text, "dial tcp") || strings.Contains(text, "no such host") || strings.Contains(text, "TLS handshake timeout"):
		return fmt.Sprintf("%s does not answer: %s", host, last(text)), "check its name, and the way to it: a network, a VPN or a proxy (HTTPS_PROXY)"
	case unreachable(text) || cut(text):
		return fmt.Sprintf("the connection to %s was cut: %s", host, last(text)), againHint
	}
	return fmt.Sprintf("%s: %s", host, last(text)), againHint
}

// cut is true for a connection that ended while it was used, in the words of both versions of HTTP.
func cut(text string) bool {
	for _, s := range []string{"broken pipe", "use of closed network connection", "client connection lost", "GOAWAY"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// plain is true for a server that has no TLS. On this machine that is no failure: it is asked without, then.
func plain(err error) bool {
	return errors.Is(err, errPlain) || errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, new(tls.RecordHeaderError))
}

// shownHost is the registry's host as images' names have it.
func shownHost(repo name.Repository) string {
	host := repo.RegistryStr()
	if defaultHost(host) || host == name.DefaultRegistry {
		return defaultDomain()
	}
	return host
}

// answered is for a registry that answers, with a refusal.
func answered(host string, repo name.Repository, t *transport.Error) (cause, hint string) {
	said := message(t)
	switch {
	case full(t):
		return fmt.Sprintf("%s has no room for it: %s", host, said), "remove images there, or raise the quota, then " + againHint
	case t.StatusCode == http.StatusUnauthorized:
		if a, err := authFor(host); err == nil && a == nil {
			return host + " wants a login, and the Docker configuration has none for it", "docker login " + host
		}
		return host + " does not accept the login that the Docker configuration has for it", "docker login " + host
	case t.StatusCode == http.StatusForbidden:
		return fmt.Sprintf("%s refuses: %s", host, said), fmt.Sprintf("the login needs the right to push to %s, and to read it", repo.RepositoryStr())
	case t.StatusCode == http.StatusNotFound:
		return fmt.Sprintf("%s does not know %s: %s", host, repo.RepositoryStr(), said), "create the repository there, or name another place with --registry HOST/PATH"
	case t.StatusCode == http.StatusRequestEntityTooLarge:
		return fmt.Sprintf("a layer is too big for %s: %s", host, said), "raise the limit of the proxy in front of the registry, or make the image's layers smaller"
	case t.StatusCode == http.StatusTooManyRequests:
		return fmt.Sprintf("%s has had too many requests: %s", host, said), "wait some minutes, then " + againHint
	case t.StatusCode >= http.StatusInternalServerError:
		return fmt.Sprintf("%s fails: %s", host, said), "look into its log, then " + againHint
	}
	return fmt.Sprintf("%s refuses: %s", host, said), ""
}

// message is what the registry said, with its status.
func message(t *transport.Error) string {
	out := fmt.Sprintf("status %d %s", t.StatusCode, http.StatusText(t.StatusCode))
	var said []string
	for _, e := range t.Errors {
		text := e.Message
		if text == "" {
			text = string(e.Code)
		}
		if text != "" {
			said = append(said, text)
		}
	}
	if len(said) > 0 {
		return strings.Join(said, "; ") + " (" + out + ")"
	}
	return out
}

// full is true when the registry's disk is full, or somebody's part of it. There is one status for that, which few use.
func full(t *transport.Error) bool {
	if t.StatusCode == http.StatusInsufficientStorage {
		return true
	}
	text := strings.ToLower(t.Error())
	for _, s := range []string{"no space left", "insufficient storage", "quota", "storage limit", "disk full"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// untrusted is what is wrong with a registry's certificate; nil when nothing is.
func untrusted(err error) error {
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return e
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return e
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.Err
	}
	return nil
}
