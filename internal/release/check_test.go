package release

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPlannedStepsOnly is a plan that was saved, and a world that moved before it was carried out.
func TestPlannedStepsOnly(t *testing.T) {
	t.Parallel()
	c, ns := connect(t), "planned"
	controllers(t, c, ns)
	if _, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1")); err != nil {
		t.Fatal(err)
	}
	w := shop(t, ns, "web:2", "web:1")
	o, err := Observe(t.Context(), c, w.Project, ns)
	if err != nil {
		t.Fatal(err)
	}
	planned, err := Compare(w, o)
	if err != nil {
		t.Fatal(err)
	}
	var saved []Step
	data, err := json.Marshal(planned.Steps)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &saved); err != nil {
		t.Fatal(err)
	}
	if err := c.Interface.AppsV1().Deployments(ns).Delete(t.Context(), "worker", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _, err = deployWith(t, c, w, ExecuteOptions{Planned: saved})
	if err == nil || !strings.Contains(err.Error(), "the plan no longer holds: upgrade worker is new (deployment worker is gone)") {
		t.Errorf("error %v", err)
	}
	if got := statuses(t, c, ns)["shop-web"]; got != "deployed" {
		t.Errorf("the release is %s", got)
	}
	if _, _, err := deploy(t, c, shop(t, ns, "web:1", "web:1")); err != nil { // the worker is back
		t.Fatal(err)
	}
	if _, _, err = deployWith(t, c, w, ExecuteOptions{Planned: saved}); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestPlanCheck(t *testing.T) {
	t.Parallel()
	step := func(id, cause string, after ...string) Step {
		return Step{ID: id, Kind: Upgrade, Cause: cause, After: after}
	}
	before := []Step{step("a", "one"), step("b", "two", "a"), step("c", "image changed, "+maybeMore)}
	tests := map[string]struct {
		now  []Step
		want string
	}{
		"the same":      {before, ""},
		"another cause": {append([]Step{step("a", "three")}, before[1:]...), `a was because "one", and is because "three"`},
		"a new step":    {append([]Step{step("d", "x")}, before...), "d is new (x)"},
		"one less":      {before[:2], "c is not needed any more"},
		"left open":     {append(before[:2:2], step("c", "image changed, ports changed")), ""},
		"downtime":      {[]Step{before[0], {ID: "b", Kind: Upgrade, Cause: "two", After: []string{"a"}, Downtime: "a gap"}, before[2]}, `b has downtime "a gap", and had ""`},
		"another order": {[]Step{before[0], step("b", "two"), before[2]}, "b comes in another order"},
	}
	for name, tt := range tests {
		err := Plan{Steps: tt.now}.Check(before)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
