// Package fit tells whether a cluster offers what a project needs, before anything is changed in it. It works in three steps:
// Of reads from the objects that are to be applied what they need, Look asks the cluster, with few requests that are on their
// way at once, and Judge compares the two. The first and the last are pure.
//
// It knows neither Compose nor Helm nor the embedded node, and changes nothing. What an account may not look at is not known,
// which is never a failure by itself.
package fit

import (
	"context"

	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
)

// Check is the whole: nil when the cluster offers what is needed. What is risky is reported as a warning of "cluster"; what is
// missing is one *fault.Error of kind fault.Other with all findings, each with its way out. What is not known is not told, as
// there is nothing to do about it; Look and Judge tell it.
func Check(ctx context.Context, c *kube.Client, n Needs, r progress.Reporter) error {
	seen, err := Look(ctx, c, n)
	if err != nil {
		return err
	}
	found := Judge(n, seen)
	for _, f := range found {
		if f.Level == Risky {
			r.Report(progress.Event{ID: "cluster", Status: progress.Warned, Text: f.line()})
		}
	}
	return found.Err()
}

// Judge compares what is needed with what was seen. It is pure. The findings are sorted: what is missing first.
func Judge(n Needs, s Seen) Findings {
	var all Findings
	for _, judge := range []func(Needs, Seen) Findings{
		judgeRights, judgeVersion, judgeKinds, judgeSecurity, judgeStorage, judgeDoors, judgeNames, judgeNodes, judgeQuotas, judgeRanges,
	} {
		all = append(all, judge(n, s)...)
	}
	return all.sorted()
}
