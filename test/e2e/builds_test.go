package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testBuilds builds an image whose content tells how it was built.
func testBuilds(t *testing.T, n *node) {
	const token = "e2e-build-token-4711"
	p := n.copyOf(t, "site", "test/e2e/testdata/site")
	p.write(t, "hidden.private", "not in the image")
	port := freePort(t)
	base := "http://127.0.0.1:" + port + "/"
	env := []string{"PORT=" + port, "BUILD_TOKEN=" + token}
	file := func(t *testing.T, name string) string {
		t.Helper()
		return strings.TrimSpace(mustFetch(t, base+name))
	}
	p.up(t, env...)
	t.Run("argument", func(t *testing.T) {
		if got := file(t, "greeting"); got != "hello" {
			t.Errorf("it is %q", got)
		}
	})
	t.Run("target of several stages", func(t *testing.T) {
		if got := file(t, "stage"); got != "final" {
			t.Errorf("it is %q", got)
		}
		if _, err := fetch(t.Context(), base+"../src/shown.txt"); err == nil {
			t.Error("files of another stage are in the image")
		}
	})
	t.Run("dockerignore", func(t *testing.T) {
		got := strings.Fields(file(t, "src"))
		if !slices.Contains(got, "shown.txt") || slices.Contains(got, "hidden.private") {
			t.Errorf("the context had %v", got)
		}
	})
	t.Run("secret is there for the build and not in the image", func(t *testing.T) {
		sum := sha256.Sum256([]byte(token))
		if got := file(t, "token.sha256"); !strings.HasPrefix(got, hex.EncodeToString(sum[:])) {
			t.Errorf("the build saw another token: %s", got)
		}
		if found := filesWith(t, filepath.Join(n.folder(), "containerd"), token); len(found) > 0 {
			t.Errorf("the token is in %v", found)
		}
	})
	t.Run("cache mount lasts until the next build", func(t *testing.T) {
		if got := file(t, "runs"); got != "1" {
			t.Errorf("the first build was number %q", got)
		}
		p.up(t, append(env, "GREETING=again")...)
		if got := file(t, "greeting") + " " + file(t, "runs"); got != "again 2" {
			t.Errorf("after the second it is %q", got)
		}
	})
	t.Run("build makes an image and deploys nothing", func(t *testing.T) {
		revisions, images := n.revisions(t, "site"), imageNames(t, n.user)
		n.want(t, 0, command{dir: p.dir, args: []string{"build"}, env: append(env, "GREETING=third")})
		if now := n.revisions(t, "site"); !slices.Equal(now, revisions) {
			t.Errorf("the revisions were %v, are %v", revisions, now)
		}
		if now := imageNames(t, n.user); len(now) <= len(images) {
			t.Errorf("the images were %v, are %v", images, now)
		}
	})
	t.Run("no image of ours is latest", func(t *testing.T) {
		for _, image := range imageNames(t, n.user) {
			if strings.HasPrefix(image, "site-") && strings.Contains(image, ":latest ") {
				t.Error(image)
			}
		}
	})
	n.want(t, 0, command{dir: p.dir, args: []string{"down"}, env: env})
}

// filesWith are the files below a folder that hold the text.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // things come and go while a node runs
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
