package assets

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// PauseRef is the full name of the pods' sandbox image. It has a registry's name in front: the CRI takes a short name for one of docker.io's.
const PauseRef = "localhost/perch/pause:1"

// PauseArchive is the image of a pod's sandbox as an OCI archive (a tar of an image layout), made in memory, and the
// full reference it is to be stored under, which the archive names too. Same program, same bytes.
func PauseArchive() (archive []byte, ref string, err error) {
	archive, err = pauseArchive(files)
	if err != nil {
		return nil, "", fmt.Errorf("pause image: %w", err)
	}
	return archive, PauseRef, nil
}

func pauseArchive(from fs.FS) ([]byte, error) {
	program, err := read(from, "pause")
	if err != nil {
		return nil, err
	}
	image, err := pauseImage(program)
	if err != nil {
		return nil, err
	}
	return ociArchive(image, PauseRef)
}

func pauseImage(program []byte) (v1.Image, error) {
	var layer bytes.Buffer
	if err := writeTar(&layer, []entry{{name: "pause", content: program, mode: 0o755}}); err != nil {
		return nil, err
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}
	return mutate.ConfigFile(image, config)
}

// ociArchive is the image layout of one image under one name, as a tar.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
func ociArchive(image v1.Image, ref string) ([]byte, error) {
	manifest, err := image.RawManifest()
	if err != nil {
		return nil, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	blobs := [][]byte{manifest, config}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	for _, layer := range layers {
		blob, err := readLayer(layer)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, blob)
	}
	index, err := indexOf(image, ref)
	if err != nil {
		return nil, err
	}
	entries := []entry{
		{name: "oci-layout", content: []byte(`{"imageLayoutVersion":"1.0.0"}`), mode: 0o644},
		{name: "index.json", content: index, mode: 0o644},
	}
	for _, blob := range blobs {
		entries = append(entries, entry{name: "blobs/sha256/" + sumOf(blob), content: blob, mode: 0o644})
	}
	var archive bytes.Buffer
	if err := writeTar(&archive, entries); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

func readLayer(layer v1.Layer) ([]byte, error) {
	r, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	blob, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return blob, r.Close()
}

// indexOf is index.json of an archive with this image alone. containerd takes the name from its own annotation
// when that is there, others from the specification's.
func indexOf(image v1.Image, ref string) ([]byte, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	size, err := image.Size()
	if err != nil {
		return nil, err
	}
	return json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1,
			Digest:    digest,
			Size:      size,
			Platform:  &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
			Annotations: map[string]string{
				"io.containerd.image.name":          ref,
				"org.opencontainers.image.ref.name": ref,
			},
		}},
	})
}

// entry is one regular file of a tar, owned by root, without times.
type entry struct {
	name    string
	content []byte
	mode    int64
}

func writeTar(w io.Writer, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.content)), Mode: e.mode}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(e.content); err != nil {
			return err
		}
	}
	return t.Close()
}
