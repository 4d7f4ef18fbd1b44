package e2e

import (
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fetch gets a URL on a connection of its own, so that every request may be answered by another pod.
func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", url, response.Status, essence(string(body)))
	}
	return string(body), nil
}

// essence is the end of an answer, which is where a page says what is wrong.
func essence(body string) string {
	const enough = 300
	body = strings.Join(strings.Fields(body), " ")
	return body[max(0, len(body)-enough):]
}

func mustFetch(t *testing.T, url string) string {
	t.Helper()
	body, err := fetch(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// page is what the reference application's page shows.
type page struct {
	pod, version, tagline string
	greetings             map[string]string // words by language
	peers                 []string
}

var (
	podPattern     = regexp.MustCompile(`id="pod">([^<]*)<`)
	versionPattern = regexp.MustCompile(`id="version">([^<]*)<`)
	taglinePattern = regexp.MustCompile(`(?s)</h1>\s*<p class="quiet">([^<]*)<`)
	rowPattern     = regexp.MustCompile(`<tr><th>([^<]*)</th><td>([^<]*)</td></tr>`)
	peerPattern    = regexp.MustCompile(`<code[^>]*>([0-9a-f.:]+)</code>`)
)

func readPage(body string) page {
	first := func(p *regexp.Regexp) string {
		if m := p.FindStringSubmatch(body); m != nil {
			return html.UnescapeString(m[1])
		}
		return ""
	}
	p := page{pod: first(podPattern), version: first(versionPattern), tagline: first(taglinePattern), greetings: map[string]string{}}
	if _, rows, ok := strings.Cut(body, `id="greetings"`); ok {
		for _, m := range rowPattern.FindAllStringSubmatch(rows, -1) {
			p.greetings[html.UnescapeString(m[1])] = html.UnescapeString(m[2])
		}
	}
	if _, rest, ok := strings.Cut(body, `id="peers">`); ok {
		cell, _, _ := strings.Cut(rest, "</td>")
		for _, m := range peerPattern.FindAllStringSubmatch(cell, -1) {
			p.peers = append(p.peers, m[1])
		}
	}
	return p
}

// stream asks for a URL 20 times a second while something else happens, and keeps count.
type stream struct {
	stop func()

	mu       sync.Mutex
	requests int
	failures []failure
	taglines map[string]int
}

// failure is one request that was not answered as it should be.
type failure struct {
	at  time.Time // when it was asked
	err error
}

func (f failure) String() string { return f.at.Format("15:04:05.000 ") + f.err.Error() }

func startStream(t *testing.T, url string) *stream {
	t.Helper()
	return startStreamBy(t, func(ctx context.Context) (string, error) { return fetch(ctx, url) })
}

// startStreamBy is startStream for a page that is fetched in another way.
func startStreamBy(t *testing.T, fetch func(ctx context.Context) (string, error)) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{taglines: map[string]int{}}
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(step)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				running.Go(func() { s.ask(fetch) })
			}
		}
	})
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(s.stop)
	return s
}

// ask has a context of its own: a request that is under way when the stream stops must still be answered.
func (s *stream) ask(fetch func(ctx context.Context) (string, error)) {
	at := time.Now()
	body, err := fetch(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if err != nil {
		s.failures = append(s.failures, failure{at, err})
		return
	}
	s.taglines[readPage(body).tagline]++
}

// noneFailed ends the stream and wants every request answered. It returns how often each tagline was seen.
func (s *stream) noneFailed(t *testing.T) map[string]int {
	t.Helper()
	return s.noneFailedAfter(t, time.Time{})
}

// noneFailedAfter is noneFailed for the requests from a moment on.
func (s *stream) noneFailedAfter(t *testing.T, moment time.Time) map[string]int {
	t.Helper()
	eventually(t, 10*time.Second, "there are enough requests to prove anything", func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.requests < 10 {
			return fmt.Errorf("there were %d", s.requests)
		}
		return nil
	})
	s.stop()
	failures := slices.DeleteFunc(slices.Clone(s.failures), func(f failure) bool { return f.at.Before(moment) })
	for i, f := range failures {
		t.Errorf("failed request %d of %d: %s", i+1, len(failures), f)
		if i == 9 {
			break
		}
	}
	t.Logf("%d requests, %d failed", s.requests, len(s.failures))
	return s.taglines
}

// askUDP sends one packet and returns the answer.
func askUDP(ctx context.Context, address, text string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	answer := make([]byte, 1500)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}
