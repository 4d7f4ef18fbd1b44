package image

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/fault"
)

func TestParseMirrors(t *testing.T) {
	t.Parallel()
	got, err := ParseMirrors([]string{"mirror.example:5000/", "registry.example=other.example/cache", "registry.example=http://127.0.0.1:5001"})
	want := Mirrors{
		defaultDomain(): {"https://mirror.example:5000"}, "registry.example": {"https://other.example/cache", "http://127.0.0.1:5001"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, wrong := range []string{"", "=a.example", "a/b=c.example", "http://mirror.example", "a=https://", "a=user:word@b.example", "a=ftp://b.example"} {
		if got, err := ParseMirrors([]string{wrong}); fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Errorf("%q: %v, %v", wrong, got, err)
		}
	}
}

// What one command says of mirrors is all that the node knows of them.
func TestNodeIsToldOfMirrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificates := tree(t, map[string]string{"mirror.example:5000/ca.crt": "x", "registry.example/ca.crt": "y"})
	s := Store{Registries: filepath.Join(dir, "registries")}
	both := Mirrors{"registry.example": {"https://mirror.example:5000/cache"}, "other.example": {"http://127.0.0.1:5001"}}
	if err := s.tellNode(both, []string{certificates}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.Registries, "registry.example", "hosts.toml"))
	want := `ca = ["CERTS/registry.example/ca.crt"]
[host."https://mirror.example:5000/v2/cache"]
  capabilities = ["pull", "resolve"]
  override_path = true
  ca = ["CERTS/mirror.example:5000/ca.crt"]
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "CERTS", certificates), string(text)); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	delete(both, "registry.example")
	if err := s.tellNode(both, nil); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(s.Registries)
	if err != nil || len(left) != 1 || left[0].Name() != "other.example" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestPullSecret(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const host = "registry.example:5000"
	auth := base64.StdEncoding.EncodeToString([]byte("ann:s3cret"))
	set(`{"auths":{"` + host + `":{"auth":"` + auth + `"}}}`)
	data, err := PullSecret(host)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]map[string]string
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]map[string]string{"auths": {host: {"username": "ann", "password": "s3cret", "auth": auth}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for text, words := range map[string]string{
		`{}`: "has no login for " + host,
		`{"auths":{"` + host + `":{"identitytoken":"x"}}}`: "only docker itself can renew",
		`{"credHelpers":{"` + host + `":"none"}}`:          "docker-credential-none",
	} {
		set(text)
		if _, err := PullSecret(host); fault.KindOf(err) != fault.Build || !strings.Contains(err.Error(), words) || !strings.Contains(fault.HintOf(err), "docker login") {
			t.Errorf("%s: %v; hint: %s", text, err, fault.HintOf(err))
		}
	}
}
