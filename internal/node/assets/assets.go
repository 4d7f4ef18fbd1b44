// Package assets carries the programs that the node runs but that are no Go packages: runc, containerd's shim, the
// CNI plugins, and the pause program of every pod. They are built from their pinned modules by build.sh, compressed,
// and embedded; Extract puts them into a directory. It starts nothing and knows nothing of how they are used.
//
// A clone in which `make assets` never ran compiles too: then Extract and PauseArchive say what is missing.
package assets

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/perch-k8s/perch/internal/fault"
)

// folder has the programs for the processor that this perch is built for. What is built for another one, as by
// `GOARCH=arm64 go build` where only amd64's programs are, has none rather than the wrong ones.
const folder = "files/" + runtime.GOARCH

const (
	sumsFile  = folder + "/SHA256SUMS" // written last by build.sh: there only when all programs are
	stampFile = ".perch-programs"      // written last by Extract: there only when all programs are
)

// Names are the names of the carried programs, as Extract writes them, sorted.
func Names() []string {
	return []string{"containerd-shim-runc-v2", "host-local", "loopback", "nodad", "pause", "portmap", "ptp", "runc"}
}

// Extract writes the carried programs into dir, which is made when it is not there, with mode 0755. A program that
// is there already, byte for byte, is left alone; others are replaced in one step, so that a running one is not
// disturbed and a killed Extract leaves no half program. When dir holds the stamp of these very programs it only
// looks that each is there. Nothing is synced to the disk, which may take a second when it is busy: a power cut is followed
// by another boot, whose ID is not the stamp's, and then each program is compared.
func Extract(dir string) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("programs of the node: %w", err)
	}
	return extract(files, dir, boot)
}

func extract(from fs.FS, dir string, boot []byte) error {
	sums, err := fs.ReadFile(from, sumsFile)
	if err != nil {
		return missing("list of programs")
	}
	stamp := slices.Concat(sums, boot)
	if stamped(dir, stamp) {
		return nil
	}
	wanted, err := parseSums(sums)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("programs of the node: %w", err)
	}
	var g errgroup.Group
	for _, name := range Names() {
		g.Go(func() error {
			if err := extractOne(from, dir, name, wanted[name]); err != nil {
				return fmt.Errorf("program %s of the node: %w", name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, stampFile), stamp, 0o644)
}

// stamped says whether an earlier Extract of the same programs into dir ended well, since this machine was booted, and
// nothing was removed since.
func stamped(dir string, stamp []byte) bool {
	have, err := os.ReadFile(filepath.Join(dir, stampFile))
	if err != nil || !bytes.Equal(have, stamp) {
		return false
	}
	for _, name := range Names() {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o755 {
			return false
		}
	}
	return true
}

func extractOne(from fs.FS, dir, name, sum string) error {
	path := filepath.Join(dir, name)
	if have, err := os.ReadFile(path); err == nil && sumOf(have) == sum {
		return os.Chmod(path, 0o755)
	}
	program, err := read(from, name)
	if err != nil {
		return err
	}
	if got := sumOf(program); got != sum {
		return fmt.Errorf("content has sum %s, the list says %q: run make assets", got, sum)
	}
	return writeFile(path, program, 0o755)
}

// read is the decompressed program of this name.
func read(from fs.FS, name string) ([]byte, error) {
	packed, err := fs.ReadFile(from, folder+"/"+name+".zst")
	if err != nil {
		return nil, missing(name)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	return decoder.DecodeAll(packed, nil)
}

// writeFile replaces path in one step.
func writeFile(path string, content []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// parseSums reads sha256sum's format: hexadecimal sum, two spaces, name. Lines with # are build.sh's.
func parseSums(sums []byte) (map[string]string, error) {
	wanted := map[string]string{}
	for line := range strings.Lines(string(sums)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		sum, name, ok := strings.Cut(line, "  ")
		if !ok {
			return nil, fmt.Errorf("%s: line %q is not a sum and a name", sumsFile, line)
		}
		wanted[name] = sum
	}
	for _, name := range Names() {
		if wanted[name] == "" {
			return nil, missing(name)
		}
	}
	return wanted, nil
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func missing(name string) error {
	return fault.New(fault.Other, "run `make build` in the source tree, not `go build`",
		"this perch was built without its programs: %s is not in it", name)
}
