package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// watchedFiles is an application of two replicas that serves the files of /www and says what it was started with.
func watchedFiles(port string) map[string]string {
	return map[string]string{
		"compose.yaml": `name: watched
services:
  web:
    build: .
    ports: ["` + port + `:8080"]
    deploy: {replicas: 2}
    healthcheck: {test: ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"], interval: 1s, start_period: 20s, start_interval: 1s}
    develop:
      watch:
        - {action: sync, path: ./src, target: /www, ignore: ["*.tmp"]}
        - {action: rebuild, path: ./Dockerfile}
        - {action: sync+restart, path: ./app.conf, target: /etc/app.conf}
        - action: sync+exec
          path: ./in
          target: /in
          exec: {command: [sh, -c, "echo $$GREETING from $$PWD; cat text > /www/executed"], working_dir: /in, environment: {GREETING: "it's me"}}
        - {action: sync, path: ./initial, target: /www/initial, initial_sync: true}
  other:
    image: busybox:1.36
    command: [sleep, "1000000"]
`,
		"Dockerfile": `FROM busybox:1.36
COPY src /www
COPY app.conf /etc/app.conf
RUN echo first > /www/built
CMD ["sh", "-c", "cp /etc/app.conf /www/started; exec httpd -f -p 8080 -h /www"]
`,
		".dockerignore":   "secret\n",
		"src/index.html":  "first",
		"src/sub/old":     "old",
		"app.conf":        "first",
		"in/text":         "first",
		"initial/greeted": "hello",
	}
}

// watching is perch watch of an application.
type watching struct {
	project
	node *node
	base string
	run  *process
}

// serves waits until every replica serves the text: each is asked by its own address, through the container.
func (w *watching) serves(t *testing.T, name, want string) {
	t.Helper()
	eventually(t, 60*time.Second, name+" is "+want, func(ctx context.Context) error {
		pods, err := w.pods(ctx)
		if err != nil {
			return err
		}
		for _, p := range pods {
			r := w.exec(ctx, command{dir: w.dir, args: []string{"kubectl", "exec", "-n", "watched", p, "--", "cat", "/www/" + name}})
			if got := strings.TrimSpace(r.stdout); got != want && (want != "" || r.code == 0) {
				return fmt.Errorf("pod %s has %q: %s", p, got, r.stderr)
			}
		}
		return nil
	})
}

// pods are the names of the two replicas; an error when they are not two.
func (w *watching) pods(ctx context.Context) ([]string, error) {
	list, err := w.node.api.CoreV1().Pods("watched").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=web"})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			names = append(names, p.Name)
		}
	}
	if slices.Sort(names); len(names) != 2 {
		return nil, fmt.Errorf("the pods are %v", names)
	}
	return names, nil
}

func (w *watching) mustPods(t *testing.T) []string {
	t.Helper()
	var names []string
	eventually(t, 60*time.Second, "there are two pods", func(ctx context.Context) (err error) {
		names, err = w.pods(ctx)
		return err
	})
	return names
}

// TestWatch changes files under perch watch, and looks at what the containers have.
func TestWatch(t *testing.T) {
	u := newUser(t, "w")
	u.perch(t, "", "cluster", "start")
	n := u.connect(t)
	n.load(t, "busybox:1.36")
	port := freePort(t)
	w := &watching{project: u.project(t, "watched", watchedFiles(port)), node: n, base: "http://127.0.0.1:" + port + "/"}
	w.run = u.start(t, command{dir: w.dir, args: []string{"watch"}})
	w.run.says(t, 2*time.Minute, "watching files of web")
	other := n.podNames(t, "watched", "other")
	t.Run("InitialSync", func(t *testing.T) { w.serves(t, "initial/greeted", "hello") })
	t.Run("Sync", func(t *testing.T) { testWatchSync(t, w) })
	t.Run("Replaced", func(t *testing.T) { testWatchReplaced(t, w) })
	t.Run("Exec", func(t *testing.T) {
		w.write(t, "in/text", "second")
		w.serves(t, "executed", "second")
		w.run.says(t, 10*time.Second, "it's me from /in")
	})
	t.Run("SyncRestart", func(t *testing.T) { testWatchRestart(t, w) })
	t.Run("Rebuild", func(t *testing.T) { testWatchRebuild(t, w) })
	t.Run("other services are left alone", func(t *testing.T) {
		if now := n.podNames(t, "watched", "other"); !slices.Equal(now, other) {
			t.Errorf("the pods were %v, are %v", other, now)
		}
	})
	t.Run("Ends", func(t *testing.T) {
		w.run.interrupt(t)
		if r := w.run.endWithin(t, 20*time.Second); r.code != 0 || !strings.Contains(r.stderr, "the app goes on running") {
			t.Errorf("Ctrl-C ends it with %s", r)
		}
		w.mustPods(t)
	})
	t.Run("NoUp", func(t *testing.T) { testWatchNoUp(t, w) })
	t.Run("Wrong", func(t *testing.T) { testWatchWrong(t, w) })
}

func testWatchSync(t *testing.T, w *watching) {
	pods := w.mustPods(t)
	w.write(t, "src/index.html", "second")
	w.serves(t, "index.html", "second")
	w.write(t, "src/new/deep/file", "new")
	w.serves(t, "new/deep/file", "new")
	w.write(t, "src/ignored.tmp", "x")
	if err := os.RemoveAll(filepath.Join(w.dir, "src/sub")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(w.dir, "src/new"), filepath.Join(w.dir, "src/renamed")); err != nil {
		t.Fatal(err)
	}
	w.serves(t, "renamed/deep/file", "new")
	w.serves(t, "sub/old", "")
	w.serves(t, "new/deep/file", "")
	w.serves(t, "ignored.tmp", "")
	if now := w.mustPods(t); !slices.Equal(pods, now) {
		t.Errorf("pods were replaced: %v, %v", pods, now)
	}
}

// testWatchReplaced deletes a pod: the next one begins with the image, and must get what was synced.
func testWatchReplaced(t *testing.T, w *watching) {
	gone := w.mustPods(t)[0]
	w.perch(t, "", "kubectl", "delete", "pod", "-n", "watched", gone)
	eventually(t, 60*time.Second, "another pod is there", func(ctx context.Context) error {
		pods, err := w.pods(ctx)
		if err == nil && slices.Contains(pods, gone) {
			err = fmt.Errorf("the pods are %v", pods)
		}
		return err
	})
	w.serves(t, "index.html", "second")
	w.serves(t, "renamed/deep/file", "new")
	w.serves(t, "sub/old", "")
	w.serves(t, "initial/greeted", "hello")
}

// testWatchRestart changes what the process reads when it begins: it must find the change there.
func testWatchRestart(t *testing.T, w *watching) {
	before := w.mustPods(t)
	w.write(t, "app.conf", "second")
	w.serves(t, "started", "second")
	w.serves(t, "index.html", "second")
	w.serves(t, "sub/old", "")
	for _, name := range w.mustPods(t) {
		if slices.Contains(before, name) {
			t.Errorf("pod %s was not replaced", name)
		}
	}
	w.run.says(t, 60*time.Second, "watch web: restarted with")
}

// testWatchRebuild builds, fails to build, and recovers.
func testWatchRebuild(t *testing.T, w *watching) {
	w.replace(t, "Dockerfile", "echo first", "echo second")
	w.serves(t, "built", "second")
	w.serves(t, "initial/greeted", "hello") // no Dockerfile copies it: synced again
	w.serves(t, "index.html", "second")     // in it: in the image
	w.run.says(t, 60*time.Second, "watch web: rebuilt")
	pods := w.mustPods(t)
	w.replace(t, "Dockerfile", "RUN echo second", "RUN false && echo second")
	w.run.says(t, 60*time.Second, "watch web: failed:")
	if now := w.mustPods(t); !slices.Equal(pods, now) {
		t.Errorf("a build that failed replaced pods: %v, %v", pods, now)
	}
	w.replace(t, "Dockerfile", "RUN false && echo second", "RUN echo third")
	w.serves(t, "built", "third")
	w.write(t, "src/index.html", "third")
	w.serves(t, "index.html", "third")
}

// testWatchNoUp watches what runs already.
func testWatchNoUp(t *testing.T, w *watching) {
	p := w.start(t, command{dir: w.dir, args: []string{"watch", "--no-up", "web"}})
	p.says(t, 30*time.Second, "watching files of web")
	w.write(t, "src/index.html", "fourth")
	w.serves(t, "index.html", "fourth")
	p.interrupt(t)
	if r := p.endWithin(t, 20*time.Second); r.code != 0 {
		t.Errorf("Ctrl-C ends it with %s", r)
	}
}

// testWatchWrong tells what is wrong with rules before anything is done.
func testWatchWrong(t *testing.T, w *watching) {
	r := w.want(t, 11, command{dir: w.dir, args: []string{"watch", "other"}})
	wantText(t, r.stderr, `nothing to watch: service "other" is without develop.watch`)
	w.replace(t, "compose.yaml", "path: ./src,", "path: ./nowhere,")
	r = w.want(t, 11, command{dir: w.dir, args: []string{"up", "--watch"}})
	wantText(t, r.stderr, "compose.yaml:10: ", "there is no ", "/nowhere")
}
