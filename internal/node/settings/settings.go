// Package settings is what a user chose for a cluster when it was started, and is kept for its next starts in one file of
// the cluster's folder. It decides nothing about a machine.
package settings

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/perch-k8s/perch/internal/node/files"
)

// Settings are the choices. The zero value of each leaves it to the node.
type Settings struct {
	Subnet      netip.Prefix `json:"subnet,omitzero"`      // of the cable between host and sandbox
	PodCIDR     netip.Prefix `json:"podCIDR,omitzero"`     // cannot be changed once the cluster is there
	ServiceCIDR netip.Prefix `json:"serviceCIDR,omitzero"` // cannot be changed once the cluster is there
	DiskBudget  int64        `json:"diskBudget,omitempty"` // bytes for images and the build cache
	DNSStubs    []Stub       `json:"dnsStubs,omitempty"`   // nil leaves them as they are; an empty list is none
}

// Open tells whether everything is left to the node.
func (s Settings) Open() bool {
	return !s.Subnet.IsValid() && !s.PodCIDR.IsValid() && !s.ServiceCIDR.IsValid() && s.DiskBudget == 0 && s.DNSStubs == nil
}

// Over is these settings, with those of kept where they leave something open.
func (s Settings) Over(kept Settings) Settings {
	stubs := s.DNSStubs
	if stubs == nil {
		stubs = kept.DNSStubs
	}
	return Settings{
		Subnet: or(s.Subnet, kept.Subnet), PodCIDR: or(s.PodCIDR, kept.PodCIDR), ServiceCIDR: or(s.ServiceCIDR, kept.ServiceCIDR),
		DiskBudget: cmp.Or(s.DiskBudget, kept.DiskBudget), DNSStubs: stubs,
	}
}

// Differ tells whether these settings ask for something that a cluster with those kept has otherwise, but for its networks.
func (s Settings) Differ(kept Settings) bool {
	return s.DiskBudget != 0 && s.DiskBudget != kept.DiskBudget || s.DNSStubs != nil && !sameStubs(s.DNSStubs, kept.DNSStubs)
}

func or(a, b netip.Prefix) netip.Prefix {
	if a.IsValid() {
		return a.Masked()
	}
	return b
}

// Limits of the budget that is taken when none was chosen.
const (
	share       = 4 // the disk's part of it is one in so many
	leastBudget = 10e9
	mostBudget  = 100e9
)

// LeastBudget is the smallest budget, in bytes, that can be chosen: what one app with its build needs.
const LeastBudget = 500e6

// Budget is how many bytes images and the build cache may use on a disk of that size: a quarter of it, at least 10 and at
// most 100 GB, and never more than half.
func (s Settings) Budget(disk int64) int64 {
	if s.DiskBudget > 0 {
		return s.DiskBudget
	}
	return min(max(disk/share, leastBudget), mostBudget, disk/2)
}

// BuildCache is the part of a budget that the build cache keeps to: a quarter, so that images always have room.
func BuildCache(budget int64) int64 { return budget / 4 }

// Read reads the file; the zero value when there is none.
func Read(path string) (Settings, error) {
	var s Settings
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Write replaces the file durably.
func (s Settings) Write(path string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return files.ReplaceDurably(path, data)
}
