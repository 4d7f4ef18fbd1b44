package release

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

// A service that was here and is provided from elsewhere now has no pods any more. Those who use it still do until they have
// been rolled: its pods go after that.

// leaves tells whether the service has pods that are not wanted any more, and none that are.
func (p *planner) leaves(u *Unit) bool {
	in, there := p.observed.Releases[u.Release]
	if !there || slices.ContainsFunc(u.Objects, isWorkloadObject) {
		return false
	}
	for ref := range documents(in.Manifest) {
		if isWorkload(ref.Kind) {
			return true
		}
	}
	return false
}

func isWorkloadObject(o runtime.Object) bool {
	ref, err := refOf(o)
	return err == nil && isWorkload(ref.Kind)
}

// leavingLast puts services that leave behind all others.
func (p *planner) leavingLast(units []*Unit) []*Unit {
	var stay, leave []*Unit
	for _, u := range units {
		if p.leaves(u) {
			leave = append(leave, u)
		} else {
			stay = append(stay, u)
		}
	}
	return append(stay, leave...)
}

// left is the steps after which nobody uses a service that leaves.
func (p *planner) left(u *Unit) []string {
	if !p.leaves(u) {
		return nil
	}
	var ids []string
	for _, other := range p.units {
		uses := slices.ContainsFunc(other.DependsOn, func(d Dependency) bool { return d.Service == u.Service })
		if id := p.ends[other.Service].ready; uses && id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
