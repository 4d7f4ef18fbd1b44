package compose_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
)

const perTarget = `x-perch:
  targets:
    prod:
      context: prod
      provided:
        postgres: {url: "${PROD_URL:-postgres://none@none/none}"}
        cache: {secret: shop-cache}
services:
  web:
    image: web
    environment:
      DATABASE_URL: postgres://app:inside@postgres:5432/shop
      DB_HOST: db
      DB_USER: app
      DB_PASSWORD_FILE: /run/secrets/db
      REDIS_URL: redis://cache:6379/0
    secrets: [db]
  postgres:
    image: postgres:18
    networks: {default: {aliases: [db]}}
    x-perch: {chart: {repo: "https://charts.example.com", name: postgresql, version: 1.0.0, values: {auth: {password: chart-password}}}}
  cache:
    image: redis
secrets:
  db: {environment: DB_PASSWORD}
`

// TestProvidedForTarget: a target says where a service is; without it, and for others, the file is as it was.
func TestProvidedForTarget(t *testing.T) {
	t.Parallel()
	o := compose.Options{
		WorkingDir:  folder(t, map[string]string{"compose.yaml": perTarget}),
		Environment: map[string]string{"PROD_URL": "postgres://owner:out%40side@db.example.com/shop_prod", "DB_PASSWORD": "inside"},
	}
	load := func(target string) (*compose.Project, map[string]string) {
		o.Target = target
		p, err := compose.Load(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]string{"the secret": string(p.SecretData["db"])}
		for name, value := range p.Project.Services["web"].Environment {
			values[name] = "none"
			if value != nil {
				values[name] = *value
			}
		}
		return p, values
	}
	p, got := load("")
	want := map[string]string{
		"DATABASE_URL": "postgres://app:inside@postgres:5432/shop", "DB_HOST": "db", "DB_USER": "app", "DB_PASSWORD_FILE": "/run/secrets/db",
		"REDIS_URL": "redis://cache:6379/0", "the secret": "inside",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("without a target (-want +got):\n%s", diff)
	}
	if p.Services["postgres"].Chart == nil || !p.Elsewhere("postgres") || p.Elsewhere("cache") {
		t.Errorf("extensions %v", p.Services)
	}
	if texts := p.SecretTexts(); !slices.Contains(texts, "chart-password") || !slices.Contains(texts, "out@side") {
		t.Errorf("not hidden: the values of a chart, or the URL of another target: %d texts", len(texts))
	}

	p, got = load("prod")
	want = map[string]string{
		"DATABASE_URL": "postgres://owner:out%40side@db.example.com:5432/shop_prod", "DB_HOST": "db.example.com", "DB_USER": "owner",
		"DB_PASSWORD_FILE": "/run/secrets/db", "REDIS_URL": "none", "the secret": "out@side",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("for prod (-want +got):\n%s", diff)
	}
	if p.Services["postgres"].Chart != nil {
		t.Error("a chart is not what the target provides")
	}
	if diff := cmp.Diff(compose.SecretKey{Secret: "shop-cache", Key: "REDIS_URL"}, p.Services["web"].SecretKeys["REDIS_URL"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"cache: where the Secret shop-cache says", "postgres: db.example.com/shop_prod"}, p.Places()); diff != "" {
		t.Error(diff)
	}
	shown, err := p.WithoutSecrets().MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range p.SecretTexts() {
		shown = []byte(strings.ReplaceAll(string(shown), hidden, compose.Hidden))
	}
	if strings.Contains(string(shown), "out%40side") || strings.Contains(string(shown), "chart-password") {
		t.Errorf("config shows:\n%s", shown)
	}
}
