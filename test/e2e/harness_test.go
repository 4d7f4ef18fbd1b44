package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The helpers that prove an absence must be able to find a presence.

func TestLeft(t *testing.T) {
	t.Parallel()
	before := host{
		mounts: []string{"/", "/proc"}, links: []string{"lo", "eth0"}, tables: []string{"table ip filter"}, forwarding: "0",
	}
	after := host{
		mounts:     []string{"/", "/proc", "/var/tmp/perch-e2e-1/state/e2e/run"},
		links:      []string{"lo", "eth0", "perch-e2e", "perch-other", "veth1"},
		tables:     []string{"table ip filter", "table ip perch-e2e", "table ip perch-other"},
		groups:     []string{"/sys/fs/cgroup/perch/e2e"},
		processes:  []string{"12 perch node supervisor e2e /var/tmp/perch-e2e-1/state/e2e"},
		forwarding: "1",
	}
	want := []string{
		"mount /var/tmp/perch-e2e-1/state/e2e/run",
		"interface perch-e2e",
		"interface veth1",
		"nft table ip perch-e2e",
		"control group /sys/fs/cgroup/perch/e2e",
		"process 12 perch node supervisor e2e /var/tmp/perch-e2e-1/state/e2e",
		"ip_forward 1, was 0",
	}
	if diff := cmp.Diff(want, after.left(before, "e2e")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := before.left(before, "e2e"); len(got) > 0 {
		t.Errorf("nothing was left, and found was %v", got)
	}
}

func TestLeaks(t *testing.T) {
	t.Parallel()
	base := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for text, want := range map[string]bool{
		"postgres://user:" + password + "@postgres": true,
		base(password): true,
		`{"a":"` + base("x:"+password+"@postgres") + `"}`:  true,
		`{"a":"` + base("xy:"+password+"@postgres") + `"}`: true,
		base("xyz:" + password + "@p"):                     true,
		"the password":                                     false,
		base("another password"):                           false,
	} {
		if got := leaks(text); got != want {
			t.Errorf("%q leaks: %t", text, got)
		}
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Start returns as the program is being loaded: its arguments are there a moment later.
	var sleep hostProcess
	eventually(t, 10*time.Second, "the process is seen", func(context.Context) error {
		for _, p := range processes() {
			if p.pid == pidOf(cmd.Process) && p.args[0] == "sleep" {
				sleep = p
				return nil
			}
		}
		return errors.New("it is not")
	})
	if !sleep.alive() {
		t.Error("the process runs and is called dead")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if sleep.alive() {
		t.Error("the process has ended and is called alive")
	}
}

func pidOf(p *os.Process) string { return strconv.Itoa(p.Pid) }

func TestReadPage(t *testing.T) {
	t.Parallel()
	got := readPage(`<h1>kube-native</h1>
<p class="quiet">One &amp; all.</p>
<tr><th>Version</th><td><code id="version">1a2b</code></td></tr>
<tr><th>Pod</th><td><code id="pod">web-1</code></td></tr>
<tr><th>Sisters</th><td id="peers"><code class="self">10.42.0.4</code> <code>10.42.0.5</code> </td></tr>
<table id="greetings">
<tr><th>English</th><td>Hello, Kubernetes</td></tr>
</table>`)
	want := page{
		pod: "web-1", version: "1a2b", tagline: "One & all.",
		greetings: map[string]string{"English": "Hello, Kubernetes"}, peers: []string{"10.42.0.4", "10.42.0.5"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(page{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
