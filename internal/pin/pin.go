// Package pin remembers which cluster a name meant: the context of a kubeconfig, or a target of a project. A name that
// means another cluster than before is refused, so that a renamed context cannot send a deploy to the wrong place. It reads
// and writes one file, and asks no cluster anything.
package pin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/perch-k8s/perch/internal/fault"
)

// Cluster is what tells one cluster from all others, as far as the account may know it.
type Cluster struct {
	UID    string `json:"uid,omitempty"` // of the namespace kube-system; "": the account may not read it
	CA     string `json:"ca"`            // SHA-256 of the certificates that the kubeconfig trusts for it, in hexadecimal
	Server string `json:"server"`        // URL
}

// Same tells whether both are one cluster: by UID where both have one, else by the certificates that it is trusted by. The
// URL decides only where the system's certificates are trusted, which are the same for all.
func (c Cluster) Same(other Cluster) bool {
	switch {
	case c.UID != "" && other.UID != "":
		return c.UID == other.UID
	case c.CA != "" || other.CA != "":
		return c.CA == other.CA
	}
	return c.Server == other.Server
}

// String names the cluster for people.
func (c Cluster) String() string {
	if c.UID == "" {
		return c.Server
	}
	return fmt.Sprintf("%s (UID %s)", c.Server, c.UID)
}

// Pin is one name and the cluster that it means.
type Pin struct {
	Name string `json:"name"` // "context CONTEXT" or "target PROJECT/TARGET"
	Cluster
	Production string `json:"production,omitempty"` // the name that is to be typed before it is changed; "": none
}

// ContextName is how a context of a kubeconfig is pinned.
func ContextName(context string) string { return "context " + context }

// TargetName is how a target of a project is pinned.
func TargetName(project, target string) string { return "target " + project + "/" + target }

// Pins are all that a file holds, sorted by name.
type Pins []Pin

// Find is the pin of a name.
func (ps Pins) Find(name string) (Pin, bool) {
	i, found := slices.BinarySearchFunc(ps, name, func(p Pin, name string) int { return strings.Compare(p.Name, name) })
	if !found {
		return Pin{}, false
	}
	return ps[i], true
}

// Production is the name to be typed before the cluster is changed, whichever name it is reached by; "" when there is none.
func (ps Pins) Production(c Cluster) string {
	for _, p := range ps {
		if p.Production != "" && p.Same(c) {
			return p.Production
		}
	}
	return ""
}

// With is the pins with another one, or with this one for its name.
func (ps Pins) With(p Pin) Pins {
	all := append(slices.DeleteFunc(slices.Clone(ps), func(o Pin) bool { return o.Name == p.Name }), p)
	slices.SortFunc(all, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Check is a *fault.Error of kind WrongCluster when the name is pinned to another cluster than the one seen. What is pinned
// is completed by what an account with more rights sees: the answer is what to keep, and whether that is new.
func (ps Pins) Check(seen Pin) (keep Pin, changed bool, err error) {
	known, ok := ps.Find(seen.Name)
	if !ok {
		return seen, true, nil
	}
	if !known.Same(seen.Cluster) {
		return known, false, fault.New(fault.WrongCluster, "look at the kubeconfig; when it is right, pin the new cluster: perch target pin"+flagOf(seen.Name),
			"%s is pinned to cluster %s, and now leads to %s", seen.Name, known.Cluster, seen.Cluster)
	}
	keep = known
	if seen.UID != "" { // what was pinned by its certificates only has a better name, and certificates may be renewed
		keep.Cluster = seen.Cluster
	}
	if seen.Production != "" {
		keep.Production = seen.Production
	}
	return keep, keep != known, nil
}

// flagOf names what a pin is of as the command's flag.
func flagOf(name string) string {
	if target, ok := strings.CutPrefix(name, "target "); ok {
		return " --target " + target[strings.LastIndexByte(target, '/')+1:]
	}
	return " --context " + strings.TrimPrefix(name, "context ")
}

// File is where pins are kept.
type File struct{ Path string }

// Read is the pins of the file, none when it is not there.
func (f File) Read() (Pins, error) {
	data, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var pins Pins
	if err == nil {
		err = json.Unmarshal(data, &pins)
	}
	if err != nil {
		return nil, fault.New(fault.Other, "mend or remove the file; clusters are pinned anew at their next use",
			"which cluster a context means cannot be read: %s: %w", f.Path, err)
	}
	slices.SortFunc(pins, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return pins, nil
}

// Keep writes one pin, beside those that other runs write at the same time.
func (f File) Keep(p Pin) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return fmt.Errorf("pins of clusters: %w", err)
	}
	lock := flock.New(f.Path + ".lock")
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("pins of clusters: %w", err)
	}
	defer lock.Unlock() //nolint:errcheck // it ends with the process at the latest
	pins, err := f.Read()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(pins.With(p), "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(f.Path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("pins of clusters: %w", err)
	}
	return nil
}
