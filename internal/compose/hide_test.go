package compose_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/compose"
)

func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	p := load(t, compose.Options{WorkingDir: folder(t, map[string]string{"compose.yaml": `name: shop
services:
  web:
    image: web
    build: {context: ., args: {NPM_TOKEN: npm-marker-1, VERSION: "1.2"}}
    command: serve --password command-marker-2
    environment:
      DB_PASSWORD: command-marker-2
      DATABASE_URL: postgres://app:marker-3@db/app
      ODD: chosen-marker-4
      GREETING: hello
      PIN_CODE: "1"
      EMPTY_SECRET: ""
      USER_TOKEN: postgres
    x-perch: {secrets: [ODD, PIN_CODE]}
    secrets: [one]
  db: {image: "postgres:18"}
secrets:
  one: {file: ./one.txt}
`, "one.txt": "file-marker-5\n"})})
	want := []string{"postgres://app:marker-3@db/app", "command-marker-2", "chosen-marker-4", "file-marker-5"}
	if diff := cmp.Diff(want, p.SecretTexts()); diff != "" {
		t.Error(diff)
	}
	shown, err := p.WithoutSecrets().MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"npm-marker", "marker-3", "marker-4", "marker-5", "PIN_CODE: \"1\""} {
		if strings.Contains(string(shown), text) {
			t.Errorf("%s is shown", text)
		}
	}
	for _, text := range []string{"GREETING: hello", `EMPTY_SECRET: ""`, "DB_PASSWORD: " + compose.Hidden, "VERSION: \"1.2\""} {
		if !strings.Contains(string(shown), text) {
			t.Errorf("%s is not shown:\n%s", text, shown)
		}
	}
	if *p.Project.Services["web"].Environment["DB_PASSWORD"] != "command-marker-2" {
		t.Error("the project itself was changed")
	}
}
