package image

import (
	"encoding/json"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layerCache is a folder of what was seen in layers of registries: names, owners and modes, and the texts of users and groups. For
// an image with a volume that is worth a download of all its layers, at each run. A layer is what its digest says, so that an
// entry is never out of date. "" is none.
type layerCache string

// savedNode is a thing in a layer, as the cache has it.
type savedNode struct {
	Name     string `json:"n"`
	Kind     kind   `json:"k"`
	Opaque   bool   `json:"o,omitempty"`
	Implicit bool   `json:"i,omitempty"`
	Target   string `json:"l,omitempty"`
	UID      int64  `json:"u,omitempty"`
	GID      int64  `json:"g,omitempty"`
	Mode     uint32 `json:"m,omitempty"`
	Text     []byte `json:"t,omitempty"`
}

func (c layerCache) file(h v1.Hash) string { return filepath.Join(string(c), h.Hex+".json") }

// load is nil for a layer that was not seen, or not by this version.
func (c layerCache) load(h v1.Hash) *tarLayer {
	if c == "" {
		return nil
	}
	blob, err := os.ReadFile(c.file(h))
	if err != nil {
		return nil
	}
	var saved []savedNode
	if json.Unmarshal(blob, &saved) != nil {
		return nil
	}
	t := newTarLayer()
	for _, s := range saved {
		t.put(s.Name, node{kind: s.Kind, opaque: s.Opaque, implicit: s.Implicit, target: s.Target, uid: s.UID, gid: s.GID, mode: s.Mode})
		if s.Text != nil {
			t.texts[s.Name] = s.Text
		}
	}
	return t
}

// save keeps what was seen. When it cannot, the next run looks again.
func (c layerCache) save(h v1.Hash, t *tarLayer) {
	if c == "" {
		return
	}
	var saved []savedNode
	for name, n := range t.nodes {
		saved = append(saved, savedNode{name, n.kind, n.opaque, n.implicit, n.target, n.uid, n.gid, n.mode, t.texts[name]})
	}
	if blob, err := json.Marshal(saved); err == nil {
		_ = writeNew(c.file(h), blob)
	}
}
