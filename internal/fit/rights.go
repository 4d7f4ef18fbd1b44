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
	all := Findings{}
	if s.denied[right{"create", "", "namespaces"}] {
		all = append(all, Finding{
			Level: Missing, What: "permission to create namespaces", Why: fmt.Sprintf("namespace %s is not there", n.Namespace),
			Hint: "have it made by who may: kubectl create namespace " + n.Namespace + "; or deploy into another one with -n",
		})
	}
	hint := ""
	type row struct{ group, resource, without string }
	verbs, why := map[row][]string{}, map[row]string{}
	var rows []row
	essential := map[right]bool{}
	for _, p := range n.rights {
		for _, verb := range p.Verbs {
			essential[right{verb, p.Group, p.Resource}] = essential[right{verb, p.Group, p.Resource}] || p.Without == ""
		}
	}
	for _, p := range n.rights {
		r := row{p.Group, p.Resource, p.Without}
		for _, verb := range p.Verbs {
			one := right{verb, p.Group, p.Resource}
			if !s.denied[one] || slices.Contains(verbs[r], verb) || p.Without != "" && essential[one] {
				continue
			}
			if len(verbs[r]) == 0 {
				rows, why[r] = append(rows, r), p.Why
			}
			verbs[r] = append(verbs[r], verb)
		}
	}
	for _, r := range rows {
		if hint == "" {
			hint = grant(n, s)
		}
		f := Finding{Level: Missing, What: permissionTo(verbs[r], r.group, r.resource, n.Namespace), Why: why[r], Hint: hint}
		if r.without != "" {
			f.Level, f.Why = Risky, r.without
		}
		all = append(all, f)
	}
	return all
}

func permissionTo(verbs []string, group, resource, namespace string) string {
	slices.SortFunc(verbs, func(a, b string) int { return cmp.Compare(slices.Index(verbOrder(), a), slices.Index(verbOrder(), b)) })
	return fmt.Sprintf("permission to %s %s in namespace %s", strings.Join(verbs, ", "), inFull(group, resource), namespace)
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
	return fmt.Sprintf("have this applied by who may give permissions (kubectl apply -f FILE); it is all that %s needs, see docs/permissions.md:\n%s",
		cmp.Or(n.Project, n.Namespace), strings.TrimSuffix(Role(n.Namespace, s.user, n.rights), "\n"))
}
