package settings

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
)

func TestOver(t *testing.T) {
	t.Parallel()
	kept := Settings{Subnet: netip.MustParsePrefix("10.1.0.0/24"), PodCIDR: netip.MustParsePrefix("10.2.0.0/16"), DiskBudget: 5e9}
	asked := Settings{Subnet: netip.MustParsePrefix("10.9.0.7/24"), ServiceCIDR: netip.MustParsePrefix("10.3.0.0/16")}
	want := Settings{
		Subnet: netip.MustParsePrefix("10.9.0.0/24"), PodCIDR: kept.PodCIDR, ServiceCIDR: asked.ServiceCIDR, DiskBudget: 5e9,
	}
	if got := asked.Over(kept); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := (Settings{}).Over(kept); !reflect.DeepEqual(got, kept) {
		t.Errorf("got %+v", got)
	}
	kept.DNSStubs = []Stub{{Domain: "corp.example"}}
	if got := (Settings{}).Over(kept); !sameStubs(got.DNSStubs, kept.DNSStubs) {
		t.Errorf("stubs are not kept: %+v", got)
	}
	none := Settings{DNSStubs: []Stub{}}
	if got := none.Over(kept); len(got.DNSStubs) > 0 || none.Open() || !none.Differ(kept) {
		t.Errorf("stubs are not taken away: %+v", got)
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ chosen, disk, want int64 }{
		{0, 252e9, 63e9},
		{0, 2000e9, 100e9},
		{0, 30e9, 10e9},
		{0, 12e9, 6e9}, // never more than half
		{3e9, 252e9, 3e9},
	} {
		if got := (Settings{DiskBudget: c.chosen}).Budget(c.disk); got != c.want {
			t.Errorf("chosen %d, disk %d: %d, want %d", c.chosen, c.disk, got, c.want)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "settings.json")
	if got, err := Read(path); err != nil || !got.Open() {
		t.Errorf("no file: %+v, %v", got, err)
	}
	want := Settings{PodCIDR: netip.MustParsePrefix("10.2.0.0/16"), DiskBudget: 7, DNSStubs: []Stub{{"corp.example", []netip.AddrPort{netip.MustParseAddrPort("10.1.2.3:53")}}}}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}
