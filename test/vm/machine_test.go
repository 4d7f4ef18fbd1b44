package vm

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a virtual machine that runs.
type machine struct {
	process *exec.Cmd
	lines   <-chan string // what guest.sh says; closed when the machine is off
	off     <-chan struct{}
}

// Time limits. Emulation is some ten times slower than the processor, and others may use that too.
const (
	bootWithin = 5 * time.Minute  // from the power to the first line
	stepWithin = 10 * time.Minute // for one obligation
	offWithin  = 2 * time.Minute  // from the last line to the end
)

// disk makes an empty layer on the base disk, so that each machine starts from the same. What the guest has flushed is in
// its file when qemu is killed; what it has not may be lost: where newly used parts of the file are is told to it with the
// next flush only.
func disk(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, t.Name()+".qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", filepath.Join(dir, "base.img"), path)
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.Remove(path)
		}
	})
	return path
}

// boot switches a machine on. scenario is what guest.sh is to do; arguments are added to the kernel's command line.
func boot(t *testing.T, dir, disk, scenario string, arguments ...string) *machine {
	t.Helper()
	console := filepath.Join(dir, t.Name()+"-"+scenario+".console")
	kernel := append([]string{
		"root=/dev/vda", "rw", "console=ttyS0", "systemd.show_status=false", "systemd.mask=serial-getty@ttyS0.service", "vmtest=" + scenario,
	}, arguments...)
	cmd := exec.Command("qemu-system-x86_64", // not tied to the test's context: a machine is switched off, or cut
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072",
		"-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(dir, "vmlinuz"), "-initrd", filepath.Join(dir, "initrd"), "-append", strings.Join(kernel, " "),
		"-drive", "file="+disk+",if=virtio,format=qcow2,cache=writeback",
		"-drive", "file="+filepath.Join(dir, "payload.img")+",if=virtio,format=raw,readonly=on",
		"-nic", "user,restrict=on,model=virtio-net-pci", // an address and a gateway, and no way out
		"-serial", "file:"+console, "-serial", "stdio")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, off := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(off)
		defer close(lines)
		scan(out, lines)
		if err := cmd.Wait(); err != nil {
			lines <- "qemu: " + err.Error() + " " + said.String()
		}
	}()
	m := &machine{process: cmd, lines: lines, off: off}
	t.Cleanup(func() { m.cut() })
	return m
}

func scan(from io.Reader, to chan<- string) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		to <- strings.TrimSpace(lines.Text())
	}
}

// cut takes the power away, unless the machine is off.
func (m *machine) cut() {
	_ = m.process.Process.Kill()
	for range m.lines { // what it said before
	}
	<-m.off
}

// next is the next line of the guest.
func (m *machine) next(t *testing.T, within time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	select {
	case line, ok := <-m.lines:
		if !ok {
			return "", errOff
		}
		return line, nil
	case <-ctx.Done():
		return "", errors.New("the machine said nothing for " + within.String())
	}
}

var errOff = errors.New("the machine is off")

// run runs a program of this machine.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
