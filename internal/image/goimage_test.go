package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
)

func TestGoImageIsTheSameForTheSameInput(t *testing.T) {
	t.Parallel()
	host := fstest.MapFS{
		"etc/ssl/cert.pem":                  {Data: []byte("certs")},
		"usr/share/zoneinfo/Europe/Paris":   {Data: []byte("TZif paris")},
		"usr/share/zoneinfo/posix/Paris":    {Data: []byte("TZif paris")},
		"usr/share/zoneinfo/README":         {Data: []byte("text")},
		"usr/share/zoneinfo/tzdata.zi":      {Data: []byte("TZif no")},
		"usr/share/zoneinfo/Europe/Nowhere": {Data: []byte("")},
	}
	binary := filepath.Join(tree(t, map[string]string{"b": "binary"}), "b")
	digest := func() string {
		base, warning, err := baseFiles(host)
		if err != nil || warning != "" {
			t.Fatal(err, warning)
		}
		img, err := goApp{base: base, name: "web", binary: binary, platform: platforms.DefaultSpec()}.image()
		if err != nil {
			t.Fatal(err)
		}
		d, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	if a, b := digest(), digest(); a != b {
		t.Errorf("%s, then %s", a, b)
	}
	base, _, _ := baseFiles(host)
	layer, err := pack(base)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"etc/ 755 0", "etc/group 644 0", "etc/nsswitch.conf 644 0", "etc/passwd 644 0", "etc/ssl/ 755 0", "etc/ssl/certs/ 755 0",
		"etc/ssl/certs/ca-certificates.crt 644 0", "home/ 755 0", "home/nonroot/ 755 65532", "tmp/ 1777 0", "usr/ 755 0", "usr/share/ 755 0",
		"usr/share/zoneinfo/ 755 0", "usr/share/zoneinfo/Europe/ 755 0", "usr/share/zoneinfo/Europe/Paris 644 0",
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %o %d", h.Name, h.Mode, h.Uid))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBaseWithoutCertificates(t *testing.T) {
	t.Parallel()
	if _, warning, err := baseFiles(fstest.MapFS{}); warning == "" || err != nil {
		t.Errorf("%q, %v", warning, err)
	}
}

func TestFindMain(t *testing.T) {
	t.Parallel()
	const mod, pkg, command = "module example.org/x\n", "package x\n", "package main\n"
	tests := map[string]struct {
		files map[string]string
		build types.BuildConfig
		want  string // the package, or an error
	}{
		"in the folder":           {files: map[string]string{"main.go": command, "cmd/a/main.go": command}, want: "."},
		"the only one":            {files: map[string]string{"x.go": pkg, "cmd/a/main.go": command, "cmd/lib/x.go": pkg}, want: "./cmd/a"},
		"the service's":           {files: map[string]string{"cmd/a/main.go": command, "cmd/web/main.go": command}, want: "./cmd/web"},
		"one of several":          {files: map[string]string{"cmd/a/main.go": command, "cmd/b/main.go": command}, want: `service "web": no Dockerfile, and which Go command is meant is not clear: ./cmd/a, ./cmd/b`},
		"none":                    {files: map[string]string{"x.go": pkg}, want: `service "web": no Dockerfile, and no Go command, in DIR or its cmd/*`},
		"only for another system": {files: map[string]string{"x.go": "//go:build windows\n\n" + command}, want: `service "web": no Dockerfile, and no Go command, in DIR or its cmd/*`},
		"with a target": {
			files: map[string]string{"main.go": command}, build: types.BuildConfig{Target: "x"},
			want: `service "web": DIR has a go.mod and no Dockerfile, and then args, target, secrets and additional_contexts of build have no meaning`,
		},
		"another Dockerfile is named": {
			files: map[string]string{"main.go": command}, build: types.BuildConfig{Dockerfile: "Dockerfile.prod"},
			want: `service "web": no Dockerfile at DIR/Dockerfile.prod`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.files["go.mod"] = mod
			dir := tree(t, tt.files)
			tt.build.Context = dir
			r, err := newRecipe(want{key: "web", build: &tt.build}, &types.Project{Name: "shop", WorkingDir: dir}, Registry{})
			got := ""
			if err != nil {
				got = string(bytes.ReplaceAll([]byte(err.Error()), []byte(dir), []byte("DIR")))
			} else {
				got = r.main
			}
			if got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestModulesOutsideTheContextAreHashed(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"go.work":     "go 1.24\n\nuse (\n\t./app\n\t./tool\n)\n",
		"app/go.mod":  "module example.org/app\n\ngo 1.24\n\nreplace example.org/lib => ../lib\n\nreplace example.org/far v1.0.0 => example.org/near v1.0.0\n",
		"app/main.go": "package main\n", "lib/go.mod": "module example.org/lib\n", "tool/go.mod": "module example.org/tool\n",
	})
	r := recipeOf(t, dir, types.BuildConfig{Context: filepath.Join(dir, "app")})
	var got []string
	for _, c := range r.contexts {
		got = append(got, c.name)
	}
	if diff := cmp.Diff([]string{"go ../lib", "go ../tool"}, got); diff != "" {
		t.Error(diff)
	}
}
