package imagetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// File is one entry of a layer's archive. A name that ends in a slash is a folder; one that begins with .wh. is a
// whiteout, as the OCI image layout has it.
type File struct {
	Name     string
	Text     string
	Mode     int64  // 0 is 0644, or 0755 for a folder
	UID, GID int    // owner
	Link     string // where a symbolic link points
	Hard     string // the file that this is another name of
}

// Archive is an image as docker save writes it, with the layers from the lowest to the topmost. Config is the part of the
// image's config that containers run by, as the JSON has it.
func Archive(t *testing.T, name string, config map[string]any, layers ...[]File) []byte {
	t.Helper()
	out := &bytes.Buffer{}
	w := tar.NewWriter(out)
	var names, sums []string
	for i, files := range layers {
		layer := &bytes.Buffer{}
		lw := tar.NewWriter(layer)
		for _, f := range files {
			f.write(t, lw)
		}
		closeTar(t, lw)
		sum := sha256.Sum256(layer.Bytes())
		sums = append(sums, "sha256:"+hex.EncodeToString(sum[:]))
		names = append(names, fmt.Sprintf("layer%d.tar", i))
		File{Name: names[i], Text: layer.String()}.write(t, w)
	}
	File{Name: "config.json", Text: marshal(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": sums},
	})}.write(t, w)
	File{Name: "manifest.json", Text: marshal(t, []map[string]any{
		{"Config": "config.json", "RepoTags": []string{name}, "Layers": names},
	})}.write(t, w)
	closeTar(t, w)
	return out.Bytes()
}

// BaseImage is an archive of an image with a shell and a few commands of this machine.
func BaseImage(t *testing.T, name string) []byte {
	t.Helper()
	paths := map[string]string{}
	for _, c := range []string{"sh", "ls", "cat", "sleep", "cp", "id", "stat", "env", "mkdir"} {
		path, err := exec.LookPath(c)
		if err != nil {
			t.Fatal(err)
		}
		paths["/bin/"+c] = path
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for f := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(f, "/") {
				paths[f] = f
			}
		}
	}
	var files []File
	for _, to := range slices.Sorted(maps.Keys(paths)) { // the same image each time
		data, err := os.ReadFile(paths[to])
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: strings.TrimPrefix(to, "/"), Text: string(data), Mode: 0o755})
	}
	return Archive(t, name, map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}}, files)
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (f File) write(t *testing.T, w *tar.Writer) {
	t.Helper()
	h := &tar.Header{Name: f.Name, Mode: f.Mode, Uid: f.UID, Gid: f.GID, Size: int64(len(f.Text)), Typeflag: tar.TypeReg}
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
	case f.Hard != "":
		h.Typeflag, h.Linkname = tar.TypeLink, f.Hard
	case strings.HasSuffix(f.Name, "/"):
		h.Typeflag = tar.TypeDir
	}
	if h.Mode == 0 && h.Typeflag == tar.TypeDir {
		h.Mode = 0o755
	} else if h.Mode == 0 {
		h.Mode = 0o644
	}
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(f.Text)); err != nil {
		t.Fatal(err)
	}
}

func closeTar(t *testing.T, w *tar.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
