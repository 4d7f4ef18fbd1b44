package e2e

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

const (
	fewCycles   = 4  // where nobody says how many: enough to see what stays behind each time
	cycleOfLife = 10 // starts of one cluster, until it is deleted and another made
	manyCycles  = 50 // from so many on, growth is told from what a machine does by itself
)

// What the machine may have more after a cycle than before it, in the mean of many.
const (
	kernelGrowth = 40 << 10 // bytes of the kernel's memory that it cannot take back
	groupGrowth  = 1        // control groups, those among them that nobody sees any more
)

// TestCycles starts and stops a cluster with an app again and again, deletes it now and then, and wants nothing to pile up:
// files, mounts, interfaces, rules, sockets, control groups, processes, memory. PERCH_E2E_CYCLES is how often; `make cycles
// N=1000` runs it alone.
func TestCycles(t *testing.T) {
	s := newSpace(t)
	u := newUser(t, "y")
	u.in = s
	cycles, err := strconv.Atoi(cmp.Or(os.Getenv("PERCH_E2E_CYCLES"), strconv.Itoa(fewCycles)))
	if err != nil || cycles < 1 {
		t.Fatalf("PERCH_E2E_CYCLES: not a number of cycles: %v", err)
	}
	before := s.traces(t, u)
	p := u.project(t, "app", map[string]string{"compose.yaml": `services:
  web:
    image: busybox:1.36
    command: sh -c "echo here > /data/index.html && httpd -h /data; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    ports: ["18080:80"]
    volumes: ["data:/data"]
    stop_grace_period: 1s
volumes: {data: {}}
`})
	var early stock // of the machine, when the first life has ended: by then caches are warm
	var young map[string]int
	for i := range cycles {
		u.perch(t, "", "cluster", "start")
		if i%cycleOfLife == 0 {
			u.load(t, "busybox:1.36")
			p.up(t)
		}
		eventually(t, 60*time.Second, "the app answers", func(ctx context.Context) error {
			_, err := s.fetch(ctx, "http://127.0.0.1:18080/")
			return err
		})
		last := i+1 == cycles
		u.perch(t, "", "cluster", "stop")
		s.leavesNoTrace(t, u, before)
		files := census(t, u.folder())
		if i%cycleOfLife == 1 { // the second stop, when all that is there once is there
			young = files
		}
		if life := i%cycleOfLife - 1; life > 0 && ((i+1)%cycleOfLife == 0 || last) {
			wantNoGrowth(t, young, files, life)
		}
		if (i+1)%cycleOfLife == 0 || last {
			u.perch(t, "", "cluster", "delete", "--yes")
			s.leavesNoTrace(t, u, before)
			u.leavesNoFiles(t)
			now := takeStock(t)
			t.Logf("after %d cycles: %s", i+1, now)
			if i < cycleOfLife {
				early = now
			}
		}
		if t.Failed() {
			t.Fatalf("that was cycle %d", i+1)
		}
	}
	if cycles >= manyCycles {
		takeStock(t).wantNoGrowth(t, early, cycles-cycleOfLife)
	}
}

// traces are all that a stopped cluster could have left in the space and on this machine, but for its own folder.
type traces struct {
	surroundings
	rules, sockets, groups, processes []string
}

func (s *space) traces(t *testing.T, u *user) traces {
	t.Helper()
	h := u.mustLook(t)
	return traces{
		surroundings: s.surroundings(t, u), groups: h.groups, processes: h.processes, sockets: s.sockets(t),
		rules: strings.Split(s.shell(t, "nft list ruleset"), "\n"),
	}
}

// sockets are those of the space that have a name or listen.
func (s *space) sockets(t *testing.T) []string {
	t.Helper()
	var all []string
	err := s.Do(func() error {
		for _, table := range []string{"unix", "tcp", "tcp6", "udp", "udp6"} {
			data, err := os.ReadFile("/proc/thread-self/net/" + table)
			if os.IsNotExist(err) {
				continue // no IPv6
			}
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(data)) {
				f := strings.Fields(line)
				switch {
				case table == "unix" && len(f) > 7 && f[0] != "Num":
					all = append(all, "unix "+f[7])
				case strings.HasPrefix(table, "tcp") && len(f) > 3 && f[3] == "0A", strings.HasPrefix(table, "udp") && len(f) > 3 && f[0] != "sl":
					all = append(all, table+" "+f[1])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// leavesNoTrace waits a moment for the kernel, and wants everything to be as before.
func (s *space) leavesNoTrace(t *testing.T, u *user, before traces) {
	t.Helper()
	eventually(t, 10*time.Second, "nothing is left", func(context.Context) error {
		now := s.traces(t, u)
		more := now.since(before.surroundings, u.cluster)
		for _, kind := range []struct{ before, now []string }{
			{before.rules, now.rules}, {before.sockets, now.sockets}, {before.groups, now.groups}, {before.processes, now.processes},
		} {
			if diff := gocmp.Diff(kind.before, kind.now); diff != "" {
				more = append(more, diff)
			}
		}
		if len(more) > 0 {
			return fmt.Errorf("left is:\n  %s", strings.Join(more, "\n  "))
		}
		return nil
	})
}

// census counts the files below a folder by the first three folders of their path.
func census(t *testing.T, root string) map[string]int {
	t.Helper()
	count := map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		dir := strings.Split(strings.TrimPrefix(filepath.Dir(path), root), "/")
		count[strings.Join(dir[:min(len(dir), 4)], "/")]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// wantNoGrowth wants no folder to have got a file in each of the cycles between. What is rotated, or written now and then,
// has its own bounds.
func wantNoGrowth(t *testing.T, before, now map[string]int, cycles int) {
	t.Helper()
	for _, dir := range slices.Sorted(maps.Keys(now)) {
		if more := now[dir] - before[dir]; more > 2 && more >= cycles {
			t.Errorf("%s had %d files, and has %d after %d cycles more", dir, before[dir], now[dir], cycles)
		}
	}
}

// stock is what the machine as a whole has in use, whoever uses it.
type stock struct {
	kernel int            // bytes of the kernel's own memory that it cannot take back
	groups map[string]int // control groups by controller, those among them that are removed and still counted
	files  int            // open ones
}

func (s stock) String() string {
	return fmt.Sprintf("kernel memory %d kB, control groups %v, open files %d", s.kernel>>10, s.groups, s.files)
}

func takeStock(t *testing.T) stock {
	t.Helper()
	read := func(path string) []string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s := stock{groups: map[string]int{}}
	for _, line := range read("/proc/meminfo") {
		if f := strings.Fields(line); f[0] == "SUnreclaim:" || f[0] == "KernelStack:" || f[0] == "PageTables:" || f[0] == "Percpu:" {
			s.kernel += number(f[1]) << 10
		}
	}
	for _, line := range read("/proc/cgroups") {
		if f := strings.Fields(line); f[0] == "memory" || f[0] == "pids" || f[0] == "cpu" {
			s.groups[f[0]] = number(f[2])
		}
	}
	s.files = number(strings.Fields(read("/proc/sys/fs/file-nr")[0])[0])
	return s
}

// wantNoGrowth wants the machine to have no more in use than it had so many cycles before.
func (s stock) wantNoGrowth(t *testing.T, before stock, cycles int) {
	t.Helper()
	if grown := (s.kernel - before.kernel) / cycles; grown > kernelGrowth {
		t.Errorf("the kernel's memory has grown by %d bytes a cycle", grown)
	}
	for name, groups := range s.groups {
		if grown := (groups - before.groups[name]) / cycles; grown > groupGrowth {
			t.Errorf("there are %d control groups (%s) more with each cycle", grown, name)
		}
	}
}
