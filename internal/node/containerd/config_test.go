package containerd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

func TestWriteConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, err := WriteConfig(
		Paths{Root: "/state/containerd", State: "/run/containerd", Socket: "/state/run/containerd.sock", Bin: "/state/b in", Config: dir},
		Options{SandboxImage: "localhost/perch/pause:1", PodCIDR: "10.42.0.0/16", MTU: 1400, KeepOOMScore: false},
	)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := toml.Unmarshal(data, &config); err != nil {
		t.Fatalf("%v in:\n%s", err, data)
	}
	for _, want := range []string{`restrict_oom_score_adj = true`, `BinaryName = "/state/b in/runc"`, `sandbox = "localhost/perch/pause:1"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in:\n%s", want, data)
		}
	}
	network, err := os.ReadFile(filepath.Join(dir, "cni", "10-perch.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Plugins []struct {
			Type string
			MTU  int
		}
	}
	if err := json.Unmarshal(network, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Plugins) != 2 || list.Plugins[0].Type != "ptp" || list.Plugins[0].MTU != 1400 {
		t.Errorf("got %s", network)
	}
}
