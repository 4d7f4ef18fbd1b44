package containerd

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

func TestWriteConfig(t *testing.T) {
	t.Parallel()
	dir, prefix := t.TempDir(), netip.MustParsePrefix
	path, err := WriteConfig(
		Paths{Root: "/state/containerd", State: "/run/containerd", Socket: "/state/run/containerd.sock", Bin: "/state/b in", Config: dir, Registries: "/state/registries"},
		Options{SandboxImage: "localhost/perch/pause:1", Ranges: []Range{{prefix("10.42.0.0/16"), []netip.Prefix{prefix("0.0.0.0/0")}}, {prefix("fd01::/64"), []netip.Prefix{prefix("fd02::/112")}}}, MTU: 1400, KeepOOMScore: false},
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
	for _, want := range []string{`restrict_oom_score_adj = true`, `BinaryName = "/state/b in/runc"`, `sandbox = "localhost/perch/pause:1"`, `config_path = "/state/registries:/etc/containerd/certs.d:/etc/docker/certs.d"`} {
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
			IPAM struct {
				Ranges [][]struct{ Subnet string }
				Routes []struct{ Dst string }
			}
		}
	}
	if err := json.Unmarshal(network, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Plugins) != 3 || list.Plugins[0].Type != "nodad" || list.Plugins[1].Type != "ptp" || list.Plugins[1].MTU != 1400 {
		t.Fatalf("got %s", network)
	}
	ipam := list.Plugins[1].IPAM
	if len(ipam.Ranges) != 2 || ipam.Ranges[1][0].Subnet != "fd01::/64" || len(ipam.Routes) != 2 || ipam.Routes[1].Dst != "fd02::/112" {
		t.Errorf("got %s", network)
	}
}
