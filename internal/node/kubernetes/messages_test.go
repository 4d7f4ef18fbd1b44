package kubernetes

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestDropMessages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	web := filepath.Join(dir, "pods", "0a1b", "containers", "web")
	volume := filepath.Join(dir, "pods", "0a1b", "volumes", "kubernetes.io~empty-dir", "data")
	for i, name := range []string{"newest", "older", "oldest"} {
		for _, folder := range []string{web, volume} {
			if err := os.MkdirAll(folder, 0o750); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(folder, name)
			if err := os.WriteFile(file, []byte("why"), 0o600); err != nil {
				t.Fatal(err)
			}
			made := time.Now().Add(-time.Duration(i) * time.Hour)
			if err := os.Chtimes(file, made, made); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := dropMessages(dir); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string][]string{web: {"newest"}, volume: {"newest", "older", "oldest"}} {
		entries, err := os.ReadDir(folder)
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", folder, got, err, want)
		}
	}
	if err := dropMessages(filepath.Join(dir, "nothing")); err != nil {
		t.Errorf("a node that has had no pod: %v", err)
	}
}
