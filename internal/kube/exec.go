package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/perch-k8s/perch/internal/fault"
)

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct{ Width, Height uint16 }

// ExecOptions say what is executed where, and which streams it gets.
type ExecOptions struct {
	Namespace string // "" is the client's
	Pod       string
	Container string // "" is the pod's default container
	Command   []string
	Stdin     io.Reader // nil: none
	Stdout    io.Writer
	Stderr    io.Writer           // not used with TTY: the terminal has one stream
	TTY       bool                // the caller has put its own terminal into raw mode
	Resize    <-chan TerminalSize // sizes of the caller's terminal, the first one at once; nil: not told
}

// Exec runs the command in a container and gives its exit code. err is for what kept it from running, with exit code
// 127 when the container has no such program, else -1; a command that ran and failed is no error. It speaks WebSocket, and SPDY with servers that do not.
func (c *Client) Exec(ctx context.Context, o ExecOptions) (exitCode int, err error) {
	o.Namespace = orElse(o.Namespace, c.Namespace)
	request := c.Interface.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(o.Namespace).Name(o.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: o.Container,
			Command:   o.Command,
			Stdin:     o.Stdin != nil,
			Stdout:    o.Stdout != nil,
			Stderr:    o.Stderr != nil && !o.TTY,
			TTY:       o.TTY,
		}, scheme.ParameterCodec)
	executor, err := c.executor(request.URL())
	if err != nil {
		return -1, fmt.Errorf("exec in pod %s: %w", o.Pod, err)
	}
	streams := remotecommand.StreamOptions{Stdin: o.Stdin, Stdout: o.Stdout, Tty: o.TTY}
	if !o.TTY {
		streams.Stderr = o.Stderr
	}
	if o.Resize != nil {
		streams.TerminalSizeQueue = sizeQueue{ctx, o.Resize}
	}
	return c.exited(ctx, o, executor.StreamWithContext(ctx, streams))
}

// executor speaks WebSocket, and SPDY with servers that do not.
func (c *Client) executor(at *url.URL) (remotecommand.Executor, error) {
	socket, err := remotecommand.NewWebSocketExecutor(c.REST, "GET", at.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.REST, "POST", at)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

// exited tells a command that failed from one that did not run. That a pod is not there is asked for again: the answer
// to an upgrade says it only in its text.
func (c *Client) exited(ctx context.Context, o ExecOptions, err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	if code, ok := errors.AsType[exec.CodeExitError](err); ok {
		return code.Code, nil
	}
	if ctx.Err() != nil {
		return -1, context.Cause(ctx)
	}
	if _, gerr := c.Interface.CoreV1().Pods(o.Namespace).Get(ctx, o.Pod, metav1.GetOptions{}); apierrors.IsNotFound(gerr) {
		return -1, fault.New(fault.Other, "see the pods there are: perch ps", "pod %s: not found in namespace %s", o.Pod, o.Namespace)
	}
	if missing(err) {
		return notFound, fault.New(fault.Other, "", "pod %s: there is no program %q in the container", o.Pod, o.Command[0])
	}
	return -1, c.Explain(fmt.Errorf("exec in pod %s: %w", o.Pod, err))
}

// notFound is the exit code of a shell for a command that is not there.
const notFound = 127

// missing tells whether the runtime did not find the program. It says so only in its text, which is that of Go's
// os/exec in runc.
func missing(err error) bool {
	text := err.Error()
	return strings.Contains(text, "executable file not found") ||
		strings.Contains(text, "exec: ") && strings.Contains(text, "no such file or directory")
}

// sizeQueue gives the sizes of a terminal to remotecommand until the context is done.
type sizeQueue struct {
	ctx   context.Context //nolint:containedctx // the interface of remotecommand has no other way to end Next
	sizes <-chan TerminalSize
}

var _ remotecommand.TerminalSizeQueue = sizeQueue{}

// Next waits for the next size; nil ends the queue.
func (q sizeQueue) Next() *remotecommand.TerminalSize {
	select {
	case <-q.ctx.Done():
		return nil
	case s, ok := <-q.sizes:
		if !ok {
			return nil
		}
		return &remotecommand.TerminalSize{Width: s.Width, Height: s.Height}
	}
}
