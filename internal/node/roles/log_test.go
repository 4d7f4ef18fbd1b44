package roles

import (
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

// It changes the loggers of the process: nothing may run beside it.
func TestBoundLog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "supervisor.log")
	if err := os.WriteFile(file, []byte("begun\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	closer := boundLog(file)
	klog.Warning("of client-go")
	logrus.Warn("of containerd")
	log.Print("of others")
	klog.Flush()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"begun\n", "of client-go", "of containerd", "of others"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%q is not in the file:\n%s", want, data)
		}
	}
	line := strings.Repeat("x", 1<<16)
	for range 25 << 4 { // 25 MiB
		klog.Warning(line)
	}
	klog.Flush()
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	var files []string
	for deadline := time.Now().Add(10 * time.Second); len(files) == 0 || len(files) > 2; runtime.Gosched() { // old ones go in the background
		if files, err = filepath.Glob(filepath.Join(dir, "*")); err != nil || time.Now().After(deadline) {
			t.Fatalf("files %v, %v", files, err)
		}
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 10<<20 {
			t.Errorf("%s has %d bytes, %v", f, info.Size(), err)
		}
	}
}
