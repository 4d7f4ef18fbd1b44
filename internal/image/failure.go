package image

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	solver "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/perch-k8s/perch/internal/fault"
)

// mendHint is the hint for a build that failed by its own fault.
const mendHint = "mend it and run the same command again; with --debug every line of the build is shown"

// foreignHint is for a RUN with programs of another processor, for which the kernel has no emulator.
const foreignHint = "let this machine run programs of that processor: apt-get install qemu-user-static; " +
	"or compile for it with those of its own: FROM --platform=$BUILDPLATFORM, with TARGETARCH for the compiler"

// explain words a failed build for people: the Dockerfile's line, the instruction, and what became of it.
func (r *recipe) explain(ctx context.Context, err error, m *meter) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out := &fault.Error{Kind: fault.Build, Hint: mendHint}
	where := r.where(err)
	if s := m.failed(); s != nil {
		out.Output = s.output()
	}
	exit, isExit := errors.AsType[*gateway.ExitError](err)
	switch image, cause, missing := missingBase(err.Error()); {
	case missing && unreachable(cause):
		out.Err = fmt.Errorf("service %q: %simage %q is not in the node and no registry answers: %s", r.owner, where, familiar(image), last(cause))
		out.Hint = pullHint
	case missing:
		out.Err = fmt.Errorf("service %q: %simage %q is not in the node and cannot be pulled: %s", r.owner, where, familiar(image), last(cause))
		out.Hint = "check its name, or log in to its registry with `docker login`"
	case isExit:
		out.Err = fmt.Errorf("service %q: %sexit code %d", r.owner, where, exit.ExitCode)
		if exit.ExitCode == 137 {
			out.Hint = "it was killed, most likely for want of memory"
		}
	case grpcerrors.Code(err) == codes.Unavailable:
		out.Err = fmt.Errorf("service %q: the node's builder is gone: %s", r.owner, last(plainText(err)))
		out.Hint = "try again: it starts anew by itself"
	default:
		out.Err = fmt.Errorf("service %q: %s%s", r.owner, where, strings.TrimPrefix(plainText(err), "failed to solve: "))
	}
	if isExit && strings.Contains(strings.Join(out.Output, "\n"), "exec format error") {
		out.Hint = foreignHint
	}
	if strings.Contains(err.Error(), "no space left on device") {
		out.Hint = "free some disk space, then try again"
	}
	return out
}

// where is the place in the Dockerfile that err is about, with its instruction: "Dockerfile:4: RUN go build: ".
func (r *recipe) where(err error) string {
	sources := solver.Sources(err)
	if len(sources) == 0 {
		return ""
	}
	s := sources[len(sources)-1]
	if s.Info == nil || len(s.Ranges) == 0 || s.Ranges[0].Start == nil {
		return ""
	}
	name := s.Info.Filename
	if r.config.DockerfileInline != "" {
		name = "dockerfile_inline"
	}
	n := int(s.Ranges[0].Start.Line)
	lines := strings.Split(string(s.Info.Data), "\n")
	if n < 1 || n > len(lines) {
		return name + ": "
	}
	return fmt.Sprintf("%s:%d: %s: ", name, n, strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(lines[n-1]), "\\")))
}

// baseError is how BuildKit says that it could not learn about a base image; there is no type for it.
var baseError = regexp.MustCompile(`(?s)failed to resolve source metadata for (\S+?): (.*)$`)

func missingBase(text string) (image, cause string, ok bool) {
	m := baseError.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// unreachable is true for the text of an error that says that there is no way to a server, rather than its answer.
func unreachable(text string) bool {
	for _, s := range []string{
		"dial tcp", "no such host", "connection refused", "network is unreachable", "i/o timeout", "TLS handshake timeout",
		"no route to host", "server misbehaving", "context deadline exceeded", "proxyconnect", "connection reset", "EOF",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// last is the end of a chain of errors, which is the part that says what happened; the URL before it is noise.
func last(text string) string {
	if i := strings.LastIndex(text, `": `); i >= 0 {
		text = text[i+3:]
	}
	return strings.TrimSpace(text)
}

// plainText is err's text without the words that gRPC puts before it.
func plainText(err error) string {
	text := err.Error()
	if i := strings.Index(text, " desc = "); i >= 0 && strings.Contains(text, "rpc error: ") {
		text = text[i+len(" desc = "):]
	}
	return text
}
