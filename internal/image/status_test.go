package image

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	buildkit "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/perch-k8s/perch/internal/progress"
)

func TestMeter(t *testing.T) {
	t.Parallel()
	now := time.Now()
	run := func(name string) *buildkit.Vertex {
		return &buildkit.Vertex{Digest: digest.FromString(name), Name: name, Started: &now}
	}
	end := func(name, err string) *buildkit.Vertex {
		v := run(name)
		v.Completed, v.Error = &now, err
		return v
	}
	log := func(name, text string) *buildkit.VertexLog {
		return &buildkit.VertexLog{Vertex: digest.FromString(name), Data: []byte(text)}
	}
	cached := run("[1/3] RUN of long ago")
	cached.Cached = true
	base, step, other := "[1/2] FROM docker.io/library/base:1@sha256:"+strings.Repeat("0", 64), "[2/2] RUN make", "[x] RUN y"
	var got []string
	m := newMeter("image web", progress.Func(func(e progress.Event) {
		got = append(got, fmt.Sprintf("%s %s %s %d/%d", e.ID, e.Status, e.Text, e.Current, e.Total))
	}), true)
	for _, s := range []*buildkit.SolveStatus{
		{Vertexes: []*buildkit.Vertex{{Digest: "not-started", Name: "later"}, run("[internal] load build context")}},
		{Vertexes: []*buildkit.Vertex{run(base)}, Statuses: []*buildkit.VertexStatus{
			{Vertex: digest.FromString(base), ID: "layer 1", Current: 5, Total: 10},
			{Vertex: digest.FromString(base), ID: "layer 2", Current: 1, Total: 10},
			{Vertex: digest.FromString(base), ID: "extracting"},
		}},
		{Vertexes: []*buildkit.Vertex{end(base, ""), cached}},
		{Vertexes: []*buildkit.Vertex{run(other), run(step)}, Logs: []*buildkit.VertexLog{log(step, "one\ntw")}},
		{Logs: []*buildkit.VertexLog{log(step, "o\n10%\r20%\r\nlast")}},
		{Vertexes: []*buildkit.Vertex{end(other, "context canceled"), end(step, "exit code: 1")}},
	} {
		m.update(s)
	}
	want := []string{
		"image web working load build context 0/0",
		"image web working [1/2] FROM base:1 6/20",
		"image web working load build context 0/0",
		"image web output one 0/0",
		"image web working [2/2] RUN make 0/0",
		"image web output two 0/0",
		"image web output 20% 0/0",
		"image web working load build context 0/0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	f := m.failed()
	if f == nil || f.name != step {
		t.Fatalf("failed step: %+v", f)
	}
	if diff := cmp.Diff([]string{"one", "two", "20%", "last"}, f.output()); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyTheLastLinesAreKept(t *testing.T) {
	t.Parallel()
	s := &step{}
	for i := range 3 * keepLines {
		s.print(fmt.Sprintln(i))
	}
	s.print("end")
	got := s.output()
	if len(got) != keepLines || got[0] != "41" || got[keepLines-1] != "end" {
		t.Errorf("%v", got)
	}
}

func TestMissingBase(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text, image, cause string
		unreachable        bool
	}{
		"no network": {
			`failed to solve: postgres:17: failed to resolve source metadata for docker.io/library/postgres:17: failed to do request: Head "https://h/v2/": dial tcp: lookup h: no such host`,
			"docker.io/library/postgres:17", `dial tcp: lookup h: no such host`, true,
		},
		"no such image": {
			`failed to solve: localhost:5000/a:1: failed to resolve source metadata for localhost:5000/a:1: localhost:5000/a:1: not found`,
			"localhost:5000/a:1", "localhost:5000/a:1: not found", false,
		},
		"something else": {text: `failed to solve: process "/bin/sh" did not complete: exit code: 1`},
	}
	for name, tt := range tests {
		image, cause, ok := missingBase(tt.text)
		if image != tt.image || last(cause) != tt.cause || ok != (tt.image != "") || unreachable(cause) != tt.unreachable {
			t.Errorf("%s: %q %q %v, unreachable %v", name, image, last(cause), ok, unreachable(cause))
		}
	}
}
