package kube

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// DialPod opens a connection to a port in a pod through the API server, as `kubectl port-forward` does, but with no port of
// this machine. A port on which nothing listens is told by the first read, with the kubelet's words. Closing the connection
// ends all that belongs to it; so does ctx until DialPod returns. Deadlines work.
func (c *Client) DialPod(ctx context.Context, namespace, pod string, port uint16) (net.Conn, error) {
	namespace = orElse(namespace, c.Namespace)
	explain := func(err error) error { return c.Explain(fmt.Errorf("port %d of pod %s: %w", port, pod, err)) }
	url := c.Interface.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	socket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, c.REST)
	if err != nil {
		return nil, explain(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(c.REST)
	if err != nil {
		return nil, explain(err)
	}
	plain := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	dialer := portforward.NewFallbackDialerForStreaming(socket, plain, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	type dialed struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan dialed, 1)
	go func() { // a dialer takes no context: one that comes too late is closed
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- dialed{conn, err}
	}()
	select {
	case <-ctx.Done():
		go func() {
			if late := <-done; late.err == nil {
				_ = late.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	case d := <-done:
		if d.err != nil {
			return nil, explain(d.err)
		}
		conn, err := forward(d.conn, port)
		if err != nil {
			_ = d.conn.Close()
			return nil, explain(err)
		}
		return conn, nil
	}
}

// forward makes the two streams of one forwarded connection and gives our end of it. It is a pipe, which has the deadlines
// that a stream has not.
func forward(conn httpstream.Connection, port uint16) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	failure, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	_ = failure.Close() // we write nothing to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	f := &forwarded{Conn: ours, failed: make(chan struct{})}
	go func() { // ends when the kubelet closes the stream, or with the connection
		defer close(f.failed)
		if text, _ := io.ReadAll(failure); len(text) > 0 {
			f.failure = fmt.Errorf("port %d: %s", port, text)
		}
	}()
	go func() {
		_, _ = io.Copy(data, theirs) // ends when ours is closed
		_ = data.Close()
		_ = theirs.Close()
		_ = conn.Close()
	}()
	go func() {
		_, _ = io.Copy(theirs, data) // ends when the server closes, or with the connection
		<-f.failed
		_ = theirs.Close()
	}()
	return f, nil
}

// forwarded is our end of a forwarded connection. Its end is told with the reason that the kubelet has for it.
type forwarded struct {
	net.Conn
	failed  chan struct{} // closed when failure is set, or is known to be none
	failure error
}

func (f *forwarded) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if err == io.EOF { //nolint:errorlint // a pipe gives it bare
		<-f.failed // theirs is closed only after that
		if f.failure != nil {
			err = f.failure
		}
	}
	return n, err
}
