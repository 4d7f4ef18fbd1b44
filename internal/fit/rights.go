package fit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// rightsOf takes permissions apart, each right once.
func rightsOf(all []Permission) []right {
	var out []right
	for _, p := range all {
		for _, verb := range p.Verbs {
			out = append(out, right{verb, p.Group, p.Resource})
		}
	}
	slices.SortFunc(out, func(a, b right) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.resource, b.resource), cmp.Compare(a.verb, b.verb))
	})
	return slices.Compact(out)
}

// granted tells whether one of the rules gives the right, as RBAC reads them. A rule for some names gives it for those only.
func granted(rules []authorizationv1.ResourceRule, one right, namespace string) bool {
	has := func(list []string, value string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, value)
	}
	_, sub, _ := strings.Cut(one.resource, "/")
	for _, r := range rules {
		named := one.resource == "namespaces" && slices.Contains(r.ResourceNames, namespace)
		resource := has(r.Resources, one.resource) || sub != "" && slices.Contains(r.Resources, "*/"+sub)
		if has(r.Verbs, one.verb) && has(r.APIGroups, one.group) && resource && (len(r.ResourceNames) == 0 || named) {
			return true
		}
	}
	return false
}

// judgeRights names what this account may not do, a finding for each resource and what is lost by it.
func judgeRights(n Needs, s Seen) Findings {
	essential, denied := essentials(n.rights), 0
	for one := range essential {
		if s.denied[one] {
			denied++
		}
	}
	makeIt := "have it made by who may: kubectl create namespace " + n.Namespace
	switch {
	case s.denied[right{"create", "", "namespaces"}]:
		return Findings{{
			Level: Missing, What: "permission to create namespaces", Why: fmt.Sprintf("namespace %s is not there", n.Namespace),
			Hint: makeIt + "; or deploy into another one with -n\n" + grant(n, s),
		}}
	case denied == len(essential) && s.namespace == nil && !s.absent:
		return Findings{{
			Level: Missing, What: "permission to do anything in namespace " + n.Namespace, Why: "it is not there, or is somebody else's",
			Hint: makeIt + "; or deploy into another one with -n\n" + grant(n, s),
		}}
	}
	all := Findings{}
	for _, l := range lost(n.rights, s.denied, essential) {
		f := Finding{Level: Missing, What: permissionTo(l.verbs, l.of, n.Namespace), Why: l.of.Why}
		if l.of.Without != "" {
			f.Level, f.Why = Risky, l.of.Without
		}
		f.Hint = grant(n, s)
		all = append(all, f)
	}
	return all
}

// essentials are the rights that nothing works without.
func essentials(all []Permission) map[right]bool {
	needed := slices.DeleteFunc(slices.Clone(all), func(p Permission) bool { return p.Without != "" })
	found := map[right]bool{}
	for _, one := range rightsOf(needed) {
		found[one] = true
	}
	return found
}

// loss is the verbs of a resource that are not given, and the first permission that has one of them.
type loss struct {
	of    Permission
	verbs []string
}

// lost folds what is denied by resource and what is lost by it. A right that is essential counts as such only.
func lost(all []Permission, denied, essential map[right]bool) []loss {
	var out []loss
	for _, p := range all {
		for _, verb := range p.Verbs {
			one := right{verb, p.Group, p.Resource}
			if !denied[one] || p.Without != "" && essential[one] {
				continue
			}
			at := slices.IndexFunc(out, func(l loss) bool {
				return l.of.Group == p.Group && l.of.Resource == p.Resource && l.of.Without == p.Without
			})
			if at < 0 {
				at, out = len(out), append(out, loss{of: p})
			}
			if !slices.Contains(out[at].verbs, verb) {
				out[at].verbs = append(out[at].verbs, verb)
			}
		}
	}
	return out
}

func permissionTo(verbs []string, of Permission, namespace string) string {
	slices.SortFunc(verbs, func(a, b string) int { return cmp.Compare(slices.Index(verbOrder(), a), slices.Index(verbOrder(), b)) })
	return fmt.Sprintf("permission to %s %s in namespace %s", strings.Join(verbs, ", "), inFull(of.Group, of.Resource), namespace)
}

// inFull is a resource with its group, as kubectl writes it: deployments.apps/scale.
func inFull(group, resource string) string {
	name, sub, under := strings.Cut(resource, "/")
	if group != "" {
		name += "." + group
	}
	if under {
		name += "/" + sub
	}
	return name
}

// grant is what an administrator may apply, so that this account may do all that the project needs.
func grant(n Needs, s Seen) string {
	project := cmp.Or(n.Project, n.Namespace)
	return fmt.Sprintf("have this applied by who may give permissions (kubectl apply -f FILE); it is all that %s needs, see docs/permissions.md:\n%s",
		project, strings.TrimSuffix(Role(roleOf(project), n.Namespace, s.user, n.rights), "\n"))
}
