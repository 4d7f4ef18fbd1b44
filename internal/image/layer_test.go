package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/perch-k8s/perch/internal/image"
)

// TestAddLayer puts a layer of synced files on an image, twice, and takes it away.
func TestAddLayer(t *testing.T) {
	l := newLab(t)
	layer := &bytes.Buffer{}
	w := tar.NewWriter(layer)
	for name, text := range map[string]string{"app/synced": "text", "etc/.wh.passwd": ""} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const base = "docker.io/library/base:1"
	made, err := l.store.AddLayer(t.Context(), image.Image{Ref: base}, bytes.NewReader(layer.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !made.Built || !strings.HasPrefix(made.Ref, base+"-sync-") {
		t.Errorf("it is %+v", made)
	}
	var manifest ocispec.Manifest
	var config ocispec.Image
	if err := json.Unmarshal(l.node.Blob(t, made.Digest), &manifest); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(l.node.Blob(t, manifest.Config.Digest.String()), &config); err != nil {
		t.Fatal(err)
	}
	last := manifest.Layers[len(manifest.Layers)-1]
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) || config.RootFS.DiffIDs[len(manifest.Layers)-1] != last.Digest {
		t.Errorf("the manifest has %v, the config %v", manifest.Layers, config.RootFS.DiffIDs)
	}
	if got := l.node.Blob(t, last.Digest.String()); !bytes.Equal(got, layer.Bytes()) {
		t.Error("the last layer is another one")
	}
	again, err := l.store.AddLayer(t.Context(), image.Image{Ref: base}, bytes.NewReader(layer.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if again.Built || again.Ref != made.Ref || again.Digest != made.Digest {
		t.Errorf("the second time it is %+v, was %+v", again, made)
	}
	if err := l.store.Remove(t.Context(), []string{made.Ref, "docker.io/library/never:1"}); err != nil {
		t.Fatal(err)
	}
	left, err := l.store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range left {
		if i.Ref == made.Ref {
			t.Errorf("%s is still there", i.Ref)
		}
	}
}
