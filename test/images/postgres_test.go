package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPostgres holds the image to the contract of Docker's official one.
func TestPostgres(t *testing.T) {
	t.Parallel()
	root := unpack(t, "postgres:15")
	for name, test := range map[string]func(*testing.T, *pg){
		"config":               wantConfig,
		"password-alone":       passwordAlone,
		"kept-data":            keptData,
		"settings-from-files":  settingsFromFiles,
		"no-password":          noPassword,
		"value-and-file":       valueAndFile,
		"trust":                trust,
		"scripts":              scripts,
		"failing-script":       failingScript,
		"folder-below":         folderBelow,
		"options":              options,
		"another-command":      anotherCommand,
		"started-as-postgres":  startedAsPostgres,
		"odd-names":            oddNames,
		"closed-while-setting": closedWhileSettingUp,
	} {
		t.Run(name, func(t *testing.T) { // one after another: there are two cores, and the server wants one
			test(t, newPG(t, root))
		})
	}
}

const (
	data     = "/var/lib/postgresql/data"
	initdbd  = "/docker-entrypoint-initdb.d"
	password = "it's a secret"
)

// pg is a case: its own data folder, scripts and sockets, which it may start several servers on.
type pg struct {
	root   rootfs
	mounts map[string]string
}

func newPG(t *testing.T, root rootfs) *pg {
	t.Helper()
	p := &pg{root: root, mounts: map[string]string{}}
	for _, target := range []string{data, initdbd, "/run/postgresql", "/run/secrets"} {
		p.mounts[target] = t.TempDir()
		if err := os.Chmod(p.mounts[target], 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// write puts a file into a mounted folder.
func (p *pg) write(t *testing.T, target, name string, mode os.FileMode, content string) {
	t.Helper()
	file := filepath.Join(p.mounts[target], name)
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func (p *pg) start(t *testing.T, c container) *running {
	t.Helper()
	c.mounts = p.mounts
	if !strings.Contains(strings.Join(c.env, " "), "POSTGRES_INITDB_ARGS") {
		c.env = append(slices.Clone(c.env), "POSTGRES_INITDB_ARGS=--no-sync") // no test cuts the power
	}
	return p.root.start(t, c)
}

// serve starts a server with variables and returns when it answers by TCP.
func (p *pg) serve(t *testing.T, env ...string) *running {
	t.Helper()
	run := p.start(t, container{env: env})
	answers(t, run)
	return run
}

func answers(t *testing.T, run *running) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		if _, err := run.exec(t.Context(), "pg_isready", "--quiet", "--host=127.0.0.1"); err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-run.ended:
			t.Fatalf("ended with %d:\n%s", run.code, run.output)
		case <-deadline:
			t.Fatalf("no answer in a minute:\n%s", run.output)
		}
	}
}

// query asks by TCP and not from localhost, as another container would: localhost is let in without a password, here as
// in the official image.
func query(t *testing.T, run *running, user, pass, database, sql string) (string, error) {
	t.Helper()
	return run.exec(t.Context(), "PGPASSWORD="+pass, "psql", "-h", ownAddress, "-U", user, "-d", database, "-Atc", sql)
}

func want(t *testing.T, run *running, user, database, sql, answer string) {
	t.Helper()
	if got, err := query(t, run, user, password, database, sql); err != nil || got != answer {
		t.Errorf("%s: got %q, %v; want %q", sql, got, err, answer)
	}
}

// refused: it ends with 1, says why, and leaves no data behind.
func refused(t *testing.T, p *pg, why string, env ...string) {
	t.Helper()
	run := p.start(t, container{env: env})
	if code := run.wait(t); code != 1 || !strings.Contains(run.output.String(), why) {
		t.Errorf("exit code %d, want 1, and no %q in\n%s", code, why, run.output)
	}
	if files, err := os.ReadDir(p.mounts[data]); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func wantConfig(t *testing.T, p *pg) {
	got := p.root.config
	path := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin"
	wanted := got
	wanted.Env = []string{path, "LANG=C.UTF-8", "PG_MAJOR=15", "PGDATA=" + data}
	wanted.Entrypoint, wanted.Cmd = []string{"docker-entrypoint.sh"}, []string{"postgres"}
	wanted.ExposedPorts, wanted.Volumes = map[string]struct{}{"5432/tcp": {}}, map[string]struct{}{data: {}}
	wanted.StopSignal, wanted.User, wanted.WorkingDir = "SIGINT", "", ""
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}

func passwordAlone(t *testing.T, p *pg) {
	run := p.serve(t, "POSTGRES_PASSWORD="+password)
	want(t, run, "postgres", "postgres", "SELECT current_user || ' ' || current_database()", "postgres postgres")
	want(t, run, "postgres", "postgres", "SHOW server_encoding", "UTF8")
	want(t, run, "postgres", "postgres", "SELECT now() AT TIME ZONE 'Europe/Athens' IS NOT NULL", "t") // time zones are there
	if _, err := query(t, run, "postgres", "wrong", "postgres", "SELECT 1"); err == nil {
		t.Error("a wrong password is let in")
	}
	if got, err := run.exec(t.Context(), "stat", "-c", "%u %a", "/proc/1", data); err != nil || !strings.HasPrefix(got, "999 ") || !strings.HasSuffix(got, "\n999 700") {
		t.Errorf("owner and mode of the server and its data: %q, %v", got, err)
	}
	if strings.Contains(run.output.String(), password) {
		t.Error("the log has the password")
	}
	if code := run.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func keptData(t *testing.T, p *pg) {
	p.write(t, initdbd, "once.sql", 0o644, "CREATE TABLE once (id int);") // fails when it is run again
	run := p.serve(t, "POSTGRES_PASSWORD="+password)
	want(t, run, "postgres", "postgres", "INSERT INTO once VALUES (7) RETURNING id", "7\nINSERT 0 1")
	if code := run.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// Neither is a password needed for data that is there, nor does another one change it.
	for _, env := range [][]string{nil, {"POSTGRES_PASSWORD=another", "POSTGRES_DB=another"}} {
		run = p.serve(t, env...)
		if !strings.Contains(run.output.String(), "Skipping initialization") {
			t.Errorf("with %q it says nothing of the data that is there", env)
		}
		want(t, run, "postgres", "postgres", "SELECT id FROM once", "7")
		run.stop(t, syscall.SIGINT)
	}
}

func settingsFromFiles(t *testing.T, p *pg) {
	p.write(t, "/run/secrets", "user", 0o600, "app\n")
	p.write(t, "/run/secrets", "db", 0o600, "shop")
	p.write(t, "/run/secrets", "password", 0o644, password+"\n")
	p.write(t, "/run/secrets", "args", 0o644, "--data-checksums --wal-segsize='32'")
	for _, name := range []string{"user", "db"} {
		if err := os.Chown(filepath.Join(p.mounts["/run/secrets"], name), postgresID, postgresID); err != nil {
			t.Fatal(err)
		}
	}
	run := p.serve(t, "POSTGRES_USER_FILE=/run/secrets/user", "POSTGRES_DB_FILE=/run/secrets/db",
		"POSTGRES_PASSWORD_FILE=/run/secrets/password", "POSTGRES_INITDB_ARGS_FILE=/run/secrets/args")
	want(t, run, "app", "shop", "SELECT rolsuper FROM pg_roles WHERE rolname = 'app'", "t")
	want(t, run, "app", "shop", "SHOW data_checksums", "on")
	want(t, run, "app", "shop", "SHOW wal_segment_size", "32MB")
	if _, err := query(t, run, "postgres", password, "postgres", "SELECT 1"); err == nil {
		t.Error("there is a user postgres too")
	}
}

func noPassword(t *testing.T, p *pg) {
	refused(t, p, "set POSTGRES_PASSWORD to a value that is not empty", "POSTGRES_USER=app")
	refused(t, p, "set POSTGRES_PASSWORD to a value that is not empty", "POSTGRES_PASSWORD=")
}

func valueAndFile(t *testing.T, p *pg) {
	p.write(t, "/run/secrets", "password", 0o644, password)
	refused(t, p, "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set",
		"POSTGRES_PASSWORD=x", "POSTGRES_PASSWORD_FILE=/run/secrets/password")
	refused(t, p, "/run/secrets/missing", "POSTGRES_PASSWORD_FILE=/run/secrets/missing")
}

func trust(t *testing.T, p *pg) {
	run := p.serve(t, "POSTGRES_HOST_AUTH_METHOD=trust")
	if got, err := query(t, run, "postgres", "", "postgres", "SELECT 1"); err != nil || got != "1" {
		t.Errorf("got %s, %v", got, err)
	}
	if !strings.Contains(run.output.String(), "without a password") {
		t.Errorf("no warning in\n%s", run.output)
	}
}

func scripts(t *testing.T, p *pg) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte("INSERT INTO steps VALUES ('2 gz');")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p.write(t, initdbd, "1.sql", 0o644, "CREATE TABLE steps (name text); INSERT INTO steps VALUES ('1 ' || current_user || ' ' || current_database());")
	p.write(t, initdbd, "2.sql.gz", 0o644, packed.String())
	p.write(t, initdbd, "3.sh", 0o644, `docker_process_sql -c "INSERT INTO steps VALUES ('3 read')"; [ -z "$UNSET" ]; sourced=yes`)
	p.write(t, initdbd, "4.sh", 0o755, "#!/bin/bash\nset -e\n"+
		`psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -c "INSERT INTO steps VALUES ('4 run as $(id -un), read: $sourced')"`)
	p.write(t, initdbd, "5 with blanks.sql", 0o644, "INSERT INTO steps VALUES ('5 blanks');")
	p.write(t, initdbd, "6.txt", 0o644, "not SQL")
	run := p.serve(t, "POSTGRES_PASSWORD="+password, "POSTGRES_USER=app", "POSTGRES_DB=shop")
	want(t, run, "app", "shop", "SELECT name FROM steps ORDER BY name",
		"1 app shop\n2 gz\n3 read\n4 run as postgres, read: \n5 blanks")
	if !strings.Contains(run.output.String(), "ignoring "+initdbd+"/6.txt") {
		t.Errorf("nothing of 6.txt in\n%s", run.output)
	}
}

func failingScript(t *testing.T, p *pg) {
	p.write(t, initdbd, "1.sql", 0o644, "SELECT * FROM nothing;")
	run := p.start(t, container{env: []string{"POSTGRES_PASSWORD=" + password}})
	if code := run.wait(t); code == 0 || !strings.Contains(run.output.String(), `relation "nothing" does not exist`) {
		t.Errorf("exit code %d", code)
	}
}

// On Kubernetes the volume's own folder often has a lost+found in it, so PGDATA is a folder below.
func folderBelow(t *testing.T, p *pg) {
	p.write(t, data, "lost+found", 0o600, "")
	run := p.serve(t, "POSTGRES_PASSWORD="+password, "PGDATA="+data+"/pgdata")
	want(t, run, "postgres", "postgres", "SHOW data_directory", data+"/pgdata")
}

func options(t *testing.T, p *pg) {
	run := p.start(t, container{env: []string{"POSTGRES_PASSWORD=" + password}, args: []string{"-c", "max_connections=42", "-c", "cluster_name=it's mine"}})
	answers(t, run)
	want(t, run, "postgres", "postgres", "SHOW max_connections", "42")
	want(t, run, "postgres", "postgres", "SHOW cluster_name", "it's mine")
}

func anotherCommand(t *testing.T, p *pg) {
	for command, answer := range map[string]string{"id -u": "0", "postgres --version": "postgres (PostgreSQL) 15."} {
		run := p.start(t, container{args: strings.Fields(command)})
		if code := run.wait(t); code != 0 || !strings.HasPrefix(run.output.String(), answer) {
			t.Errorf("%s: exit code %d, output %s", command, code, run.output)
		}
	}
	if files, err := os.ReadDir(p.mounts[data]); err != nil || len(files) > 0 {
		t.Errorf("data: %v, %v", files, err)
	}
}

func startedAsPostgres(t *testing.T, p *pg) {
	for _, target := range []string{data, "/run/postgresql"} {
		if err := os.Chown(p.mounts[target], postgresID, postgresID); err != nil {
			t.Fatal(err)
		}
	}
	run := p.start(t, container{env: []string{"POSTGRES_PASSWORD=" + password}, user: postgresID})
	answers(t, run)
	want(t, run, "postgres", "postgres", "SELECT 1", "1")
}

func oddNames(t *testing.T, p *pg) {
	run := p.serve(t, "POSTGRES_PASSWORD="+password, "POSTGRES_USER=the-app", `POSTGRES_DB=Shop "two"; --`)
	want(t, run, "the-app", `Shop "two"; --`, "SELECT current_database()", `Shop "two"; --`)
}

// A health check by TCP must not be answered by the server that only runs the scripts.
func closedWhileSettingUp(t *testing.T, p *pg) {
	p.write(t, initdbd, "1.sh", 0o755, `#!/bin/bash
pg_isready --quiet || exit 3
! pg_isready --quiet --host=127.0.0.1 || exit 4
echo "closed to others"
`)
	run := p.serve(t, "POSTGRES_PASSWORD="+password)
	if !strings.Contains(run.output.String(), "closed to others") {
		t.Errorf("output\n%s", run.output)
	}
}
