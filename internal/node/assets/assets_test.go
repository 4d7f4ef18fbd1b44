package assets

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"github.com/perch-k8s/perch/internal/fault"
)

// carried is a set of programs like the embedded one, each a line of text.
func carried(t *testing.T, version string) fstest.MapFS {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var sums strings.Builder
	fmt.Fprintf(&sums, "# %s\n", version)
	from := fstest.MapFS{}
	for _, name := range Names() {
		program := []byte(name + " " + version)
		from[folder+"/"+name+".zst"] = &fstest.MapFile{Data: encoder.EncodeAll(program, nil)}
		fmt.Fprintf(&sums, "%s  %s\n", sumOf(program), name)
	}
	from[sumsFile] = &fstest.MapFile{Data: []byte(sums.String())}
	return from
}

func modTimes(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	times := map[string]int64{}
	for _, name := range Names() {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		times[name] = info.ModTime().UnixNano()
	}
	return times
}

func TestExtractWritesPrograms(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "bin")
	if err := extract(carried(t, "v1"), dir, []byte("boot")); err != nil {
		t.Fatal(err)
	}
	want := append([]string{stampFile}, Names()...)
	var got []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files in the directory (-want +got):\n%s", diff)
	}
	for _, name := range Names() {
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		if err != nil || string(content) != name+" v1" {
			t.Errorf("%s holds %q, %v", name, content, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestExtractAgainTouchesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from := carried(t, "v1")
	if err := extract(from, dir, []byte("boot")); err != nil {
		t.Fatal(err)
	}
	before := modTimes(t, dir)
	for name := range from {
		if name != sumsFile {
			delete(from, name) // a second run that decompressed anything would fail
		}
	}
	if err := extract(from, dir, []byte("boot")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, modTimes(t, dir)); diff != "" {
		t.Errorf("times changed (-before +after):\n%s", diff)
	}
}

func TestExtractMendsOnlyWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := map[string]func(path string) error{
		"removed":        os.Remove,
		"not executable": func(path string) error { return os.Chmod(path, 0o644) },
		"changed, without stamp": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("half"), 0o755), os.Remove(filepath.Join(filepath.Dir(path), stampFile)))
		},
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := extract(carried(t, "v1"), dir, []byte("boot")); err != nil {
				t.Fatal(err)
			}
			before := modTimes(t, dir)
			path := filepath.Join(dir, "loopback")
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			if err := extract(carried(t, "v1"), dir, []byte("boot")); err != nil {
				t.Fatal(err)
			}
			if content, err := os.ReadFile(path); err != nil || string(content) != "loopback v1" {
				t.Errorf("loopback holds %q, %v", content, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o755 {
				t.Errorf("loopback has mode %v, %v", info.Mode(), err)
			}
			after := modTimes(t, dir)
			delete(before, "loopback")
			delete(after, "loopback")
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("other programs were written (-before +after):\n%s", diff)
			}
		})
	}
}

func TestExtractNewVersionReplaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		if err := extract(carried(t, version), dir, []byte("boot")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range Names() {
		if content, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(content) != name+" v2" {
			t.Errorf("%s holds %q, %v", name, content, err)
		}
	}
}

func TestExtractSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	corrupt := carried(t, "v1")
	corrupt[folder+"/runc.zst"] = carried(t, "v2")[folder+"/runc.zst"]
	without := carried(t, "v1")
	delete(without, folder+"/runc.zst")
	tests := map[string]struct {
		from       fs.FS
		text, hint string
	}{
		"nothing built": {fstest.MapFS{}, "built without its programs", "make build"},
		"one missing":   {without, "built without its programs: runc", "make build"},
		"wrong content": {corrupt, "program runc of the node: content has sum", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			err := extract(test.from, dir, []byte("boot"))
			if err == nil || !strings.Contains(err.Error(), test.text) || !strings.Contains(fault.HintOf(err), test.hint) {
				t.Errorf("error %v with hint %q, want %q with hint %q", err, fault.HintOf(err), test.text, test.hint)
			}
			if _, err := os.Stat(filepath.Join(dir, stampFile)); err == nil {
				t.Error("a stamp was written")
			}
		})
	}
}

func TestPauseArchive(t *testing.T) {
	t.Parallel()
	archive, err := pauseArchive(carried(t, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := pauseArchive(carried(t, "v1"))
	if err != nil || !bytes.Equal(archive, again) {
		t.Errorf("the second archive differs, %v", err)
	}
	content := untar(t, archive)
	var index v1.IndexManifest
	unmarshal(t, content["index.json"], &index)
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != PauseRef {
		t.Errorf("the archive names its image %q", got)
	}
	var manifest v1.Manifest
	unmarshal(t, content["blobs/sha256/"+index.Manifests[0].Digest.Hex], &manifest)
	var config v1.ConfigFile
	unmarshal(t, content["blobs/sha256/"+manifest.Config.Digest.Hex], &config)
	if diff := cmp.Diff([]string{"/pause"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entry point (-want +got):\n%s", diff)
	}
	if got, want := config.RootFS.DiffIDs[0], manifest.Layers[0].Digest; got != want {
		t.Errorf("the layer is %v, the configuration says %v", want, got)
	}
	layer := untar(t, content["blobs/sha256/"+manifest.Layers[0].Digest.Hex])
	if diff := cmp.Diff(map[string][]byte{"pause": []byte("pause v1")}, layer); diff != "" {
		t.Errorf("files of the image (-want +got):\n%s", diff)
	}
}

func untar(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	content := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return content
		}
		if err != nil {
			t.Fatal(err)
		}
		if content[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func unmarshal(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v in %q", err, data)
	}
}

// extracted are the real programs, where make assets ran.
func extracted(t *testing.T) string {
	t.Helper()
	if _, err := fs.Stat(files, sumsFile); err != nil {
		t.Skip("the programs are not built: run make assets")
	}
	dir := t.TempDir()
	if err := Extract(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCarriedProgramsRun(t *testing.T) {
	t.Parallel()
	dir := extracted(t)
	tests := map[string]struct {
		args []string
		want string
	}{
		"runc":                    {[]string{"--version"}, "libseccomp: "},
		"containerd-shim-runc-v2": {[]string{"-v"}, "Version:  v2."},
		"ptp":                     {nil, "CNI ptp plugin v1."},
		"host-local":              {nil, "CNI host-local plugin v1."},
		"loopback":                {nil, "CNI loopback plugin v1."},
		"portmap":                 {nil, "CNI portmap plugin v1."},
		"nodad":                   {nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), filepath.Join(dir, name), test.args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), test.want) {
				t.Errorf("printed %q, %v; want %q", out, err, test.want)
			}
		})
	}
}

// In a network namespace of its own nodad switches the detection off for interfaces to come.
func TestNodad(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("it needs root")
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip(err)
	}
	nodad := filepath.Join(extracted(t), "nodad")
	pod := exec.CommandContext(t.Context(), "sleep", "60")
	pod.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := pod.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = pod.Process.Kill(); _ = pod.Wait() }()
	space := fmt.Sprintf("/proc/%d/ns/net", pod.Process.Pid)
	run := func(environ ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), nodad)
		cmd.Env = environ
		out, err := cmd.Output()
		return string(out), err
	}
	out, err := run("CNI_COMMAND=ADD", "CNI_NETNS="+space)
	var result struct {
		CNIVersion string
		IPs        []string
	}
	unmarshal(t, []byte(out), &result)
	if err != nil || result.CNIVersion != "1.0.0" || len(result.IPs) != 0 {
		t.Errorf("%q, %v", out, err)
	}
	got, err := exec.CommandContext(t.Context(), "nsenter", "--net="+space, "cat", "/proc/sys/net/ipv6/conf/default/accept_dad").Output()
	if err != nil || string(got) != "0\n" {
		t.Errorf("accept_dad %q, %v", got, err)
	}
	if out, err := run("CNI_COMMAND=ADD", "CNI_NETNS=/nowhere"); err == nil || !strings.Contains(out, "No such file") {
		t.Errorf("%q, %v", out, err)
	}
	for _, command := range []string{"DEL", "CHECK", "STATUS", "GC"} {
		if out, err := run("CNI_COMMAND=" + command); err != nil || out != "" {
			t.Errorf("%s: %q, %v", command, out, err)
		}
	}
}

func TestPauseEndsWhenAsked(t *testing.T) {
	t.Parallel()
	dir := extracted(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			pause := exec.CommandContext(t.Context(), filepath.Join(dir, "pause"))
			if err := pause.Start(); err != nil {
				t.Fatal(err)
			}
			waiting(t, pause.Process.Pid)
			// SIGCHLD first: it must not end it.
			if err := errors.Join(pause.Process.Signal(syscall.SIGCHLD), pause.Process.Signal(signal)); err != nil {
				t.Fatal(err)
			}
			if err := pause.Wait(); err != nil {
				t.Errorf("ended with %v, want exit code 0", err)
			}
		})
	}
}

// waiting returns when the process sleeps in sigwait: before that a signal's default would end it.
func waiting(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(status), "Name:\tpause\n") && strings.Contains(string(status), "State:\tS") {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("pause never came to wait")
		}
	}
}
