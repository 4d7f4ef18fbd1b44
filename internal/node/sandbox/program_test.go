package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// resident is how many bytes of this program's file are mapped now, in the mappings that are never written.
func resident(t *testing.T) uint64 {
	t.Helper()
	self, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	status, err := self.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return status.RssFile
}

func TestKeepFilesSmall(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe") // into the page cache, so that pages are mapped many at a time
	if err != nil {
		t.Fatal(err)
	}
	before := resident(t)
	if err := KeepFilesSmall(); err != nil {
		t.Log(err) // of an older kernel
	}
	if after := resident(t); after >= before {
		t.Errorf("%d bytes of the program (%d long) were mapped, and %d after it was kept small", before, len(program), after)
	}
}

func TestPageByPage(t *testing.T) {
	t.Parallel()
	lean, err := newPageByPage()
	if err != nil {
		t.Skip(err)
	}
	const size = 8 << 20 // so that the page cache may have it in pieces of 2 MiB
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, test := range []struct {
		name string
		lean bool
	}{{"usual", false}, {"page by page", true}} {
		memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		if start := uintptr(unsafe.Pointer(&memory[0])); test.lean {
			if err := lean.add(start, size); err != nil {
				t.Fatal(err)
			}
		}
		if memory[size/2] != 'x' {
			t.Fatal("not the file")
		}
		got := residentAt(t, uintptr(unsafe.Pointer(&memory[0])))
		if page := os.Getpagesize() >> 10; test.lean != (got == page) {
			t.Errorf("%s: %d KiB are mapped after one byte was read, and a page has %d", test.name, got, page)
		}
		if err := unix.Munmap(memory); err != nil {
			t.Fatal(err)
		}
	}
}

// residentAt is how many KiB of the mapping that begins there are mapped.
func residentAt(t *testing.T, start uintptr) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), fmt.Sprintf("%08x-", start))
	_, rest, told := strings.Cut(rest, "\nRss:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil || !found || !told {
		t.Fatalf("smaps has nothing of %#x: %v", start, err)
	}
	return kib
}
