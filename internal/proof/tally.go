package proof

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Result is what was counted while services rolled.
type Result struct {
	Counts             // of all services
	Services []Service `json:"services"` // sorted by name
}

// Service is what was counted of one service.
type Service struct {
	Service string `json:"service"`
	URL     string `json:"url,omitempty"` // what was asked
	Counts
	Failures []Failure `json:"failures,omitempty"` // the most frequent first
	Skipped  string    `json:"skipped,omitempty"`  // why nothing was asked
}

// Counts is how requests fared.
type Counts struct {
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`
	P99      float64 `json:"p99Milliseconds"` // 99 of 100 answers came sooner; 0: none came
}

// Failure is one reason for which requests failed.
type Failure struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// String is the counts for people: 1,204 requests, 0 failed, p99 41 ms.
func (c Counts) String() string {
	text := fmt.Sprintf("%s, %s failed", plural(c.Requests, "request"), thousands(c.Failed))
	if c.P99 > 0 {
		text += fmt.Sprintf(", p99 %s ms", thousands(int(max(1, math.Round(c.P99)))))
	}
	return text
}

// Why names the reasons: 12 × connection reset, 1 × 503 Service Unavailable.
func (s Service) Why() string {
	var each []string
	for _, f := range s.Failures {
		each = append(each, fmt.Sprintf("%s × %s", thousands(f.Count), f.Reason))
	}
	return strings.Join(each, ", ")
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return thousands(n) + " " + noun
}

// thousands writes a number that is not negative with a comma before each three digits.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// tally counts; several goroutines may add at once.
type tally struct {
	mu     sync.Mutex
	failed map[string]int
	took   []time.Duration // of each request that was served
}

func (t *tally) add(took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.took = append(t.took, took)
		return
	}
	if t.failed == nil {
		t.failed = map[string]int{}
	}
	t.failed[reason(err)]++
}

func (t *tally) counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := Counts{Requests: len(t.took), P99: percentile(t.took, 99).Seconds() * 1000}
	for _, n := range t.failed {
		c.Failed += n
	}
	c.Requests += c.Failed
	return c
}

func (t *tally) reasons() []Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Failure
	for reason, n := range t.failed {
		all = append(all, Failure{reason, n})
	}
	slices.SortFunc(all, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Reason, b.Reason))
	})
	return all
}

func merge(tallies []*tally) *tally {
	all := &tally{failed: map[string]int{}}
	for _, t := range tallies {
		t.mu.Lock()
		all.took = append(all.took, t.took...)
		for reason, n := range t.failed {
			all.failed[reason] += n
		}
		t.mu.Unlock()
	}
	return all
}

// percentile is the smallest value that p of 100 values do not exceed (nearest rank), 0 of no values.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}
