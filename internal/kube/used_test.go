package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestUsed(t *testing.T) {
	t.Parallel()
	var u Used
	for _, text := range []string{`
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      initContainers: [{name: a, image: "init:1"}]
      containers: [{name: b, image: "web:2"}, {name: c}]
      volumes: [{name: v, persistentVolumeClaim: {claimName: data}}, {name: w, emptyDir: {}}]
`, `
kind: StatefulSet
metadata: {name: db}
spec:
  template: {spec: {containers: [{name: d, image: "db:3"}]}}
  volumeClaimTemplates: [{metadata: {name: files}}]
`, `
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: "cron:4"}]}}}}}
`, `
kind: ConfigMap
data: {image: "none:1"}
`} {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		u.Add("shop", o)
	}
	if diff := cmp.Diff([]string{"cron:4", "db:3", "init:1", "web:2"}, u.Images()); diff != "" {
		t.Error(diff)
	}
	for claim, want := range map[[2]string]bool{
		{"shop", "data"}: true, {"other", "data"}: false, {"shop", "files-db-0"}: true, {"shop", "files-db-12"}: true,
		{"shop", "files-db-x"}: false, {"shop", "files-db-"}: false, {"shop", "free"}: false,
	} {
		if got := u.Claim(claim[0], claim[1]); got != want {
			t.Errorf("claim %v: %t", claim, got)
		}
	}
	if none := new(Used); len(none.Images()) > 0 || none.Claim("a", "b") {
		t.Error("nothing uses something")
	}
}
