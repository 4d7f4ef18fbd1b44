package fit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// deployer is the name of the Role and the RoleBinding for an account that deploys any project.
const deployer = "perch-deployer"

// roleOf is the name of those for one project: applied beside the others, they take nothing from an account.
func roleOf(project string) string {
	return "perch-project-" + strings.Trim(strings.ReplaceAll(project, "_", "-"), "-")
}

// rule is one rule of a Role: resources of one group for which the same verbs are given.
type rule struct {
	group     string
	resources []string
	verbs     []string
}

// verbOrder is how people write verbs.
func verbOrder() []string {
	return []string{"get", "list", "watch", "create", "update", "patch", "delete"}
}

// rules folds permissions into few rules, sorted by group and resource.
func rules(all []Permission) []rule {
	type key struct{ group, resource string }
	verbs := map[key][]string{}
	for _, p := range all {
		k := key{p.Group, p.Resource}
		verbs[k] = append(verbs[k], p.Verbs...)
	}
	var keys []key
	for k := range verbs {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.resource, b.resource)) })
	var out []rule
	for _, k := range keys {
		var sorted []string
		for _, v := range slices.Concat(verbOrder(), verbs[k]) { // those that Perch does not use itself come last
			if slices.Contains(verbs[k], v) && !slices.Contains(sorted, v) {
				sorted = append(sorted, v)
			}
		}
		same := slices.IndexFunc(out, func(r rule) bool { return r.group == k.group && slices.Equal(r.verbs, sorted) })
		if same < 0 {
			out = append(out, rule{group: k.group, verbs: sorted})
			same = len(out) - 1
		}
		out[same].resources = append(out[same].resources, k.resource)
	}
	return out
}

// subject is who gets a Role: an account of the cluster, or a user as the API server knows it.
type subject struct{ user string }

// accountPrefix begins the user names of service accounts: system:serviceaccount:NAMESPACE:NAME.
const accountPrefix = "system:serviceaccount:"

func (s subject) yaml() string {
	if account, ok := strings.CutPrefix(s.user, accountPrefix); ok {
		namespace, name, _ := strings.Cut(account, ":")
		return fmt.Sprintf("{kind: ServiceAccount, name: %s, namespace: %s}", name, namespace)
	}
	return fmt.Sprintf("{kind: User, apiGroup: rbac.authorization.k8s.io, name: %q}", cmp.Or(s.user, "YOU"))
}

// Role is a Role of that name with the permissions, and its binding to a user as the API server knows it ("" leaves that open): one document
// of YAML, as a list, so that it can be indented.
func Role(name, namespace, user string, all []Permission) string {
	to := subject{user}
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: List
items:
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: %[1]s, namespace: %[2]s}
  rules:
`, name, namespace)
	b.WriteString(rulesYAML(rules(all)))
	fmt.Fprintf(&b, `- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: %[1]s, namespace: %[2]s}
  roleRef: {kind: Role, name: %[1]s, apiGroup: rbac.authorization.k8s.io}
  subjects: [%[3]s]
`, name, namespace, to.yaml())
	return b.String()
}

// rulesYAML is the rules of a Role, a line each.
func rulesYAML(all []rule) string {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintf(&b, "  - {apiGroups: [%q], resources: [%s], verbs: [%s]}\n", r.group, strings.Join(r.resources, ", "), strings.Join(r.verbs, ", "))
	}
	return b.String()
}
