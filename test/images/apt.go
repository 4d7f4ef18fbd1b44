package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// suite is the Debian release that images are made of, whatever this machine runs: it is the one with PostgreSQL 15.
const suite = "bookworm"

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is an apt of our own beside the machine's: its lists, its cache and its idea of what is installed. So neither root
// nor the machine's own apt state is needed, and what this machine has installed changes nothing.
type apt struct {
	dir  string // of lists, cache and configuration
	arch string // Debian's name, as amd64
}

// newApt writes the configuration. It fetches nothing.
func newApt(ctx context.Context, dir, mirror string) (*apt, error) {
	for _, tool := range []string{"apt-get", "apt-config", "dpkg-deb", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not here: images can be built on Debian and Ubuntu only (%s)", tool, runtime.GOOS)
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return nil, errors.New("the keys of Debian's archive are not here: apt-get install debian-archive-keyring")
	}
	arch, err := output(ctx, nil, "dpkg", "--print-architecture")
	if err != nil {
		return nil, err
	}
	proxy, err := output(ctx, nil, "apt-config", "shell", "proxy", "Acquire::http::Proxy")
	if err != nil {
		return nil, err
	}
	a := &apt{dir: dir, arch: strings.TrimSpace(arch)}
	for _, d := range []string{"lists/partial", "archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	return a, errors.Join(
		os.WriteFile(filepath.Join(dir, "etc/sources.list"), []byte(sources(mirror)), 0o644),
		os.WriteFile(filepath.Join(dir, "etc/apt.conf"), []byte(a.config(proxyOf(proxy))), 0o644),
	)
}

func sources(mirror string) string {
	security := strings.TrimSuffix(mirror, "/") + "-security"
	return fmt.Sprintf("deb [signed-by=%[1]s] %[2]s %[3]s main\ndeb [signed-by=%[1]s] %[4]s %[3]s-security main\n",
		keyring, mirror, suite, security)
}

// proxyOf reads the one line that "apt-config shell" prints: proxy='http://…', or nothing.
func proxyOf(line string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(line), "proxy="), "'")
}

// config leaves out the machine's own snippets, whose hooks are for the machine, but for its proxy.
func (a *apt) config(proxy string) string {
	conf := fmt.Sprintf(`Dir::Etc::sourcelist "%[1]s/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "%[1]s/lists";
Dir::State::extended_states "%[1]s/extended_states";
Dir::Cache::archives "%[1]s/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "%[1]s/srcpkgcache.bin";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
`, a.dir, a.arch)
	if proxy != "" {
		conf += fmt.Sprintf("Acquire::http::Proxy \"%s\";\n", proxy)
	}
	return conf
}

func (a *apt) environment() []string {
	return append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "etc/apt.conf"), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
}

func (a *apt) hasLists() bool {
	lists, _ := filepath.Glob(filepath.Join(a.dir, "lists", "*_Packages*"))
	return len(lists) > 0
}

func (a *apt) update(ctx context.Context) error {
	_, err := output(ctx, a.environment(), "apt-get", "update", "-qq", "--error-on=any")
	return err
}

// releases are the signed indexes of the lists. Same indexes, same packages.
func (a *apt) releases() ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(a.dir, "lists", "*InRelease"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all bytes.Buffer
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all.Write(content)
	}
	return all.Bytes(), nil
}

// fetch downloads the packages and all they depend on but for those without, and returns the files, sorted.
func (a *apt) fetch(ctx context.Context, packages, without []string) ([]string, error) {
	if len(packages) == 0 {
		return nil, nil
	}
	status, err := os.CreateTemp(a.dir, "status-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(status.Name()) }()
	if _, err := status.WriteString(a.pretendInstalled(without)); err != nil {
		return nil, err
	}
	if err := status.Close(); err != nil {
		return nil, err
	}
	install := func(option string) (string, error) {
		args := append([]string{"install", "-qq", "-y", option, "-o", "Dir::State::status=" + status.Name()}, packages...)
		return output(ctx, a.environment(), "apt-get", args...)
	}
	plan, err := install("--simulate")
	if err != nil {
		return nil, err
	}
	if _, err := install("--download-only"); err != nil {
		// The mirror removes old versions: lists from last month name files that are gone.
		if updated := a.update(ctx); updated != nil {
			return nil, errors.Join(err, updated)
		}
		if plan, err = install("--simulate"); err != nil {
			return nil, err
		}
		if _, err := install("--download-only"); err != nil {
			return nil, err
		}
	}
	return a.files(plan)
}

// files finds the archive of each "Inst NAME (VERSION … [ARCH])" line of a simulated installation.
func (a *apt) files(plan string) ([]string, error) {
	var found []string
	for line := range strings.Lines(plan) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "Inst" {
			continue
		}
		name, _, _ := strings.Cut(fields[1], ":")
		version := strings.ReplaceAll(strings.TrimPrefix(fields[2], "("), ":", "%3a")
		pattern := filepath.Join(a.dir, "archives", name+"_"+version+"_*.deb")
		matches, err := filepath.Glob(pattern)
		if err != nil || len(matches) != 1 {
			return nil, fmt.Errorf("package %s: %d files like %s", name, len(matches), pattern)
		}
		found = append(found, matches[0])
	}
	slices.Sort(found)
	return found, nil
}

// pretendInstalled is a dpkg status in which packages are there already, so that apt does not ask for them.
func (a *apt) pretendInstalled(packages []string) string {
	var s strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&s, "Package: %s\nStatus: install ok installed\nArchitecture: all\nMulti-Arch: allowed\n"+
			"Version: 99:99\nMaintainer: nobody\nDescription: left out\n\n", p)
	}
	return s.String()
}

// output runs a program and returns what it printed; its error has the command and the last lines.
func output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Env = env
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", command, err, lastLines(stderr.String(), 10))
	}
	return stdout.String(), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
