package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const byHandPage = "docs/by-hand.md"

// TestByHand does what docs/by-hand.md says, command by command as printed, in one bash session: first with the kubectl
// and helm of Perch, then, as the page tells those who have them, with the plain ones.
func TestByHand(t *testing.T) {
	u := newUser(t, "h")
	text, err := os.ReadFile(filepath.Join(u.root, byHandPage))
	if err != nil {
		t.Fatal(err)
	}
	road := readRoad(string(text))
	road.load = loadCommand(archives(t, u.root, road.images...))
	awaitPorts(t, "8879", "5433")
	first := t.Run("Perch", func(t *testing.T) {
		walk(t, u, "perch", road, []string{u.linkTo(t, "perch", u.program)})
	})
	if !first {
		return // the second walk would stumble over what the first one left
	}
	t.Run("Plain", func(t *testing.T) {
		kubectl := filepath.Dir(tool(t, u.root, "kubectl"))
		tool(t, u.root, "helm")
		walk(t, u, "plain", road.withoutPerch(), []string{u.linkTo(t, "perch", u.program), kubectl})
	})
}

// linkTo makes a folder for the PATH with a program in it, and returns the folder.
func (u *user) linkTo(t *testing.T, name, program string) string {
	t.Helper()
	dir := filepath.Join(u.dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return dir
}

func loadCommand(archives []string) string {
	commands := make([]string, 0, len(archives))
	for _, archive := range archives {
		commands = append(commands, "perch image load "+archive)
	}
	return strings.Join(commands, "; ")
}

// awaitPorts waits until nobody has the ports that the page names: other tests of this kind may run on the machine.
func awaitPorts(t *testing.T, ports ...string) {
	t.Helper()
	eventually(t, 3*time.Minute, "the ports of "+byHandPage+" are free", func(ctx context.Context) error {
		for _, port := range ports {
			var config net.ListenConfig
			l, err := config.Listen(ctx, "tcp", "127.0.0.1:"+port)
			if err != nil {
				return err
			}
			_ = l.Close()
		}
		return nil
	})
}

// prologue makes bash say where it stopped, and leave nothing running. The page's own lines keep their numbers.
const prologue = `set -Eeuo pipefail
PS4='+ ` + byHandPage + `:$LINENO, ${SECONDS} s: '
trap 'failed=$?; set +x; echo "` + byHandPage + `:$LINENO: exit code $failed: $BASH_COMMAND" >&2' ERR
trap 'jobs -p | xargs --no-run-if-empty kill 2>/dev/null || :' EXIT
set -x
source "$1"
`

// walk does the page in a home of its own and a fresh copy of the example, and looks at what is left.
func walk(t *testing.T, u *user, name string, r road, path []string) {
	p := u.copyOf(t, name, "examples/kube-native")
	p.commit(t, "the application")
	home := filepath.Join(u.dir, "home-"+name)
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(u.temp, name+".sh")
	missing := func(program string) bool {
		_, err := exec.LookPath(program)
		if err != nil && os.Getenv("CI") != "" {
			t.Fatalf("%s needs %s: on Debian, apt-get install postgresql-client", byHandPage, program)
		}
		if err != nil {
			t.Logf("there is no %s: what needs it is left out", program)
		}
		return err != nil
	}
	if err := os.WriteFile(script, []byte(r.script(missing)), 0o644); err != nil {
		t.Fatal(err)
	}
	result := u.exec(t.Context(), command{
		program: "bash", args: []string{"-c", prologue, "bash", script}, dir: p.dir,
		env: []string{"HOME=" + home, "KUBECONFIG=", "PATH=" + strings.Join(append(path, os.Getenv("PATH")), ":")},
	})
	if result.code != 0 {
		t.Fatalf("%s\n--- the script said:\n%s%s", firstLine(result.stderr, byHandPage+":"), result.stdout, result.stderr)
	}
	t.Logf("%s took %s", name, result.took.Round(time.Second))
	t.Run("nothing is left", func(t *testing.T) {
		if left := p.git(t, "status", "--porcelain"); left != "" {
			t.Errorf("files are left:\n%s", left)
		}
		own := *u
		own.kubeconfig = filepath.Join(home, ".kube", "by-hand")
		n := own.connect(t)
		if n.namespaceExists(t, "by-hand") {
			t.Errorf("the namespace is left with %v", n.shape(t, "by-hand"))
		}
		for _, line := range n.shape(t, "default") { // where everything goes when a command forgot the namespace
			if !strings.HasPrefix(line, "service/kubernetes ") && !strings.HasPrefix(line, "configmap/kube-root-ca.crt ") {
				t.Errorf("in the namespace default there is %s", line)
			}
		}
	})
}

// firstLine is the first line that begins so.
func firstLine(text, prefix string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line)
		}
	}
	return "it stopped without a word"
}

// road is the shell blocks of a page. Line n of it is line n of the page, or empty where the page has no command.
type road struct {
	lines  []string
	needs  map[int]string // by the first line of a block: the program without which it is left out
	images []string       // that a registry would give
	at     int            // the line where a test without a registry loads them
	load   string         // the command for that
}

var (
	needsPattern  = regexp.MustCompile(`^<!-- needs: (\S+) -->$`)
	imagesPattern = regexp.MustCompile(`^<!-- images: (.+) -->$`)
	ownTools      = regexp.MustCompile(`\bperch (kubectl|helm)\b`)
)

func readRoad(page string) road {
	r := road{needs: map[int]string{}}
	inside, needs := false, ""
	for i, line := range strings.Split(page, "\n") {
		command := ""
		switch {
		case inside && line == "```":
			inside = false
		case inside:
			command = line
		case line == "```sh":
			inside = true
			if needs != "" {
				r.needs[i+1] = needs
			}
		}
		if m := imagesPattern.FindStringSubmatch(line); m != nil {
			r.images, r.at = strings.Fields(m[1]), i
		}
		needs = ""
		if m := needsPattern.FindStringSubmatch(line); m != nil {
			needs = m[1]
		}
		r.lines = append(r.lines, command)
	}
	return r
}

// withoutPerch is the road of somebody who has kubectl and helm.
func (r road) withoutPerch() road {
	lines := make([]string, 0, len(r.lines))
	for _, line := range r.lines {
		lines = append(lines, ownTools.ReplaceAllString(line, "$1"))
	}
	r.lines = lines
	return r
}

// script is what bash runs. Blocks that need a missing program are left out.
func (r road) script(missing func(program string) bool) string {
	lines, out := make([]string, len(r.lines)), false
	for i, line := range r.lines {
		if program := r.needs[i]; program != "" {
			out = missing(program)
		}
		out = out && line != ""
		if !out {
			lines[i] = line
		}
	}
	if r.load != "" {
		lines[r.at] = r.load
	}
	return strings.Join(lines, "\n")
}

func TestReadRoad(t *testing.T) {
	t.Parallel()
	r := readRoad("# Page\n```sh\nperch kubectl get x\nperch up # perch helm\n```\n<!-- images: a:1 b:2 -->\n```\nshown\n```\n<!-- needs: psql -->\n```sh\npsql\npsql again\n```\n```sh\nlast\n```\n")
	r.load = "load " + fmt.Sprint(r.images)
	got := map[string]string{
		"all":   r.withoutPerch().script(func(string) bool { return false }),
		"fewer": r.script(func(program string) bool { return program == "psql" }),
	}
	want := map[string]string{
		"all":   "\n\nkubectl get x\nperch up # helm\n\nload [a:1 b:2]\n\n\n\n\n\npsql\npsql again\n\n\nlast\n\n",
		"fewer": "\n\nperch kubectl get x\nperch up # perch helm\n\nload [a:1 b:2]\n\n\n\n\n\n\n\n\n\nlast\n\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
