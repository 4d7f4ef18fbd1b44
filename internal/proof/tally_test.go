package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	upTo := func(n int) (values []time.Duration) {
		for i := n; i > 0; i-- {
			values = append(values, time.Duration(i))
		}
		return values
	}
	tests := map[string]struct {
		values []time.Duration
		p      int
		want   time.Duration
	}{
		"of nothing":             {nil, 99, 0},
		"of one":                 {upTo(1), 99, 1},
		"of two":                 {upTo(2), 99, 2},
		"of a hundred":           {upTo(100), 99, 99},
		"of a hundred and one":   {upTo(101), 99, 100},
		"of a thousand":          {upTo(1000), 99, 990},
		"the median of three":    {upTo(3), 50, 2},
		"the least, in no order": {[]time.Duration{5, 3, 4}, 0, 3},
		"the most":               {upTo(10), 100, 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := percentile(test.values, test.p); got != test.want {
				t.Errorf("%d of 100 are at most %d, want %d", test.p, got, test.want)
			}
		})
	}
}

func TestCountsText(t *testing.T) {
	t.Parallel()
	tests := map[string]Counts{
		"1,204 requests, 0 failed, p99 41 ms":             {Requests: 1204, P99: 41.3},
		"1 request, 1 failed":                             {Requests: 1, Failed: 1},
		"0 requests, 0 failed":                            {},
		"1,000,000 requests, 12,345 failed, p99 2,500 ms": {Requests: 1000000, Failed: 12345, P99: 2500},
		"2 requests, 0 failed, p99 1 ms":                  {Requests: 2, P99: 0.2},
		"999 requests, 0 failed, p99 2 ms":                {Requests: 999, P99: 1.5},
	}
	for want, c := range tests {
		if got := c.String(); got != want {
			t.Errorf("%+v is %q, want %q", c, got, want)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	get := func(err error) error { return &url.Error{Op: "Get", URL: "http://127.0.0.1:1/", Err: err} }
	tests := []struct {
		err  error
		want string
	}{
		{statusError(503), "503 Service Unavailable"},
		{statusError(599), "599"},
		{get(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), "connection refused"},
		{get(&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}), "connection reset"},
		{get(&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}), "connection reset"},
		{get(io.EOF), "closed without a word"},
		{errClosed, "closed without a word"},
		{io.ErrUnexpectedEOF, "the answer was cut off"},
		{get(context.DeadlineExceeded), "no answer in time"},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), "no answer in time"},
		{get(errors.New("malformed HTTP response")), "malformed HTTP response"},
	}
	for _, test := range tests {
		if got := reason(test.err); got != test.want {
			t.Errorf("%v is %q, want %q", test.err, got, test.want)
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	var a, b tally
	for i := range 99 {
		a.add(time.Duration(i+1)*time.Millisecond, nil)
	}
	a.add(0, statusError(500))
	b.add(time.Second, nil)
	b.add(0, io.EOF)
	b.add(0, statusError(500))
	b.add(0, io.EOF)
	if diff := cmp.Diff(Counts{Requests: 100, Failed: 1, P99: 99}, a.counts()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	all := merge([]*tally{&a, &b})
	if diff := cmp.Diff(Counts{Requests: 104, Failed: 4, P99: 99}, all.counts()); diff != "" {
		t.Errorf("in all, -want +got:\n%s", diff)
	}
	s := Service{Failures: b.reasons()}
	if want := "2 × closed without a word, 1 × 500 Internal Server Error"; s.Why() != want {
		t.Errorf("the reasons are %q, want %q", s.Why(), want)
	}
}
