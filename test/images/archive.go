package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// self is this program's own source: an archive is as old as what made it.
//
//go:embed *.go mariadb nginx postgres redis
var self embed.FS

// stamp is a hash of all that an archive is made from.
func stamp(debian *apt, image string, in inputs) (string, error) {
	h := sha256.New()
	releases, err := debian.releases()
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%s %s\n%s\n%x\n", image, debian.arch, in.key, sha256.Sum256(releases))
	err = fs.WalkDir(self, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(file, "_test.go") {
			return err
		}
		content, err := self.ReadFile(file)
		fmt.Fprintf(h, "%s %x\n", file, sha256.Sum256(content))
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// writeArchive builds an image and returns the archive's size in bytes. The archive is there whole or not at all.
func writeArchive(ctx context.Context, debian *apt, target, image string, r recipe, in inputs) (size int64, err error) {
	images := map[name.Reference]v1.Image{}
	for _, one := range append([]string{image}, r.names...) {
		tag, err := name.NewTag(one)
		if err != nil {
			return 0, err
		}
		images[tag] = nil // built below
	}
	debs, err := debian.fetch(ctx, r.packages, r.without)
	if err != nil {
		return 0, err
	}
	work, err := os.MkdirTemp(filepath.Dir(target), ".build-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	file := filepath.Join(work, "layer.tar")
	if err := writeLayer(ctx, file, r, in, debs); err != nil {
		return 0, err
	}
	built, err := assemble(file, r.config(in))
	if err != nil {
		return 0, err
	}
	archive := filepath.Join(work, "image.tar")
	for tag := range images {
		images[tag] = built
	}
	if err := tarball.MultiRefWriteToFile(archive, images); err != nil {
		return 0, err
	}
	info, err := os.Stat(archive)
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(archive, target)
}

func writeLayer(ctx context.Context, file string, r recipe, in inputs, debs []string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	l := newLayer(f, r.skip)
	if err := l.mergeUsr(); err != nil {
		return err
	}
	if err := r.files(l, in); err != nil {
		return err
	}
	for _, d := range debs {
		if err := l.deb(ctx, d); err != nil {
			return err
		}
	}
	if r.finish != nil {
		if err := r.finish(ctx, l, debs); err != nil {
			return err
		}
	}
	return l.tar.Close()
}

func assemble(layerFile string, config v1.Config) (v1.Image, error) {
	plain, err := newPlainLayer(layerFile)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, plain)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Created: v1.Time{Time: mtime()}, Config: config,
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{plain.hash}},
		History: []v1.History{{Created: v1.Time{Time: mtime()}, CreatedBy: "go run ./test/images"}},
	})
}

// plainLayer is a tar file as a layer, uncompressed: it is loaded on the machine that made it, where disk is cheaper than
// time.
type plainLayer struct {
	file string
	hash v1.Hash
	size int64
}

var _ v1.Layer = (*plainLayer)(nil)

func newPlainLayer(file string) (*plainLayer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	hash, size, err := v1.SHA256(f)
	return &plainLayer{file: file, hash: hash, size: size}, err
}

func (p *plainLayer) Digest() (v1.Hash, error)             { return p.hash, nil }
func (p *plainLayer) DiffID() (v1.Hash, error)             { return p.hash, nil }
func (p *plainLayer) Compressed() (io.ReadCloser, error)   { return os.Open(p.file) }
func (p *plainLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(p.file) }
func (p *plainLayer) Size() (int64, error)                 { return p.size, nil }
func (p *plainLayer) MediaType() (types.MediaType, error)  { return types.DockerUncompressedLayer, nil }
