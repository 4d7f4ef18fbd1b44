package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaving is the namespace of those who leave Perch: another one than the project's.
const leaving = "leaving"

// TestLeaving takes the reference application away from Perch: as a chart, which plain helm installs, tests, upgrades and
// uninstalls, and as a kustomization for plain kubectl. Both leave nothing.
func TestLeaving(t *testing.T) {
	t.Parallel()
	u := newUser(t, "l")
	n := u.started(t)
	n.load(t, "postgres:15", "golang:1.26")
	a := newApp(t, n)
	a.perchApp(t, "build")
	n.namespace(t, leaving, nil)
	l := &leaver{app: a, out: project{user: a.user, dir: filepath.Join(a.user.dir, "out")}}
	t.Run("Chart", func(t *testing.T) { testLeavingByHelm(t, l) })
	t.Run("Kustomization", func(t *testing.T) { testLeavingByKubectl(t, l) })
}

// leaver is the application and the folder that it is exported to. That is not in the project's own: a new file there
// would be one more that goes into the image, and give it another name.
type leaver struct {
	*app
	out project
}

// plain runs kubectl or helm as their own projects ship them.
func (l *leaver) plain(t *testing.T, code int, program string, args ...string) outcome {
	t.Helper()
	flag := "--context="
	if program == "helm" {
		flag = "--kube-context="
	}
	return l.want(t, code, command{
		program: tool(t, l.root, program), dir: l.out.dir, args: append([]string{flag + l.node.context(), "-n", leaving}, args...),
	})
}

func testLeavingByHelm(t *testing.T, a *leaver) {
	a.perchApp(t, "config", "--format", "chart", "-o", filepath.Join(a.out.dir, "chart"))
	t.Run("no secret is in the chart", func(t *testing.T) { leaksNothing(t, filepath.Join(a.out.dir, "chart")) })
	a.plain(t, 0, "helm", "lint", "--strict", "chart")
	t.Run("a secret that is missing is named", func(t *testing.T) {
		r := a.plain(t, 1, "helm", "install", leaving, "chart")
		wantText(t, r.stderr, "secretEnv", "is empty: give it a value, or name a Secret that has it in")
	})
	url := "postgres://kube-native:" + password + "@postgres:5432/kube-native"
	a.out.write(t, "secrets.yaml", fmt.Sprintf("postgres: {secretEnv: {POSTGRES_PASSWORD: %q}}\nweb: {secretEnv: {DATABASE_URL: %q}}\n", password, url))
	installed := a.plain(t, 0, "helm", "install", leaving, "chart", "-f", "secrets.yaml")
	t.Run("the notes say where it answers, and how it is tested", func(t *testing.T) {
		wantText(t, installed.stdout, "web-published", "test "+leaving)
	})
	t.Run("it serves, migrated", func(t *testing.T) { a.servesAs(t, 3) })
	t.Run("what ran to migrate is gone", func(t *testing.T) { a.hooksGone(t) })
	t.Run("helm test", func(t *testing.T) {
		wantText(t, a.plain(t, 0, "helm", "test", leaving, "--logs").all(), "web:4000 answers")
	})
	t.Run("an upgrade whose migration fails changes nothing", func(t *testing.T) {
		pods := a.node.podNames(t, leaving, "web")
		wrong := strings.Replace(url, password, "wrong", 1)
		r := a.plain(t, 1, "helm", "upgrade", leaving, "chart", "-f", "secrets.yaml", "--set", "web.secretEnv.DATABASE_URL="+wrong)
		wantText(t, r.stderr, "pre-upgrade")
		if diff := cmp.Diff(pods, a.node.podNames(t, leaving, "web")); diff != "" {
			t.Errorf("pods changed, -before +after:\n%s", diff)
		}
		if len(a.node.jobNames(t, leaving)) != 1 {
			t.Error("the Job is not there to be looked at")
		}
	})
	t.Run("helm upgrade to two replicas, and another setting", func(t *testing.T) {
		a.plain(t, 0, "helm", "upgrade", leaving, "chart", "-f", "secrets.yaml", "--set", "web.replicas=2", "--set", "web.env.LOG_LEVEL=debug")
		a.servesAs(t, 2)
		a.hooksGone(t)
	})
	a.plain(t, 0, "helm", "uninstall", leaving, "--wait")
	t.Run("nothing is left", func(t *testing.T) { a.nothingLeft(t) })
}

func testLeavingByKubectl(t *testing.T, a *leaver) {
	a.perchApp(t, "config", "--format", "kustomize", "-o", filepath.Join(a.out.dir, "kustomize"))
	t.Run("no secret is in it", func(t *testing.T) { leaksNothing(t, filepath.Join(a.out.dir, "kustomize")) })
	t.Run("a secret that is missing is named", func(t *testing.T) {
		wantText(t, a.plain(t, 1, "kubectl", "kustomize", "kustomize/base").stderr, "secrets/")
	})
	a.out.write(t, "kustomize/base/secrets/postgres-secret-env.env", "POSTGRES_PASSWORD="+password+"\n")
	a.out.write(t, "kustomize/base/secrets/web-secret-env.env", "DATABASE_URL=postgres://kube-native:"+password+"@postgres:5432/kube-native\n")
	a.plain(t, 0, "kubectl", "apply", "-k", "kustomize/base")
	t.Run("it serves, migrated", func(t *testing.T) { a.servesAs(t, 3) })
	t.Run("applied again it changes nothing", func(t *testing.T) {
		shape := a.node.shape(t, leaving)
		a.plain(t, 0, "kubectl", "apply", "-k", "kustomize/base")
		if diff := cmp.Diff(shape, a.node.shape(t, leaving)); diff != "" {
			t.Errorf("-before +after:\n%s", diff)
		}
	})
	a.plain(t, 0, "kubectl", "delete", "-k", "kustomize/base")
	t.Run("nothing is left", func(t *testing.T) { a.nothingLeft(t) })
}

// servesAs waits until so many replicas are ready, the page comes and the table is there.
func (l *leaver) servesAs(t *testing.T, replicas int32) {
	t.Helper()
	eventually(t, 2*time.Minute, "all replicas are ready", func(ctx context.Context) error {
		d, err := l.node.api.AppsV1().Deployments(leaving).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if *d.Spec.Replicas != replicas {
			return fmt.Errorf("%d replicas are wanted", *d.Spec.Replicas)
		}
		return allReady(d)
	})
	eventually(t, time.Minute, "the page comes, of a migrated database", func(ctx context.Context) error {
		body, err := fetch(ctx, l.url())
		if err != nil {
			return err
		}
		if readPage(body).pod == "" {
			return fmt.Errorf("no page: %s", essence(body))
		}
		return nil
	})
	r := l.plain(t, 0, "kubectl", "exec", "statefulset/postgres", "--", "psql", "-U", "kube-native", "-tAc", "select count(*) from greetings")
	if strings.TrimSpace(r.stdout) != "0" {
		t.Errorf("the table has %q rows", r.stdout)
	}
}

// hooksGone wants no Job, and no config that a Job had for itself.
func (l *leaver) hooksGone(t *testing.T) {
	t.Helper()
	for _, line := range l.node.shape(t, leaving) {
		if strings.HasPrefix(line, "job/") || strings.Contains(line, "-hook ") {
			t.Errorf("%s is left", line)
		}
	}
}

// nothingLeft looks for objects of every kind in the namespace.
func (l *leaver) nothingLeft(t *testing.T) {
	t.Helper()
	kinds := strings.Fields(l.plain(t, 0, "kubectl", "api-resources", "--namespaced", "--verbs=list", "-o", "name").stdout)
	eventually(t, time.Minute, "the namespace is empty", func(context.Context) error {
		var left []string
		for line := range strings.Lines(l.plain(t, 0, "kubectl", "get", strings.Join(kinds, ","), "-o", "name").stdout) {
			switch line = strings.TrimSpace(line); {
			case line == "configmap/kube-root-ca.crt", line == "serviceaccount/default", strings.HasPrefix(line, "event"):
			default:
				left = append(left, line)
			}
		}
		if len(left) > 0 {
			return errors.New(strings.Join(left, ", "))
		}
		return nil
	})
}

// leaksNothing reads every file of a folder.
func leaksNothing(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if err == nil && leaks(string(data)) {
			t.Errorf("the password is in %s", path)
		}
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files: %v", files, err)
	}
}
