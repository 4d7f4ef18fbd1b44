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

// TestPasswordsAreHidden has passwords that are nowhere said to be some: their form gives them away.
func TestPasswordsAreHidden(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"migrate -database postgres://app:pa:ss@db/x?sslmode=off up":  "migrate -database postgres://app:<hidden>@db/x?sslmode=off up",
		"https://deadbeefdeadbeefdeadbeef@git.local/x":                "https://<hidden>@git.local/x",
		"root:secret@tcp(db:3306)/x":                                  "root:<hidden>@tcp(db:3306)/x",
		"Server=db;User=sa;Password=Pa55-word;Encrypt=no":             "Server=db;User=sa;Password=<hidden>;Encrypt=no",
		`{"password": "x y", "user": "z"}`:                            `{"password": "<hidden> y", "user": "z"}`,
		"redis-server --requirepass hunter2 --port 1":                 "redis-server --requirepass <hidden> --port 1",
		"mysqladmin ping -uroot -phunter2":                            "mysqladmin ping -uroot -p<hidden>",
		"mysqladmin ping -uroot -p$MYSQL_ROOT_PASSWORD":               "mysqladmin ping -uroot -p$MYSQL_ROOT_PASSWORD",
		"serve --password-file /run/secrets/x":                        "serve --password-file /run/secrets/x",
		"admin:$apr1$xyz$0123456789abcdef":                            "admin:<hidden>",
		"Authorization: Bearer 0123456789abcdef":                      "Authorization: <hidden>",
		"ghp_0123456789012345678901 and AKIA0123456789ABCDEF":         "<hidden> and <hidden>",
		"web:8080/path@sha256:0123":                                   "web:8080/path@sha256:0123",
		"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----": "<hidden> PRIVATE KEY-----",
		"postgres://app:<hidden>@db/x":                                "postgres://app:<hidden>@db/x",
		"nothing of the kind: http://web:8080/a@b":                    "nothing of the kind: http://web:8080/a@b",
	} {
		if got := compose.HidePasswords(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	p := load(t, compose.Options{WorkingDir: folder(t, map[string]string{"compose.yaml": `name: shop
services:
  cache:
    image: redis
    command: redis-server --requirepass marker-1
    healthcheck: {test: [CMD, redis-cli, --pass, marker-1, ping]}
  db:
    image: mysql
    command: [mysqld, --password, mysql]
`})})
	if diff := cmp.Diff([]string{"marker-1"}, p.SecretTexts()); diff != "" {
		t.Error(diff)
	}
}
