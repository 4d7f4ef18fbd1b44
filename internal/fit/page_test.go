package fit

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	cmpdiff "github.com/google/go-cmp/cmp"
)

//go:generate go test . -run TestPage -update

var update = flag.Bool("update", false, "write docs/permissions.md anew")

const pagePath = "../../docs/permissions.md"

// TestPage sees that docs/permissions.md says what the table says. `go generate ./internal/fit` writes it anew.
func TestPage(t *testing.T) {
	t.Parallel()
	want := page()
	if *update {
		if err := os.WriteFile(pagePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatalf("%v (go generate ./internal/fit)", err)
	}
	if diff := cmpdiff.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not what the table says (go generate ./internal/fit) -want +got:\n%s", pagePath, diff)
	}
}

// page is docs/permissions.md.
func page() string {
	var b strings.Builder
	b.WriteString(`# What Perch may do in a cluster

<!-- Made from internal/fit/permissions.go: go generate ./internal/fit -->

On a cluster that Perch did not start, an account that may work in one namespace is enough: the namespace must be there, and nothing outside of it is needed. Before a deploy changes anything, ` + "`perch up`" + ` asks the API server
whether the account may do all that this project needs (SelfSubjectRulesReview, SelfSubjectAccessReview), names what is missing, and prints the Role that gives it. The tests deploy, roll back and remove a project with the Role
below, compare it with each request that is made, and take its verbs away one by one.

## A deployer

An administrator applies this once: the namespace, an account, and what it may do there. It serves any project. Names are yours to choose.

`)
	b.WriteString("```yaml\n" + `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: shop}
---
` + Role(deployer, "shop", accountPrefix+"shop:deployer", Deployer()) + "```\n\n")
	b.WriteString("A kubeconfig for it: `kubectl create token deployer -n shop --duration 8h` gives a token, `kubectl config set-credentials deployer --token …` a user with it.\n")
	b.WriteString("Who may put Secrets, pods and Jobs into a namespace may read all Secrets of it: give a project a namespace of its own.\n")
	table := func(title, text string, all []Permission) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| for | resource | verbs | why | without it |\n|---|---|---|---|---|\n", title, text)
		for _, p := range all {
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", p.For, inFull(p.Group, p.Resource), strings.Join(p.Verbs, " "), p.Why, cmp.Or(p.Without, "**it does not work**"))
		}
	}
	var kinds []string
	for _, k := range released() {
		kinds = append(kinds, "`"+inFull(k[1], k[0])+"`")
	}
	const objects = "(objects of releases)"
	table("For up, plan, rollback and down", "What stands for one kind of object is needed only where the project has such objects. Objects of releases are: "+strings.Join(kinds, ", ")+
		"; others (Roles for a service that speaks to the API, routes, monitors) only where the file asks for them.", append(needed(), helmPermission(objects, "", ""), listPermission(objects, "", "")))
	table("For other commands", "A deploy does without.", slices.Concat(others(), inNamespace()))
	table("Outside of the namespace", "Nothing of this is needed. What cannot be read is not checked before a deploy.", clusterWide())
	return b.String()
}
