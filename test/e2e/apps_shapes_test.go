package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testSettings is where variables come from, and how a dollar sign reaches the shell.
func testSettings(t *testing.T, n *node) {
	a := n.application(t, "settings", with(python(t, n, "web"), "compose.yaml", `
services:
  web:
    build: web
    ports: ["${PORT}:8000"]
    env_file:
      - first.env
      - {path: second.env}
      - {path: missing.env, required: false}
    environment:
      BOTH: from environment
      EMPTY: ""
      DOLLAR: "a$$b"
      PAREN: "$$(NOT_A_VAR)"
      NUMBER: 1.10
      SWITCH: "yes"
      FROM_DOTENV: ${DOTENV:-unset}
      LINES: |
        one
        two
    command: ["sh", "-c", "exec python /srv/app.py \"$$BOTH\" '$$(BOTH)' $$((1+2))"]
`,
		".env", "DOTENV=from .env\n",
		"first.env", "BOTH=from first\nFIRST=first\nOVER=first\n", "second.env", "OVER=second\nQUOTED=\"a b\" # comment\n"))
	a.start(t)
	for name, want := range map[string]string{
		"BOTH": "from environment", "FIRST": "first", "OVER": "second", "QUOTED": "a b", "EMPTY": "", "DOLLAR": "a$b",
		"PAREN": "$(NOT_A_VAR)", "NUMBER": "1.1", "SWITCH": "yes", "FROM_DOTENV": "from .env", "LINES": "one\ntwo",
		"WEB_SERVICE_HOST": "(not set)", // what Kubernetes would add for each Service
	} {
		a.wantGet(t, want, "/env", "name", name)
	}
	a.wantGet(t, "from environment\n$(BOTH)\n3", "/args")
}

// testNames has names that Kubernetes does not allow, aliases, and a container's name as a host name.
func testNames(t *testing.T, n *node) {
	a := n.application(t, "names", with(python(t, n, "web"), "compose.yaml", `
services:
  web:
    build: web
    ports: ["${PORT}:8000"]
    extra_hosts: ["somewhere:192.0.2.7"]
    hostname: my-host
  my_db:
    image: nginx:alpine
    container_name: The_Store
    networks:
      default:
        aliases: [db.internal, other]
`))
	a.start(t)
	for _, name := range []string{"my_db", "db.internal", "other", "The_Store", "web"} {
		if got := a.get(t, "/lookup", "name", name); net.ParseIP(got) == nil {
			t.Errorf("%s is %q", name, got)
		}
	}
	wantText(t, a.get(t, "/ask", "url", "http://my_db/"), "nginx")
	wantText(t, a.get(t, "/ask", "url", "http://db.internal:80/"), "nginx")
	a.wantGet(t, "192.0.2.7", "/lookup", "name", "somewhere")
	a.wantGet(t, "hello from my-host", "/")
	wantText(t, a.get(t, "/lookup", "name", "not_there"), "not found")
}

// testNetworks has three networks, one of them internal.
func testNetworks(t *testing.T, n *node) {
	a := n.application(t, "networks", with(python(t, n, "web"), "compose.yaml", `
services:
  web:
    build: web
    ports: ["${PORT}:8000"]
    networks: [front, back]
  page:
    image: nginx:alpine
    networks: [front]
  db:
    image: redis:alpine
    networks: {back: {aliases: [redis]}}
networks:
  front:
  back: {internal: true}
`))
	a.start(t)
	wantText(t, a.get(t, "/hits"), ": hit 1")
	wantText(t, a.get(t, "/ask", "url", "http://page/"), "nginx")
	t.Run("each service has a policy", func(t *testing.T) {
		list, err := n.api.NetworkingV1().NetworkPolicies("networks").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		selected := map[string]bool{}
		for _, p := range list.Items {
			selected[p.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"]] = true
		}
		for _, service := range []string{"web", "page", "db"} {
			if !selected[service] {
				t.Errorf("there is none for %s: %v", service, selected)
			}
		}
	})
}

// testBinds mounts folders of the project: one that is read, with what is below it, and one that is written to.
func testBinds(t *testing.T, n *node) {
	a := n.application(t, "binds", with(python(t, n, "web"), "compose.yaml", `
services:
  proxy:
    image: nginx:alpine
    ports: ["${PORT}:80"]
    volumes:
      - ./html:/usr/share/nginx/html:ro
      - ./conf:/etc/nginx/conf.d:ro
    depends_on: [web]
  web:
    build: web
    read_only: true
    tmpfs: ["/tmp", "/scratch:size=1m,mode=1777"]
    volumes:
      - ./data:/data
      - ./new/folder:/new
      - ./single.txt:/etc/single.txt
      - ./html:/read:ro
`,
		"html/index.html", "home\n", "html/a/b/deep.html", "deep\n", "single.txt", "single\n", "data/before.txt", "before\n",
		"conf/site.conf", "server { listen 80; root /usr/share/nginx/html; location /app/ { proxy_pass http://web:8000/; } }\n"))
	a.start(t)
	a.wantGet(t, "home", "/")
	a.wantGet(t, "deep", "/a/b/deep.html")
	a.wantGet(t, "before", "/app/file", "path", "/data/before.txt")
	a.wantGet(t, "single", "/app/file", "path", "/etc/single.txt")
	for path, want := range map[string]string{
		"/data/after.txt": "written", "/new/after.txt": "written", "/tmp/x": "written", "/scratch/x": "written",
		"/srv/x": "Read-only file system", "/read/x": "Read-only file system",
	} {
		a.wantGet(t, want, "/app/write", "path", path, "text", "from the container")
	}
	for _, file := range []string{"data/after.txt", "new/folder/after.txt"} {
		if data, err := os.ReadFile(filepath.Join(a.dir, file)); err != nil || string(data) != "from the container" {
			t.Errorf("%s on the host: %q, %v", file, data, err)
		}
	}
	t.Run("what is written here is read there", func(t *testing.T) {
		a.write(t, "data/live.txt", "live")
		a.wantGet(t, "live", "/app/file", "path", "/data/live.txt")
	})
}

// testAnonymousVolumes is the shape of every JavaScript project: the sources are mounted over what the image has, and an
// anonymous volume keeps one folder of the image's.
func testAnonymousVolumes(t *testing.T, n *node) {
	a := n.application(t, "anonymous", with(python(t, n, "src"), "compose.yaml", `
services:
  web:
    build: src
    ports: ["${PORT}:8000"]
    volumes:
      - ./src:/srv
      - /srv/node_modules
`,
		"src/.dockerignore", "node_modules\n",
		"src/Dockerfile", "FROM python:3.11\nWORKDIR /srv\nRUN mkdir -p node_modules/left-pad && echo module > node_modules/left-pad/index.js && chown -R 1000:1000 node_modules\nCMD [\"python\", \"/srv/app.py\"]\n"))
	a.start(t)
	a.wantGet(t, "module", "/file", "path", "/srv/node_modules/left-pad/index.js")
	a.wantGet(t, "1000:1000 755", "/stat", "path", "/srv/node_modules")
	a.wantGet(t, "written", "/write", "path", "/srv/node_modules/new.js", "text", "x")
	a.wantGet(t, "written", "/write", "path", "/srv/made.txt", "text", "made")
	if data, err := os.ReadFile(filepath.Join(a.dir, "src/made.txt")); err != nil || string(data) != "made" {
		t.Errorf("on the host: %q, %v", data, err)
	}
}

// testSeededVolume has a named volume over a folder of the image's: the volume begins with what is there, and keeps what was
// written when the image changes.
func testSeededVolume(t *testing.T, n *node) {
	a := n.application(t, "seeded", with(python(t, n, "web"), "compose.yaml", `
services:
  web:
    build: web
    user: "1000:1000"
    ports: ["${PORT}:8000"]
    volumes: ["content:/content", "bare:/bare"]
volumes:
  content:
  bare:
`, "web/Dockerfile", "FROM python:3.11\nCOPY app.py /srv/app.py\nRUN mkdir -p /content/sub && echo seed > /content/sub/file && chown -R 1000:1000 /content\nCMD [\"python\", \"/srv/app.py\"]\n"))
	a.start(t)
	a.wantGet(t, "seed", "/file", "path", "/content/sub/file")
	a.wantGet(t, "written", "/write", "path", "/content/sub/file", "text", "changed")
	a.do(t, "down")
	a.do(t, "up", "-d")
	a.wantGet(t, "changed", "/file", "path", "/content/sub/file")
}

// testSecretFiles mounts secrets and configs from each kind of source.
func testSecretFiles(t *testing.T, n *node) {
	a := n.application(t, "secret-files", with(python(t, n, "web"), "compose.yaml", `
services:
  web:
    build: web
    user: "1000:1000"
    ports: ["${PORT}:8000"]
    secrets:
      - plain_one
      - {source: from-env, target: elsewhere, mode: 0444}
      - {source: plain_one, target: /etc/app/token}
    configs:
      - {source: written, target: /etc/app/written.conf}
      - {source: filed, target: /filed.sh, mode: 0555}
secrets:
  plain_one: {file: ./secret.bin}
  from-env: {environment: SECRET_VALUE}
configs:
  written: {content: "port = ${PORT}\n"}
  filed: {file: ./filed.sh}
`, "secret.bin", "no line break", "filed.sh", "#!/bin/sh\necho filed\n"))
	a.env = append(a.env, "SECRET_VALUE=its value")
	a.start(t)
	for path, want := range map[string]string{
		"/run/secrets/plain_one": "no line break", "/run/secrets/elsewhere": "its value", "/etc/app/token": "no line break",
		"/etc/app/written.conf": "port = " + a.port, "/filed.sh": "#!/bin/sh\necho filed",
	} {
		a.wantGet(t, want, "/file", "path", path)
	}
	if got := a.inside(t, "web", "/filed.sh"); got != "filed" {
		t.Errorf("the config as a program: %q", got)
	}
}

// testGated has a service that is healthy only after a while, by a line of shell, and one that waits for it.
func testGated(t *testing.T, n *node) {
	a := n.application(t, "gated", map[string]string{"compose.yaml": `
services:
  slow:
    image: busybox:1.36
    command: ["sh", "-c", "sleep 3; echo up > /tmp/state; exec sleep infinity"]
    init: true
    healthcheck:
      test: test "$$(cat /tmp/state)" = up
      interval: 1s
      start_period: 20s
  after:
    image: nginx:alpine
    ports: ["${PORT}:80"]
    depends_on:
      slow: {condition: service_healthy}
`})
	a.start(t)
	wantText(t, a.get(t, "/"), "nginx")
	slow, after := a.pod(t, "slow"), a.pod(t, "after")
	if took := readySince(slow).Sub(slow.CreationTimestamp.Time); took < 2*time.Second {
		t.Errorf("it was healthy after %s", took)
	}
	if after.CreationTimestamp.Time.Before(readySince(slow)) {
		t.Errorf("the dependent was made at %s, before %s", after.CreationTimestamp, readySince(slow))
	}
}

// testImage has nothing in the Compose file but the folder: what the image says of itself counts.
func testImage(t *testing.T, n *node) {
	a := n.application(t, "image", with(python(t, n, "web"), "compose.yaml", `
services:
  proxy:
    image: nginx:alpine
    ports: ["${PORT}:80"]
    volumes: ["./site.conf:/etc/nginx/conf.d/default.conf:ro"]
    depends_on:
      web: {condition: service_healthy}
  web:
    build: web
`,
		"site.conf", "server { listen 80; location / { proxy_pass http://web:8000; } }\n",
		"web/Dockerfile", `FROM python:3.11
RUN echo 'app:x:1234:1234::/srv:/bin/sh' >> /etc/passwd && echo 'app:x:1234:' >> /etc/group && mkdir -p /srv/data && echo seed > /srv/data/seed && chown -R app:app /srv/data
COPY app.py /srv/app.py
WORKDIR /srv
ENV PORT=8000
EXPOSE 8000
USER app
VOLUME /srv/data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=1s --start-period=20s CMD curl --silent --fail localhost:$PORT/health || exit 1
ENTRYPOINT ["python"]
CMD ["app.py"]
`))
	a.start(t)
	a.wantGet(t, "1234:1234 1234", "/id")
	a.wantGet(t, "seed", "/file", "path", "/srv/data/seed")
	a.wantGet(t, "written", "/write", "path", "/srv/data/new", "text", "x")
	service, err := n.api.CoreV1().Services("image").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Port != 8000 {
		t.Errorf("the service's ports are %v", service.Spec.Ports)
	}
	probe := a.pod(t, "web").Spec.Containers[0].ReadinessProbe
	if probe == nil || probe.Exec == nil && probe.HTTPGet == nil {
		t.Errorf("the image's health check became %+v", probe)
	}
}

// testSidecar has two containers that share a network, and an init process that is not the program.
func testSidecar(t *testing.T, n *node) {
	a := n.application(t, "sidecar", with(python(t, n, "web"), "compose.yaml", `
services:
  web:
    build: web
    init: true
    ports: ["${PORT}:8000"]
  beside:
    image: nginx:alpine
    network_mode: service:web
    depends_on: [web]
`))
	a.start(t)
	wantText(t, a.get(t, "/ask", "url", "http://localhost:80/"), "nginx")
	if got := a.get(t, "/pid1"); strings.HasPrefix(got, "python") {
		t.Errorf("the first process is %q", got)
	}
	if pods, err := n.pods(t.Context(), "sidecar", "beside"); err != nil || len(pods) > 0 {
		t.Errorf("it has pods of its own: %d, %v", len(pods), err)
	}
}

// startScheduled brings up a project with a job that is due every minute.
func startScheduled(t *testing.T, n *node) *application {
	t.Helper()
	a := n.application(t, "scheduled", map[string]string{"compose.yaml": `
services:
  web: {image: "nginx:alpine", ports: ["${PORT}:80"], volumes: ["site:/usr/share/nginx/html"]}
jobs:
  tick:
    image: busybox:1.36
    command: sh -c 'echo ticked >> /site/ticks'
    volumes: ["site:/site"]
    triggers:
      schedule: ["* * * * *"]
volumes:
  site:
`})
	a.start(t)
	return a
}

func testScheduled(t *testing.T, a *application) {
	list, err := a.node.api.BatchV1().CronJobs("scheduled").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Spec.Schedule != "* * * * *" {
		t.Fatalf("the schedules are %v", list.Items)
	}
	eventually(t, 90*time.Second, "the job has run", func(ctx context.Context) error {
		got, err := fetch(ctx, "http://127.0.0.1:"+a.port+"/ticks")
		if err != nil {
			return err
		}
		if !slices.Contains(strings.Fields(got), "ticked") {
			return fmt.Errorf("it wrote %q", got)
		}
		return nil
	})
}
