package component_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/node/kubernetes/component"
)

// fake is a component whose methods are given; each has a default that works.
type fake struct {
	name             string
	init, run, ready func(context.Context) error
}

func (f fake) Name() string { return f.name }

func (f fake) Init(ctx context.Context) error { return call(f.init, ctx) }

func (f fake) Run(ctx context.Context) error {
	if f.run != nil {
		return f.run(ctx)
	}
	<-ctx.Done()
	return nil
}

func (f fake) Ready(ctx context.Context) error { return call(f.ready, ctx) }

func call(f func(context.Context) error, ctx context.Context) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

func never(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("the moon is not up")
}

// recorder keeps events and ends a context when a component has a state.
type recorder struct {
	mu     sync.Mutex
	events []string
	when   string
	end    context.CancelFunc
}

func (r *recorder) report(e component.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf("%s %s", e.Component, e.State)
	r.events = append(r.events, text)
	if text == r.when {
		r.end()
	}
}

func (r *recorder) index(event string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Index(r.events, event)
}

func TestRunStartsInOrderAndStopsInReverse(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{when: "c ready", end: cancel}
	steps := []component.Step{
		{Component: fake{name: "a"}},
		{Component: fake{name: "b"}, Needs: []string{"a"}},
		{Component: fake{name: "c"}, Needs: []string{"a", "b"}},
	}
	if err := component.Run(ctx, steps, component.Options{}, r.report); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a starting", "a ready", "b starting", "b ready", "c starting", "c ready",
		"c exited", "b exited", "a exited",
	}
	if diff := cmp.Diff(want, r.events); diff != "" {
		t.Error(diff)
	}
}

func TestRunStartsTogetherWhatNeedsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var met sync.WaitGroup
	met.Add(2)
	meet := func(context.Context) error { met.Done(); met.Wait(); return nil } // each is ready when the other one runs
	r := &recorder{when: "c ready", end: cancel}
	steps := []component.Step{
		{Component: fake{name: "a", ready: meet}},
		{Component: fake{name: "b", ready: meet}},
		{Component: fake{name: "c"}, Needs: []string{"a", "b"}},
	}
	if err := component.Run(ctx, steps, component.Options{}, r.report); err != nil {
		t.Fatal(err)
	}
}

func TestRunNamesWhatFails(t *testing.T) {
	t.Parallel()
	broken := func(context.Context) error { return errors.New("it is broken") }
	quits := func(context.Context) error { return nil }
	panics := func(context.Context) error { panic("oh") }
	tests := map[string]struct {
		middle fake
		limit  time.Duration
		want   string
	}{
		"init fails":        {fake{init: broken}, 0, "b: it is broken"},
		"init panics":       {fake{init: panics}, 0, "b: panic: oh"},
		"run fails":         {fake{run: broken}, 0, "b: it is broken"},
		"run ends":          {fake{run: quits}, 0, "b: ended without being asked to"},
		"run panics":        {fake{run: panics}, 0, "b: panic: oh"},
		"ready fails":       {fake{ready: broken}, 0, "b: it is broken"},
		"ready panics":      {fake{ready: panics}, 0, "b: panic: oh"},
		"never ready":       {fake{ready: never}, time.Millisecond, "b: not ready within 1ms: the moon is not up"},
		"init never ends":   {fake{init: never}, time.Millisecond, "b: not ready within 1ms"},
		"fails after ready": {fake{run: func(context.Context) error { return errors.New("later") }}, 0, "b: later"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.middle.name = "b"
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				steps := []component.Step{
					{Component: fake{name: "a"}},
					{Component: tt.middle, Needs: []string{"a"}},
					{Component: fake{name: "c", ready: never}, Needs: []string{"b"}},
				}
				err := component.Run(t.Context(), steps, component.Options{StartTimeout: tt.limit}, r.report)
				if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
					t.Errorf("error: %v, want %s", err, tt.want)
				}
				if i := r.index("a ready"); i >= 0 && r.index("a exited") < i {
					t.Errorf("a was left running: %v", r.events)
				}
			})
		})
	}
}

// A part that becomes ready while it is asked to give up does not end the watch over those behind it.
func TestRunIsLateThoughSomeAreReadyAtTheLastMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lastMoment := func(ctx context.Context) error { <-ctx.Done(); return nil }
		steps := []component.Step{
			{Component: fake{name: "a", ready: lastMoment}},
			{Component: fake{name: "b", ready: never}},
		}
		err := component.Run(t.Context(), steps, component.Options{StartTimeout: time.Millisecond}, func(component.Event) {})
		if err == nil || !strings.HasPrefix(err.Error(), "b: not ready within 1ms: the moon is not up") {
			t.Errorf("error: %v", err)
		}
	})
}

// A slow machine gets ready step by step: only when none follows for the time of the limit, something is wrong.
func TestRunWaitsAsLongAsThereIsProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context) error { time.Sleep(2 * time.Second); return nil }
		ctx, cancel := context.WithCancel(t.Context())
		r := &recorder{when: "c ready", end: cancel}
		steps := []component.Step{
			{Component: fake{name: "a", ready: slow}},
			{Component: fake{name: "b", ready: slow}, Needs: []string{"a"}},
			{Component: fake{name: "c", ready: slow}, Needs: []string{"b"}},
		}
		if err := component.Run(ctx, steps, component.Options{StartTimeout: 3 * time.Second}, r.report); err != nil {
			t.Error(err)
		}
	})
}

func TestRunLetsBeWhatDoesNotStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		defer close(release)
		r := &recorder{when: "b ready", end: cancel}
		steps := []component.Step{
			{Component: fake{name: "a"}},
			{Component: fake{name: "b", run: func(context.Context) error { <-release; return nil }}, Needs: []string{"a"}},
		}
		if err := component.Run(ctx, steps, component.Options{StopTimeout: time.Millisecond}, r.report); err != nil {
			t.Fatal(err)
		}
		if r.index("a exited") < 0 {
			t.Errorf("a was left running: %v", r.events)
		}
	})
}

func TestRunStopsWhileStarting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{when: "a starting", end: cancel}
	steps := []component.Step{
		{Component: fake{name: "a", ready: never}},
		{Component: fake{name: "b"}, Needs: []string{"a"}},
	}
	if err := component.Run(ctx, steps, component.Options{}, r.report); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a starting", "a exited"}, r.events); diff != "" {
		t.Error(diff)
	}
}

func TestRunRefusesBadLists(t *testing.T) {
	t.Parallel()
	tests := map[string][]component.Step{
		"component a needs b, which does not stand before it": {
			{Component: fake{name: "a"}, Needs: []string{"b"}}, {Component: fake{name: "b"}},
		},
		"component a stands twice in the list": {{Component: fake{name: "a"}}, {Component: fake{name: "a"}}},
	}
	for want, steps := range tests {
		err := component.Run(t.Context(), steps, component.Options{}, func(component.Event) {})
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
