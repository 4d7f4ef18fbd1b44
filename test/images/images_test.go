package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// archive builds an image, or finds it in the cache that "make images" uses, and returns its file.
func archive(t *testing.T, image string) string {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("images are made of Debian packages, and there is no apt-get here")
	}
	dir, err := filepath.Abs("../../.cache/images")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-o", dir, image}, &out); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, archiveName(image))
}

func TestUnknownImage(t *testing.T) {
	t.Parallel()
	_, err := findRecipe("mysql:8")
	if want := "no such image; there are busybox:1.36, golang:1.26, mariadb:10.11, nginx:1.22, postgres:15, python:3.11, redis:7, " +
		"conformance.test/agnhost, conformance.test/busybox, conformance.test/etcd, conformance.test/glibc-dns-testing, conformance.test/kitten, " +
		"conformance.test/nautilus, conformance.test/nginx, conformance.test/nonewprivs, conformance.test/nonroot, conformance.test/pause, " +
		"conformance.test/sample-apiserver"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := run(t.Context(), nil, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "which images?") {
		t.Errorf("no image: %v", err)
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"./": "", "./bin/sh": "usr/bin/sh", "./lib64/ld.so": "usr/lib64/ld.so", "./usr/bin/env": "usr/bin/env", "./etc/": "etc", "./library/x": "library/x",
	} {
		if got := place(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestProxyOf(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{"": "", "proxy='http://127.0.0.1:3142'\n": "http://127.0.0.1:3142"} {
		if got := proxyOf(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// What is added first stays, and each folder comes before what is in it.
func TestLayer(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	l := newLayer(&file, func(name string) bool { return strings.HasSuffix(name, "/skip") })
	var deb bytes.Buffer
	w := tar.NewWriter(&deb)
	write := func(h *tar.Header, content string) {
		h.Size, h.Mode = int64(len(content)), 0o640
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	write(&tar.Header{Name: "./bin/tool", Typeflag: tar.TypeReg, Uname: "root"}, "tool")
	write(&tar.Header{Name: "./bin/other", Typeflag: tar.TypeLink, Linkname: "./bin/tool"}, "")
	write(&tar.Header{Name: "./etc/passwd", Typeflag: tar.TypeReg}, "theirs")
	write(&tar.Header{Name: "./usr/share/skip", Typeflag: tar.TypeReg}, "skipped")
	err := errors.Join(w.Close(), l.file("etc/passwd", 0o644, []byte("ours")), l.folder("var/lib/data", 0o1777, 999),
		l.copyTar(tar.NewReader(&deb)), l.tar.Close())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"5 etc 0755 0", "0 etc/passwd 0644 0 ours", "5 var 0755 0", "5 var/lib 0755 0", "5 var/lib/data 01777 999",
		"5 usr 0755 0", "5 usr/bin 0755 0", "0 usr/bin/tool 0640 0 tool", "1 usr/bin/other -> usr/bin/tool",
	}
	if diff := cmp.Diff(want, entries(t, &file)); diff != "" {
		t.Error(diff)
	}
}

func TestArchivesAreReproducible(t *testing.T) {
	t.Parallel()
	file := archive(t, "busybox:1.36")
	before, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	was, err := before.Digest()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if archive(t, "busybox:1.36"); !sameFile(t, file, info) {
		t.Error("built again though nothing changed")
	}
	if err := os.Remove(file + ".stamp"); err != nil {
		t.Fatal(err)
	}
	if archive(t, "busybox:1.36"); sameFile(t, file, info) {
		t.Error("not built again")
	}
	again, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if is, err := again.Digest(); err != nil || is != was {
		t.Errorf("digest %v, %v; was %v", is, err, was)
	}
}

func sameFile(t *testing.T, file string, was os.FileInfo) bool {
	t.Helper()
	is, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(is, was)
}
