package compose_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/perch-k8s/perch/internal/compose"
)

// marker stands for a secret. No message may have it, wherever it comes from.
const marker = "mArKeR7x3"

// TestNoSecretInMessages plants a secret in every place that has one, and makes mistakes around it.
func TestNoSecretInMessages(t *testing.T) {
	t.Parallel()
	places := []string{
		"ports: ['${DB_PASSWORD}:80']",
		"ports: [{target: '${DB_PASSWORD}'}]",
		"restart: ${DB_PASSWORD}",
		"network_mode: ${DB_PASSWORD}",
		"pid: 'service:${DB_PASSWORD}'",
		"user: ${DB_PASSWORD}",
		"hostname: '${DB_PASSWORD}!'",
		"mem_limit: ${DB_PASSWORD}",
		"cpus: ${DB_PASSWORD}",
		"scale: ${DB_PASSWORD}",
		"privileged: ${DB_PASSWORD}",
		"healthcheck: {test: ['${DB_PASSWORD}', x], interval: '${DB_PASSWORD}'}",
		"volumes: ['${DB_PASSWORD}:relative']",
		"volumes: ['./${DB_PASSWORD}:/x:ro']",
		"tmpfs: ['/x:size=${DB_PASSWORD}']",
		"depends_on: ['${DB_PASSWORD}']",
		"networks: ['${DB_PASSWORD}']",
		"links: ['${DB_PASSWORD}']",
		"secrets: ['${DB_PASSWORD}']",
		"security_opt: ['${DB_PASSWORD}']",
		"env_file: ['${DB_PASSWORD}']",
		"deploy: {mode: '${DB_PASSWORD}', placement: {constraints: ['${DB_PASSWORD}', 'node.id==${DB_PASSWORD}']}}",
		"deploy: {replicas: '${DB_PASSWORD}'}",
		"sysctls: {'${DB_PASSWORD}': 1}",
		"ulimits: {nofile: '${DB_PASSWORD}'}",
		"container_name: '${DB_PASSWORD}'",
		"extends: {file: '${DB_PASSWORD}', service: x}",
		"image: '${DB_PASSWORD?}'",
		"image: '${DB_PASSWORD:?no}${NOTHING:?no}'",
		"build: {args: {KEY: '${DB_PASSWORD}'}, ssh: ['${DB_PASSWORD}']}",
		"command: --password=${DB_PASSWORD}",
		"command: --password=" + marker,
		"entrypoint: [sh, -c, 'redis-server --requirepass " + marker + "']",
		"healthcheck: {test: 'mysqladmin ping -p" + marker + "'}",
		"healthcheck: {test: [CMD, curl, -u, 'user:" + marker + "', 'http://localhost']}",
		"labels: {url: 'postgres://a:" + marker + "@db/x'}",
		"annotations: ['url=postgres://a:" + marker + "@db/x']",
		"build: {args: ['API_KEY=" + marker + "']}",
		"post_start: [{command: 'login --token " + marker + "'}]",
		"environment: ['PASSWORD=" + marker + "', 'PASSWORD=" + marker + "']",
		"environment: {PASSWORD: {" + marker + ": 1}}",
		"environment: {PASSWORD: ['" + marker + "']}",
		"environment: {'PASSWORD=" + marker + "': 1}",
		"environment: {PASSWORD: '" + marker + "', X: '${A:" + marker + "}'}",
		"environment: {PASSWORD: '" + marker + "'}\n    hostname: '" + marker + "!'",
		"environment: {LISTED: '" + marker + "'}\n    x-perch: {secrets: [LISTED]}\n    hostname: '" + marker + "!'",
		"x-perch: {readiness: {http: '" + marker + "'}, secrets: [" + "${DB_PASSWORD}" + "]}",
		"secrets: [token]\n    hostname: 'content-of-" + marker + "!'",
		"volumes: [bad]",
		"deploy: {resources: {limits: {memory: '${DB_PASSWORD}'}}}",
	}
	for i, place := range places {
		for _, embedded := range []bool{false, true} {
			dir := folder(t, map[string]string{
				"token": "content-of-" + marker, "good.env": "A=1\nB " + marker + "\n", ".env": "OTHER_SECRET=" + marker + "\n",
				"compose.yaml": fmt.Sprintf("services:\n  web:\n    %s\n    image: x\n  bad:\n    image: x\n    env_file: good.env\n"+
					"secrets:\n  token: {file: token}\nvolumes:\n  bad: {driver_opts: {type: cifs, o: 'password=%s', device: '//%s'}}\n", place, marker, marker),
			})
			o := compose.Options{WorkingDir: dir, Embedded: embedded, Environment: map[string]string{"DB_PASSWORD": marker}}
			_, err := compose.Load(t.Context(), o)
			var problems compose.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("case %d: no problems: %v", i, err)
			}
			if text := listed("error", problems); strings.Contains(text, marker) && !strings.Contains(place, "'PASSWORD="+marker+"': 1") {
				t.Errorf("%s: the secret is in\n%s", place, text)
			}
			warned(t, o, place)
		}
	}
}

// warned looks into the warnings of a project that has nothing wrong but what place has.
func warned(t *testing.T, o compose.Options, place string) {
	t.Helper()
	dir := folder(t, map[string]string{
		"token": "content-of-" + marker, "Dockerfile": "FROM x",
		"compose.yaml": "services:\n  web:\n    " + place + "\n    image: x\nsecrets:\n  token: {file: token}\n",
	})
	o.WorkingDir = dir
	project, err := compose.Load(t.Context(), o)
	text := ""
	if err == nil {
		text = listed("warning", project.Warnings)
	}
	all, err := compose.Explain(t.Context(), o, "services")
	if err == nil {
		text += explanations(all)
	}
	if strings.Contains(text, marker) {
		t.Errorf("%s: the secret is in\n%s", place, text)
	}
}

// TestReadableByAll: what holds a password in a place for all is told of, with its line.
func TestReadableByAll(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"compose.yaml": `services:
  web:
    build:
      context: .
      args:
        API_KEY: ` + marker + `
        VERSION: "1"
    command: redis-server --requirepass ` + marker + `
    entrypoint: [sh, -c, "psql postgres://a:` + marker + `@db"]
    healthcheck: {test: "mysqladmin ping -p` + marker + `"}
    labels:
      url: http://u:` + marker + `@h
    annotations: {plain: x}
    pre_stop:
      - command: ["curl", "-u", "a:` + marker + `", "http://x"]
  fine:
    image: x
    command: server --password-file /run/secrets/x --password $$PASSWORD
    healthcheck: {test: "mysqladmin ping -p$$MYSQL_ROOT_PASSWORD"}
    entrypoint: ["app", "--token-ttl", "5m", "--key", "id"]
jobs:
  job:
    image: x
    triggers: {manual: true}
    command: deploy --token=` + marker + `
configs:
  c: {content: "db_password = ` + marker + `"}
`})
	p := load(t, compose.Options{WorkingDir: dir})
	var lines []int
	for _, w := range p.Warnings {
		if strings.Contains(w.Message, "looks as if") {
			lines = append(lines, w.Line)
		}
		if strings.Contains(w.Message+w.Hint, marker) {
			t.Errorf("the secret is in %s", w)
		}
	}
	if want := "[6 8 9 10 12 15 25]"; fmt.Sprint(lines) != want {
		t.Errorf("warnings on lines %v, want %s:\n%s", lines, want, listed("warning", p.Warnings))
	}
}
