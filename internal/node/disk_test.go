package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestSizeOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, err := sizeOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a", "b", "file")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sparse.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Close(); err != nil {
		t.Fatal(err)
	}
	size, err := sizeOf(dir)
	if err != nil || size-empty < 1<<20 || size-empty > 1<<20+1<<16 {
		t.Errorf("1 MiB is %d, %v", size-empty, err)
	}
	if size, err := sizeOf(filepath.Join(dir, "none")); err != nil || size != 0 {
		t.Errorf("a folder that is not there: %d, %v", size, err)
	}
}
