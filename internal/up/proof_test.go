package up

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/proof"
	"github.com/perch-k8s/perch/internal/release"
	"github.com/perch-k8s/perch/internal/render"
)

func TestProvable(t *testing.T) {
	t.Parallel()
	tcp := func(published, target int32, http bool) render.Port {
		return render.Port{Published: published, Target: target, Protocol: "TCP", HTTP: http}
	}
	units := []render.Unit{
		{Service: "api", Published: []render.Port{tcp(7000, 7777, false), tcp(8000, 80, true), tcp(8001, 81, true)}},
		{Service: "db", Published: []render.Port{tcp(5432, 5432, false)}},
		{Service: "dns", Published: []render.Port{{Published: 5353, Target: 5353, Protocol: "UDP"}}},
		{Service: "echo", Published: []render.Port{tcp(7001, 7777, false)}},
		{Service: "fresh", Published: []render.Port{tcp(8002, 80, true)}},
		{Service: "same", Published: []render.Port{tcp(8003, 80, true)}},
		{Service: "worker"},
	}
	var plan release.Plan
	for _, u := range units {
		kind := map[string]release.Kind{"fresh": release.Install, "same": release.Unchanged}[u.Service]
		if kind == "" {
			kind = release.Upgrade
		}
		plan.Steps = append(plan.Steps, release.Step{Kind: kind, Service: u.Service})
	}
	want := []proof.Target{{Service: "api", Port: 8000, Inside: 80, HTTP: true}, {Service: "echo", Port: 7001, Inside: 7777}}
	if diff := cmp.Diff(want, provable(plan, units, true)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	units[0].Hosts = []render.Host{{URL: "https://api.example.com/"}}
	want = []proof.Target{{Service: "api", URL: "https://api.example.com/", HTTP: true}}
	if diff := cmp.Diff(want, provable(plan, units, false)); diff != "" {
		t.Errorf("elsewhere: -want +got:\n%s", diff)
	}
}

func TestTooMany(t *testing.T) {
	t.Parallel()
	counted := &proof.Result{Counts: proof.Counts{Requests: 1000, Failed: 3, P99: 20}, Services: []proof.Service{
		{Service: "api", Counts: proof.Counts{Requests: 500}},
		{Service: "web", Counts: proof.Counts{Requests: 500, Failed: 3}, Failures: []proof.Failure{{Reason: "connection reset", Count: 3}}},
	}}
	for name, test := range map[string]struct {
		result *proof.Result
		limit  *int
	}{
		"nothing was asked": {nil, new(0)},
		"nobody said":       {counted, nil},
		"just as many":      {counted, new(3)},
	} {
		if err := tooMany(test.result, test.limit); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := tooMany(counted, new(2))
	const want = "requests failed during the rollout: 1,000 requests, 3 failed, p99 20 ms, at most 2 may: service web: 3 × connection reset"
	if fault.KindOf(err) != fault.Proof || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}
