package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// within runs a program beside run until it succeeds, and returns what it printed.
func within(t *testing.T, run *running, limit time.Duration, args ...string) string {
	t.Helper()
	deadline := time.After(limit)
	for {
		out, err := run.exec(t.Context(), args...)
		if err == nil {
			return out
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-run.ended:
			t.Fatalf("ended with %d:\n%s", run.code, run.output)
		case <-deadline:
			t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}

// folder is a folder of the host with one file that everybody may read.
func folder(t *testing.T, name, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if name == "" {
		return dir
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// An archive gives its image every name that files of the corpus have for it.
func TestNames(t *testing.T) {
	t.Parallel()
	file := archive(t, "redis:7")
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"redis:7", "redis:alpine", "redislabs/redismod:latest"} {
		if len(manifest) != 1 || !slices.ContainsFunc(manifest[0].RepoTags, func(tag string) bool { return strings.HasSuffix(tag, want) }) {
			t.Errorf("no %s in %v", want, manifest)
		}
	}
}

func TestNginx(t *testing.T) {
	t.Parallel()
	root := unpack(t, "nginx:1.22")
	t.Run("page", func(t *testing.T) {
		run := root.start(t, container{mounts: map[string]string{"/usr/share/nginx/html": folder(t, "index.html", "hello from nginx")}})
		if got := within(t, run, time.Minute, "curl", "-sf", "http://"+ownAddress+"/"); got != "hello from nginx" {
			t.Errorf("got %q", got)
		}
		if code := run.stop(t, syscall.SIGQUIT); code != 0 {
			t.Errorf("exit code %d", code)
		}
		// It writes the line after it has answered.
		if !strings.Contains(run.output.String(), `"GET / HTTP/1.1" 200`) {
			t.Errorf("the log has no request:\n%s", run.output)
		}
	})
	t.Run("template", func(t *testing.T) {
		const template = "server { listen ${PORT}; location / { return 200 \"$host ${NAME}\"; } }"
		run := root.start(t, container{
			env:    []string{"PORT=8080", "NAME=filled"},
			mounts: map[string]string{"/etc/nginx/templates": folder(t, "site.conf.template", template), "/etc/nginx/conf.d": folder(t, "", "")},
		})
		if got := within(t, run, time.Minute, "curl", "-sf", "http://"+ownAddress+":8080/"); got != ownAddress+" filled" {
			t.Errorf("got %q", got)
		}
	})
}

func TestRedis(t *testing.T) {
	t.Parallel()
	root, data := unpack(t, "redis:7"), folder(t, "", "")
	run := root.start(t, container{args: []string{"--appendonly", "yes"}, mounts: map[string]string{"/data": data}})
	if got := within(t, run, time.Minute, "redis-cli", "-h", ownAddress, "incr", "hits"); got != "1" {
		t.Errorf("got %q", got)
	}
	if got, err := run.exec(t.Context(), "stat", "-c", "%U", "/proc/1"); err != nil || got != "redis" {
		t.Errorf("it runs as %q, %v", got, err)
	}
}

func TestPython(t *testing.T) {
	t.Parallel()
	run := unpack(t, "python:3.11").start(t, container{args: []string{"python", "-c", "import flask, redis, psycopg2, pymysql, sqlite3, ssl; print(flask.__name__)"}})
	if code := run.wait(t); code != 0 || run.output.String() != "flask\n" {
		t.Errorf("exit code %d", code)
	}
}

// TestMariaDB holds the image to what the corpus' files rely on.
func TestMariaDB(t *testing.T) {
	t.Parallel()
	root := unpack(t, "mariadb:10.11")
	mounts := map[string]string{
		"/run/secrets": folder(t, "db-password", password+"\n"), "/var/lib/mysql": folder(t, "", ""),
		"/docker-entrypoint-initdb.d": folder(t, "1.sql", "CREATE TABLE made (id int); INSERT INTO made VALUES (7);"),
	}
	sql := func(run *running, user, query string) string {
		return within(t, run, time.Minute, "env", "MYSQL_PWD="+password, "mysql", "-h", ownAddress, "-u", user, "-N", "-e", query)
	}
	run := root.start(t, container{
		args: []string{"--default-authentication-plugin=mysql_native_password"}, mounts: mounts,
		env: []string{
			"MYSQL_DATABASE=the_example", "MYSQL_ROOT_PASSWORD_FILE=/run/secrets/db-password", "MYSQL_USER=it's", "MARIADB_PASSWORD_FILE=/run/secrets/db-password",
		},
	})
	within(t, run, time.Minute, "sh", "-c", `mysqladmin ping -h 127.0.0.1 --password="$(cat /run/secrets/db-password)" --silent`)
	if got := sql(run, "root", "SELECT id FROM the_example.made"); got != "7" {
		t.Errorf("got %q", got)
	}
	if got := sql(run, "it's", "INSERT INTO the_example.made VALUES (8); SELECT COUNT(*) FROM the_example.made"); got != "2" {
		t.Errorf("got %q", got)
	}
	if out, err := run.exec(t.Context(), "mysql", "-h", ownAddress, "-u", "root", "-pwrong", "-e", "SELECT 1"); err == nil {
		t.Errorf("a wrong password is let in: %s", out)
	}
	if out, err := run.exec(t.Context(), "healthcheck.sh", "--connect", "--innodb_initialized"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(run.output.String(), password) {
		t.Error("the log has the password")
	}
	if code := run.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	again := root.start(t, container{mounts: mounts}) // data that is there needs no password
	if got := sql(again, "root", "SELECT COUNT(*) FROM the_example.made"); got != "2" {
		t.Errorf("after a restart: %q", got)
	}
	refused := root.start(t, container{})
	if code := refused.wait(t); code != 1 || !strings.Contains(refused.output.String(), "no root password") {
		t.Errorf("without a password: exit code %d", code)
	}
}
