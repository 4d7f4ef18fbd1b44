package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The user that a Go image runs as; the number is what distroless and ko use.
const (
	nonroot   = "65532:65532"
	goAppDir  = "/ko-app"
	caInImage = "etc/ssl/certs/ca-certificates.crt"
	zoneinfo  = "usr/share/zoneinfo"
)

// file is one thing in a layer: a folder when its name ends in a slash.
type file struct {
	name string
	mode int64
	data []byte
	uid  int
}

// baseFiles is the base of every Go image: certificates and time zones of this machine, a user, /tmp. The warning
// says what this machine cannot give.
func baseFiles(host fs.FS) (files []file, warning string, err error) {
	files = []file{
		{name: "tmp/", mode: 0o1777},
		{name: "home/nonroot/", mode: 0o755, uid: 65532},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/nsswitch.conf", mode: 0o644, data: []byte("hosts: files dns\n")},
	}
	warning = "this machine has no bundle of CA certificates: the image cannot verify TLS servers"
	for _, name := range []string{caInImage, "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem", "etc/ssl/cert.pem"} {
		data, err := fs.ReadFile(host, name)
		if err == nil {
			files, warning = append(files, file{name: caInImage, mode: 0o644, data: data}), ""
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	zones, err := zoneFiles(host)
	return append(files, zones...), warning, err
}

// zoneFiles is the host's time zone database, without its two copies in other clocks.
func zoneFiles(host fs.FS) ([]file, error) {
	var out []file
	err := fs.WalkDir(host, zoneinfo, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "posix" || d.Name() == "right"):
			return fs.SkipDir
		case d.IsDir() || strings.Contains(d.Name(), "."):
			return nil
		}
		data, err := fs.ReadFile(host, name) // through links: an alias is a file of its own here
		if err != nil || !bytes.HasPrefix(data, []byte("TZif")) {
			return nil //nolint:nilerr // a dangling link, or no zone
		}
		out = append(out, file{name: name, mode: 0o644, data: data})
		return nil
	})
	return out, err
}

// goApp is what an image of a Go command is made of.
type goApp struct {
	base       []file
	name       string // of the command
	binary     string // path
	labels     map[string]string
	platform   ocispec.Platform
	compressed bool // its layers
}

// image is an image of two layers, the base and the binary. No time is in it: the same input gives the same digest.
func (g goApp) image() (ggcr.Image, error) {
	data, err := os.ReadFile(g.binary)
	if err != nil {
		return nil, err
	}
	app := []file{{name: strings.TrimPrefix(path.Join(goAppDir, g.name), "/"), mode: 0o755, data: data}}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range [][]file{g.base, app} {
		layer, err := g.layer(files)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = g.platform.OS, g.platform.Architecture, g.platform.Variant
	config.Config = ggcr.Config{
		User:       nonroot,
		Entrypoint: []string{path.Join(goAppDir, g.name)},
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + goAppDir, "SSL_CERT_FILE=/" + caInImage},
		WorkingDir: "/",
		Labels:     g.labels,
	}
	return mutate.ConfigFile(img, config)
}

func (g goApp) layer(files []file) (ggcr.Layer, error) {
	data, err := pack(files)
	if err != nil || !g.compressed {
		return static.NewLayer(data, types.OCIUncompressedLayer), err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// pack makes a layer of files with the folders they need, sorted by name.
func pack(files []file) ([]byte, error) {
	all := map[string]file{}
	for _, f := range files {
		all[f.name] = f
	}
	for _, f := range files {
		for dir := path.Dir(strings.TrimSuffix(f.name, "/")); dir != "."; dir = path.Dir(dir) {
			if _, ok := all[dir+"/"]; !ok {
				all[dir+"/"] = file{name: dir + "/", mode: 0o755}
			}
		}
	}
	out := &bytes.Buffer{}
	w := tar.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.mode, Size: int64(len(f.data)), Uid: f.uid, Gid: f.uid, Format: tar.FormatPAX}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

// importImage stores img as ref and unpacks it.
func (cl *client) importImage(ctx context.Context, img ggcr.Image, ref string) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := tarball.Write(tag, img, w)
		written <- errors.Join(err, w.CloseWithError(err))
	}()
	got, err := cl.Import(ctx, r, containerd.WithImageRefTranslator(func(string) string { return ref }))
	_ = r.CloseWithError(err) // lets the writer end when the import gave up
	if err = errors.Join(err, <-written); err != nil {
		return fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	for _, i := range got {
		if err := containerd.NewImageWithPlatform(cl.Client, i, cl.platform).Unpack(ctx, snapshotter); err != nil {
			return fmt.Errorf("image %s: unpack: %w", familiar(i.Name), err)
		}
	}
	return nil
}
