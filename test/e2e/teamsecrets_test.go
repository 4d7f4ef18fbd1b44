package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// teamFile is an application whose variables and files come from the secrets files, under names that say nothing.
const teamFile = `name: team
services:
  web:
    image: busybox:1.36
    command: [sh, -c, "trap exit TERM; while :; do sleep 1; done"]
    environment: {GREETING: "hello ${THING:?it is needed}", PLAIN: x, PASSED: }
    secrets: [key]
secrets:
  key: {environment: THE_KEY}
`

// TestTeamSecrets: what perch secrets keeps arrives in the pod, is in Secrets only, and a change of it rolls the service.
func TestTeamSecrets(t *testing.T) {
	u := newUser(t, "k")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36")
	p := u.project(t, "team", map[string]string{"compose.yaml": teamFile})
	key := "-----BEGIN A KEY-----\n" + password + "-line\n-----END A KEY-----\n"
	set := func(name, value string) {
		t.Helper()
		p.want(t, 0, command{dir: p.dir, args: []string{"secrets", "set", name}, stdin: strings.NewReader(value)})
	}
	set("THING", password+"\n")
	set("PASSED", password+"-passed")
	set("THE_KEY", key)
	p.up(t)

	pod := n.ready(t, "team", "web", 1)[0]
	out, err := n.run(t.Context(), "team", pod, "sh", "-c", `printf '%s|%s|' "$GREETING" "$PASSED"; cat /run/secrets/key`)
	if want := "hello " + password + "|" + password + "-passed|" + key; err != nil || out != want {
		t.Errorf("the pod has %q, %v", out, err)
	}
	maps, err := n.api.CoreV1().ConfigMaps("team").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range maps.Items {
		for name, value := range m.Data {
			if strings.Contains(value, password) {
				t.Errorf("ConfigMap %s: %s has the secret", m.Name, name)
			}
		}
	}
	if again := p.up(t); !strings.Contains(again.stdout+again.stderr, "nothing") {
		t.Errorf("the same secrets again: %s", again)
	}
	set("THING", password+"-new")
	p.up(t)
	pod = n.ready(t, "team", "web", 1)[0]
	if out, err := n.run(t.Context(), "team", pod, "sh", "-c", `echo "$GREETING"`); err != nil || out != "hello "+password+"-new\n" {
		t.Errorf("after a change the pod has %q, %v", out, err)
	}
	// Without the key nothing is brought up, and what wants no values works.
	identity := filepath.Join(u.home, ".config", "perch", "identity.txt")
	if err := os.Rename(identity, identity+".away"); err != nil {
		t.Fatal(err)
	}
	p.want(t, 11, command{dir: p.dir, args: []string{"up", "-d"}})
	p.run(t, "ps")
	p.run(t, "logs")
	p.run(t, "down")
	for _, run := range u.said.all() {
		if strings.Contains(run, password) {
			t.Errorf("the secret is in what perch printed: %s", run)
		}
	}
	if found := filesWith(t, p.dir, password); len(found) > 0 {
		t.Errorf("the secret is in %v", found)
	}
}
