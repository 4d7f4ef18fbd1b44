package pin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/pin"
)

func TestSame(t *testing.T) {
	t.Parallel()
	full := pin.Cluster{UID: "u1", CA: "c1", Server: "https://a"}
	cases := map[string]struct {
		other pin.Cluster
		same  bool
	}{
		"itself":                        {full, true},
		"its certificates were renewed": {pin.Cluster{UID: "u1", CA: "c2", Server: "https://a"}, true},
		"another behind the same name":  {pin.Cluster{UID: "u2", CA: "c1", Server: "https://a"}, false},
		"seen by a lesser account":      {pin.Cluster{CA: "c1", Server: "https://b"}, true},
		"another one by a lesser":       {pin.Cluster{CA: "c2", Server: "https://a"}, false},
		"the system's certificates":     {pin.Cluster{Server: "https://a"}, false},
	}
	for name, c := range cases {
		if got := full.Same(c.other); got != c.same {
			t.Errorf("%s: %v", name, got)
		}
		if got := c.other.Same(full); got != c.same {
			t.Errorf("%s, asked the other way: %v", name, got)
		}
	}
	if a := (pin.Cluster{Server: "https://a"}); !a.Same(a) || a.Same(pin.Cluster{Server: "https://b"}) {
		t.Error("without certificates of its own the URL decides")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	name := pin.TargetName("shop", "prod")
	lesser := pin.Pin{Name: name, Cluster: pin.Cluster{CA: "c1", Server: "https://a"}}
	full := pin.Pin{Name: name, Cluster: pin.Cluster{UID: "u1", CA: "c1", Server: "https://a"}, Production: "prod"}
	other := pin.Pin{Name: name, Cluster: pin.Cluster{UID: "u2", CA: "c2", Server: "https://a"}}

	var none pin.Pins
	keep, changed, err := none.Check(lesser)
	if err != nil || !changed || keep != lesser {
		t.Errorf("first use: %v %v %v", keep, changed, err)
	}
	if keep, changed, err = none.With(lesser).Check(full); err != nil || !changed || keep != full {
		t.Errorf("seen with more rights: %v %v %v", keep, changed, err)
	}
	if keep, changed, err = none.With(full).Check(lesser); err != nil || changed || keep != full {
		t.Errorf("seen with less rights: %v %v %v", keep, changed, err)
	}
	_, _, err = none.With(full).Check(other)
	if fault.KindOf(err) != fault.WrongCluster || !strings.Contains(fault.HintOf(err), "perch target pin --target prod") {
		t.Errorf("another cluster: %v, hint %q", err, fault.HintOf(err))
	}
}

// TestProduction: a cluster that is production by one name is so by every name.
func TestProduction(t *testing.T) {
	t.Parallel()
	pins := pin.Pins{}.With(pin.Pin{Name: "target shop/prod", Cluster: pin.Cluster{UID: "u1"}, Production: "prod"}).
		With(pin.Pin{Name: "context renamed", Cluster: pin.Cluster{UID: "u1"}})
	if got := pins.Production(pin.Cluster{UID: "u1"}); got != "prod" {
		t.Errorf("%q", got)
	}
	if got := pins.Production(pin.Cluster{UID: "u2"}); got != "" {
		t.Errorf("another cluster: %q", got)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	f := pin.File{Path: filepath.Join(t.TempDir(), "perch", "clusters.json")}
	if pins, err := f.Read(); err != nil || len(pins) > 0 {
		t.Fatalf("no file: %v %v", pins, err)
	}
	const many = 20
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			if err := f.Keep(pin.Pin{Name: pin.ContextName(fmt.Sprint(i)), Cluster: pin.Cluster{UID: fmt.Sprint(i)}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	pins, err := f.Read()
	if err != nil || len(pins) != many {
		t.Fatalf("%d pins of %d that were written at once: %v", len(pins), many, err)
	}
	got, ok := pins.Find("context 7")
	if diff := cmp.Diff(pin.Pin{Name: "context 7", Cluster: pin.Cluster{UID: "7"}}, got); !ok || diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(f.Path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(); err == nil || !strings.Contains(err.Error(), f.Path) {
		t.Errorf("a torn file: %v", err)
	}
	if err := f.Keep(pin.Pin{Name: "x"}); err == nil {
		t.Error("what cannot be read was overwritten")
	}
}
