package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary be perch when it is called so: scripts run the real command, in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"perch": main})
}

// TestScripts runs the commands that need no cluster: arguments in; stdout, stderr, exit code and files out.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("KUBECONFIG", filepath.Join(env.WorkDir, "no-kubeconfig"))
			env.Setenv("PERCH_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":   code,
			"nobody": nobody,
		},
	})
}

// code is the script command `code N ARG...`: perch ARG... must end with the exit code N. Its output is compared with
// stdout and stderr, as that of exec.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N ARG...")
	}
	err := ts.Exec("perch", args[1:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Exec gives it bare
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("perch: %v", err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// nobody is the script command `nobody N ARG...`: perch ARG..., not as root, must end with the exit code N. Its stderr
// is written to the file nobody.err.
func nobody(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: nobody N ARG...")
	}
	dir, err := os.MkdirTemp("", "perch-nobody-")
	ts.Check(err)
	defer func() { ts.Check(os.RemoveAll(dir)) }()
	ts.Check(os.Chmod(dir, 0o755)) //nolint:gosec // nobody must reach the program
	self, err := os.Executable()
	ts.Check(err)
	program := filepath.Join(dir, "perch")
	ts.Check(os.Link(self, program))

	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "PERCH_STATE_DIR=" + filepath.Join(dir, "state")}
	if os.Geteuid() == 0 {
		const id = 65534 // nobody, nogroup
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err = cmd.Run()
	if cmd.ProcessState == nil || fmt.Sprint(cmd.ProcessState.ExitCode()) != args[0] {
		ts.Fatalf("%v, want exit code %s\n%s", err, args[0], stderr.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("nobody.err"), []byte(stderr.String()), 0o600))
}
