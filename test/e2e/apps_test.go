package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestApps runs applications of the shapes that people write, several from the corpus with not one word changed but their
// ports, on one cluster, some side by side. Each must answer as it does under Docker.
func TestApps(t *testing.T) {
	u := newUser(t, "a")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36", "nginx:1.22", "redis:7", "python:3.11", "mariadb:10.11", "postgres:15")
	scheduled := startScheduled(t, n) // it is due at the next full minute, which comes while the others run
	t.Run("SideBySide", func(t *testing.T) {
		for _, one := range []struct {
			name string
			test func(*testing.T, *node)
		}{
			{"MariaDB", testMariaDB},
			{"PostgreSQL", testPostgreSQL},
			{"WSGI", testWSGI},
			{"LoadBalanced", testLoadBalanced},
			{"Replicas", testReplicas},
			{"OneShot", testOneShot},
			{"Profiles", testProfiles},
			{"Settings", testSettings},
			{"Names", testNames},
			{"Networks", testNetworks},
			{"Binds", testBinds},
			{"AnonymousVolumes", testAnonymousVolumes},
			{"SeededVolume", testSeededVolume},
			{"SecretFiles", testSecretFiles},
			{"Gated", testGated},
			{"Image", testImage},
			{"Sidecar", testSidecar},
		} {
			t.Run(one.name, func(t *testing.T) {
				t.Parallel()
				one.test(t, n)
			})
		}
	})
	t.Run("Scheduled", func(t *testing.T) { testScheduled(t, scheduled) })
}

// application is a project that runs, with its web server published on a port of its own.
type application struct {
	project
	node      *node
	namespace string
	port      string
	env       []string
}

// apps is the folder of what the applications are made of.
const apps = "test/e2e/testdata/apps"

// python is a service's folder: a Dockerfile and the application that tells what its container is like.
func python(t *testing.T, n *node, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"app.py", "Dockerfile"} {
		data, err := os.ReadFile(filepath.Join(n.root, apps, name))
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(folder, name)] = string(data)
	}
	return files
}

// with is files and more of them.
func with(files map[string]string, more ...string) map[string]string {
	all := maps.Clone(files)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// application writes a project, whose Compose file publishes ${PORT}. It is not up yet.
func (n *node) application(t *testing.T, name string, files map[string]string) *application {
	t.Helper()
	port := freePort(t)
	return &application{project: n.user.project(t, name, files), node: n, namespace: name, port: port, env: []string{"PORT=" + port}}
}

// corpus is a project of the corpus with these files added. Only what it publishes on port from is published elsewhere.
func (n *node) corpus(t *testing.T, name, from string, files map[string]string) *application {
	t.Helper()
	p := n.copyOf(t, name, filepath.Join("test/corpus/testdata/awesome-compose", name))
	for file, text := range files {
		p.write(t, file, text)
	}
	a := &application{project: p, node: n, namespace: name, port: freePort(t)}
	data, err := os.ReadFile(filepath.Join(p.dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before := string(data)
	p.write(t, "compose.yaml", strings.Replace(before, from+":80", a.port+":80", 1))
	return a
}

// start is `perch up -d`. At the end the project is removed without waiting for it, so that those to come have room.
func (a *application) start(t *testing.T, args ...string) outcome {
	t.Helper()
	t.Cleanup(func() {
		if err := a.node.api.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), a.namespace, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return a.do(t, append([]string{"up", "-d"}, args...)...)
}

// do runs perch in the project's folder.
func (a *application) do(t *testing.T, args ...string) outcome {
	t.Helper()
	return a.want(t, 0, command{dir: a.dir, args: args, env: a.env})
}

// get asks the web server. Without a health check, up has ended when the container has started, and the program in it may
// still need a moment.
func (a *application) get(t *testing.T, path string, query ...string) string {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	address := "http://127.0.0.1:" + a.port + path
	if len(values) > 0 {
		address += "?" + values.Encode()
	}
	var answer string
	eventually(t, 30*time.Second, address+" answers", func(ctx context.Context) (err error) {
		answer, err = fetch(ctx, address)
		return err
	})
	return strings.TrimSpace(answer)
}

// wantGet is get for an answer that is known.
func (a *application) wantGet(t *testing.T, want, path string, query ...string) {
	t.Helper()
	if got := a.get(t, path, query...); got != want {
		t.Errorf("%s %q: got %q, want %q", path, query, got, want)
	}
}

// inside runs a command in a service's container.
func (a *application) inside(t *testing.T, service string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(a.do(t, append([]string{"exec", "-T", service}, args...)...).stdout)
}

// pod is the one pod of a service.
func (a *application) pod(t *testing.T, service string) corev1.Pod {
	t.Helper()
	pods, err := a.node.pods(t.Context(), a.namespace, service)
	if err != nil {
		t.Fatal(err)
	}
	if len(pods) != 1 {
		t.Fatalf("service %s has %d pods", service, len(pods))
	}
	return pods[0]
}

// readySince is when a pod became ready.
func readySince(p corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// testMariaDB is nginx in front of an application with a database, whose password is in a file, and whose health check is
// a line of shell that reads it.
func testMariaDB(t *testing.T, n *node) {
	a := n.corpus(t, "nginx-golang-mysql", "80", with(python(t, n, "backend"),
		"backend/Dockerfile", "FROM python:3.11 AS builder\nCOPY app.py /srv/app.py\nENV BACKEND=mysql\nCMD [\"python\", \"/srv/app.py\"]\n"))
	a.start(t)
	a.wantGet(t, "mysql: visit 1", "/")
	a.wantGet(t, "mysql: visit 2", "/")
	t.Run("the application came after the database was healthy", func(t *testing.T) {
		if db, app := readySince(a.pod(t, "db")), a.pod(t, "backend").CreationTimestamp; db.IsZero() || app.Time.Before(db) {
			t.Errorf("the database is healthy since %s, the application was made at %s", db, app)
		}
	})
	t.Run("the data outlives down", func(t *testing.T) {
		a.do(t, "down")
		a.do(t, "up", "-d")
		a.wantGet(t, "mysql: visit 3", "/")
	})
}

// testPostgreSQL runs the database as a user that is named, on a named volume.
func testPostgreSQL(t *testing.T, n *node) {
	a := n.corpus(t, "nginx-golang-postgres", "80", with(python(t, n, "backend"),
		"backend/Dockerfile", "FROM python:3.11 AS builder\nCOPY app.py /srv/app.py\nENV BACKEND=postgres\nCMD [\"python\", \"/srv/app.py\"]\n"))
	a.start(t)
	a.wantGet(t, "postgres: visit 1", "/")
	if got := a.inside(t, "db", "id", "-un"); got != "postgres" {
		t.Errorf("the database runs as %q", got)
	}
}

// testWSGI is gunicorn behind an nginx whose configuration is made when it starts; curl is the health check of both.
func testWSGI(t *testing.T, n *node) {
	a := n.corpus(t, "nginx-wsgi-flask", "80", with(python(t, n, "flask"),
		"flask/Dockerfile", "FROM python:3.11\nWORKDIR /srv\nCOPY app.py .\n",
		"nginx/Dockerfile", "FROM nginx:alpine\nCOPY start.sh /app/start.sh\nRUN chmod +x /app/start.sh\n",
		"nginx/start.sh", "#!/bin/bash\nenvsubst '$FLASK_SERVER_ADDR' < /tmp/default.conf > /etc/nginx/conf.d/default.conf && nginx -g 'daemon off;'\n"))
	a.replace(t, "compose.yaml", "'8000:8000'", "'"+freePort(t)+":8000'")
	a.start(t)
	a.wantGet(t, "ok", "/health")
	a.wantGet(t, "success", "/health-check")
}

// testLoadBalanced is two servers by their own names behind one nginx, and Redis beside them.
func testLoadBalanced(t *testing.T, n *node) {
	web := "FROM python:3.11-slim\nCOPY app.py /srv/app.py\nENV BACKEND=redis PORT=5000\nEXPOSE 5000\nCMD [\"python\", \"/srv/app.py\"]\n"
	a := n.corpus(t, "nginx-nodejs-redis", "80", with(python(t, n, "web"), "web/Dockerfile", web,
		"nginx/Dockerfile", "FROM nginx\nCOPY nginx.conf /etc/nginx/conf.d/default.conf\n"))
	for _, port := range []string{"6379:6379", "81:5000", "82:5000"} {
		_, inside, _ := strings.Cut(port, ":")
		a.replace(t, "compose.yaml", "'"+port+"'", "'"+freePort(t)+":"+inside+"'")
	}
	a.start(t)
	seen := map[string]bool{}
	for i := range 6 {
		host, count, _ := strings.Cut(a.get(t, "/"), ": ")
		seen[host] = true
		if want := fmt.Sprintf("hit %d", i+1); count != want {
			t.Errorf("got %s, want %s", count, want)
		}
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, []string{"web1", "web2"}) {
		t.Errorf("answered by %v", got)
	}
}

// testReplicas is a counter on several web servers of one service.
func testReplicas(t *testing.T, n *node) {
	a := n.application(t, "hits", with(python(t, n, "web"), "compose.yaml", `
services:
  proxy:
    image: nginx:alpine
    ports: ["${PORT}:80"]
    volumes: ["./site.conf:/etc/nginx/conf.d/default.conf:ro"]
    depends_on: [web]
  web:
    build: web
    environment: {BACKEND: redis}
    deploy: {replicas: 3}
    depends_on:
      redis: {condition: service_healthy}
  redis:
    image: redis:alpine
    command: redis-server --save ""
    healthcheck:
      test: ["CMD-SHELL", "redis-cli ping | grep -q PONG"]
      interval: 1s
`, "site.conf", "server { listen 80; location / { proxy_pass http://web:8000; } }\n"))
	a.start(t)
	pods := n.ready(t, "hits", "web", 3)
	seen, last := map[string]bool{}, ""
	for range 30 {
		host, count, _ := strings.Cut(a.get(t, "/"), ": ")
		seen[host], last = true, count
	}
	if last != "hit 30" {
		t.Errorf("after 30 requests it is %q", last)
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, pods) {
		t.Errorf("answered by %v, the pods are %v", got, pods)
	}
}

// testOneShot has a service that prepares a shared volume and ends, before the server starts.
func testOneShot(t *testing.T, n *node) {
	a := n.application(t, "one-shot", map[string]string{"compose.yaml": `
services:
  prepare:
    image: busybox:1.36
    command: sh -c 'sleep 1; echo "prepared as $$(id -u)" > /site/index.html'
    volumes: ["site:/site"]
  web:
    image: nginx:alpine
    ports: ["${PORT}:80"]
    volumes: ["site:/usr/share/nginx/html:ro"]
    depends_on:
      prepare: {condition: service_completed_successfully}
volumes:
  site:
`})
	a.start(t)
	a.wantGet(t, "prepared as 0", "/")
	jobs, err := n.api.BatchV1().Jobs("one-shot").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs.Items) != 1 || jobs.Items[0].Status.Succeeded != 1 {
		t.Errorf("the jobs are %v", jobs.Items)
	}
	t.Run("one that fails holds its dependents back", func(t *testing.T) {
		f := n.application(t, "one-shot-fails", map[string]string{"compose.yaml": `
services:
  prepare:
    image: busybox:1.36
    command: ["sh", "-c", "echo it cannot be prepared >&2; exit 3"]
  web:
    image: nginx:alpine
    depends_on:
      prepare: {condition: service_completed_successfully}
`})
		r := n.exec(t.Context(), command{dir: f.dir, args: []string{"up", "-d"}, env: f.env})
		if r.code == 0 {
			t.Errorf("it succeeds: %s", r)
		}
		wantText(t, r.stderr, "it cannot be prepared")
		if pods, err := n.pods(t.Context(), "one-shot-fails", "web"); err != nil || len(pods) > 0 {
			t.Errorf("the server was started all the same: %d, %v", len(pods), err)
		}
		f.do(t, "down")
	})
}

// testProfiles starts what is asked for.
func testProfiles(t *testing.T, n *node) {
	a := n.application(t, "profiles", map[string]string{"compose.yaml": `
services:
  web: {image: "nginx:alpine", ports: ["${PORT}:80"]}
  debug: {image: "busybox:1.36", command: sleep infinity, profiles: [debug]}
`})
	a.start(t)
	if pods, err := n.pods(t.Context(), "profiles", "debug"); err != nil || len(pods) > 0 {
		t.Errorf("%d pods of a profile that is off, %v", len(pods), err)
	}
	wantText(t, a.get(t, "/"), "nginx")
	web := a.pod(t, "web").UID
	a.do(t, "--profile", "debug", "up", "-d")
	n.ready(t, "profiles", "debug", 1)
	if a.pod(t, "web").UID != web {
		t.Error("the other service was rolled")
	}
}
