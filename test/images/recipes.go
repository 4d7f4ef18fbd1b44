package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// recipe says what an image is made of.
type recipe struct {
	names    []string // other names that the archive gives the image
	packages []string // of Debian, with all they depend on
	without  []string // dependencies to leave out: they serve installation, or parts that are not carried
	skip     func(name string) bool
	inputs   func(ctx context.Context, dir, image string) (inputs, error) // dir keeps what is built for it
	files    func(l *layer, in inputs) error                              // added before the packages, so that they win
	finish   func(ctx context.Context, l *layer, debs []string) error
	config   func(in inputs) v1.Config
}

// inputs are what a recipe takes from this machine.
type inputs struct {
	key    string // changes when any of them does
	goDir  string // GOROOT
	goEnv  []string
	ca     []byte            // certificate authorities this machine trusts
	copies map[string]string // files: path in the image to path here
}

func nothing(context.Context, string, string) (inputs, error) { return inputs{}, nil }

// recipes by image name. The name's tag is what the Compose file or the Dockerfile asks for; busybox's is not Debian's.
func recipes() map[string]recipe {
	return map[string]recipe{
		"busybox:1.36":  busybox(),
		"golang:1.26":   golang(),
		"mariadb:10.11": mariadb(),
		"nginx:1.22":    nginx(),
		"postgres:15":   postgres(),
		"python:3.11":   python(),
		"redis:7":       redis(),
	}
}

func recipeNames() []string {
	names := sortedKeys(recipes())
	for _, name := range sortedKeys(suiteRecipes()) {
		names = append(names, suiteRegistry+name)
	}
	return names
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func findRecipe(image string) (recipe, error) {
	r, ok := recipes()[image]
	if name, suite := strings.CutPrefix(image, suiteRegistry); suite {
		name, _, _ = strings.Cut(name, ":")
		r, ok = suiteRecipes()[name]
	}
	if !ok {
		return recipe{}, fmt.Errorf("no such image; there are %s", strings.Join(recipeNames(), ", "))
	}
	return r, nil
}

// shell are the packages of a small system to run scripts in.
func shell() []string {
	return []string{"base-files", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "libc-bin", "sed"}
}

// onlyToInstall are dependencies that packages need while they are installed by dpkg, which does not happen here.
func onlyToInstall() []string {
	return []string{
		"adduser", "awk", "cdebconf", "debconf", "debianutils", "dpkg", "init-system-helpers", "install-info", "login", "lsb-base",
		"mawk", "passwd", "perl", "perl-base", "sysvinit-utils", "ucf",
	}
}

// skipDocs leaves out what nobody reads in a container.
func skipDocs(name string) bool {
	for _, prefix := range []string{
		"etc/apparmor.d", "etc/cron.d", "etc/cron.daily", "etc/default", "etc/init.d", "etc/logrotate.d", "etc/pam.d",
		"usr/lib/init", "usr/lib/systemd", "usr/share/bash-completion", "usr/share/bug", "usr/share/doc",
		"usr/share/doc-base", "usr/share/gcc", "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man", "usr/share/menu",
	} {
		if name == prefix || strings.HasPrefix(name, prefix+"/") {
			return true
		}
	}
	return strings.Contains(name, "/gconv/") // character sets of iconv, which nothing here uses
}

// basics are the files that Debian's installer makes, with one user beside root.
func basics(l *layer, user string, id int, home string) error {
	passwd, group := "root:x:0:0:root:/root:/bin/bash\n", "root:x:0:\n"
	if user != "" {
		passwd += fmt.Sprintf("%s:x:%d:%d::%s:/bin/bash\n", user, id, id, home)
		group += fmt.Sprintf("%s:x:%d:\n", user, id)
	}
	passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group += "nogroup:x:65534:\n"
	return errors.Join(
		l.file("etc/passwd", 0o644, []byte(passwd)),
		l.file("etc/group", 0o644, []byte(group)),
		l.file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n")),
		l.folder("tmp", 0o1777, 0),
		l.folder("root", 0o700, 0),
		l.folder("run", 0o755, 0),
		l.folder("dev", 0o755, 0), l.folder("proc", 0o755, 0), l.folder("sys", 0o755, 0), // what runtimes mount
		l.link("var/run", "/run"),
	)
}

const postgresID = 999 // user and group of the official image; volumes made with it keep their owner

// postgres keeps the contract of Docker's official image; see postgres/docker-entrypoint.sh.
func postgres() recipe {
	return recipe{
		names:    []string{"postgres:latest", "postgres:alpine", "postgres:12-alpine", "postgres:15-alpine"},
		packages: append(shell(), "postgresql-15", "postgresql-client-15", "tzdata", "util-linux", "xz-utils", "zstd"),
		// The compiler of its just-in-time queries is four times the rest: PostgreSQL does without when it is not there.
		without: append(onlyToInstall(), "krb5-locales", "libllvm14", "libpam-modules", "libpam-runtime", "locales",
			"postgresql-client-common", "postgresql-common", "ssl-cert"),
		skip: func(name string) bool {
			return skipDocs(name) || strings.Contains(name, "/bitcode") || strings.HasSuffix(name, "/llvmjit.so") ||
				strings.HasPrefix(name, "usr/share/zoneinfo/right") || strings.HasPrefix(name, "usr/share/zoneinfo/posix") ||
				strings.HasPrefix(name, "usr/share/postgresql/15/man") || unusedUtilLinux(name)
		},
		inputs: nothing,
		files: func(l *layer, _ inputs) error {
			entrypoint, err := self.ReadFile("postgres/docker-entrypoint.sh")
			if err != nil {
				return err
			}
			return errors.Join(
				basics(l, "postgres", postgresID, "/var/lib/postgresql"),
				l.file("usr/local/bin/docker-entrypoint.sh", 0o755, entrypoint),
				l.folder("docker-entrypoint-initdb.d", 0o755, 0),
				l.folder("run/postgresql", 0o3777, postgresID),
				l.folder("var/lib/postgresql", 0o755, postgresID),
				l.folder("var/lib/postgresql/data", 0o1777, postgresID),
			)
		},
		config: func(inputs) v1.Config {
			return v1.Config{
				Env: []string{
					"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
					"LANG=C.UTF-8", "PG_MAJOR=15", "PGDATA=/var/lib/postgresql/data",
				},
				Entrypoint:   []string{"docker-entrypoint.sh"},
				Cmd:          []string{"postgres"},
				ExposedPorts: map[string]struct{}{"5432/tcp": {}},
				Volumes:      map[string]struct{}{"/var/lib/postgresql/data": {}},
				StopSignal:   "SIGINT", // "fast" shutdown: PostgreSQL waits for its clients when it is asked by SIGTERM
			}
		},
	}
}

// unusedUtilLinux leaves of util-linux little more than setpriv.
func unusedUtilLinux(name string) bool {
	dir, base := path.Split(name)
	return dir == "usr/sbin/" && slices.Contains([]string{
		"addpart", "agetty", "blkdiscard", "blkid", "blkzone", "blockdev", "cfdisk", "chcpu", "chmem", "ctrlaltdel", "delpart", "fdisk",
		"findfs", "fsck", "fsck.cramfs", "fsck.minix", "fsfreeze", "fstrim", "getty", "hwclock", "isosize", "ldattach", "mkfs",
		"mkfs.bfs", "mkfs.cramfs", "mkfs.minix", "mkswap", "partx", "pivot_root", "readprofile", "resizepart", "rtcwake", "sfdisk",
		"sulogin", "swaplabel", "swapoff", "swapon", "wipefs", "zramctl",
	}, base)
}

// golang is a builder for pure Go: the Go of this machine on a small Debian, with the certificate authorities that this
// machine trusts, since a proxy may sign anew. It has neither gcc nor git.
func golang() recipe {
	return recipe{
		packages: append(shell(), "tar"),
		without:  onlyToInstall(),
		skip: func(name string) bool {
			return skipDocs(name) || skipGo(name)
		},
		inputs: goInputs,
		files: func(l *layer, in inputs) error {
			return errors.Join(
				basics(l, "", 0, ""),
				l.file("etc/ssl/certs/ca-certificates.crt", 0o644, in.ca),
				l.folder("go", 0o1777, 0), l.folder("go/src", 0o1777, 0), l.folder("go/bin", 0o1777, 0),
				l.folder("usr/local/go", 0o755, 0),
				l.tree(in.goDir, "usr/local/go"),
			)
		},
		config: func(in inputs) v1.Config {
			return v1.Config{
				Env: append([]string{
					"PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
					"GOPATH=/go", "GOTOOLCHAIN=local", "CGO_ENABLED=0",
				}, in.goEnv...),
				Cmd:        []string{"bash"},
				WorkingDir: "/go",
			}
		},
	}
}

// skipGo leaves out Go's tests, its history and the sources of its own tools, which are there as programs.
func skipGo(name string) bool {
	rest, ok := strings.CutPrefix(name, "usr/local/go/")
	if !ok {
		return false
	}
	first, _, _ := strings.Cut(rest, "/")
	return slices.Contains([]string{"api", "doc", "misc", "test"}, first) || strings.HasPrefix(rest, "pkg/obj") ||
		strings.HasPrefix(rest, "src/cmd/") || path.Base(rest) == "testdata" || strings.HasSuffix(rest, "_test.go")
}

// goInputs finds a Go of the release that the image's tag names, and this machine's settings for where modules come from.
func goInputs(ctx context.Context, _, image string) (inputs, error) {
	_, wanted, _ := strings.Cut(image, ":")
	version, root, err := goOfRelease(ctx, wanted)
	if err != nil {
		return inputs{}, err
	}
	in := inputs{goDir: root}
	if in.ca, err = os.ReadFile("/etc/ssl/certs/ca-certificates.crt"); err != nil {
		return inputs{}, fmt.Errorf("%w: apt-get install ca-certificates", err)
	}
	untouched := []string{"GOENV=off", "HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE"} {
		value, err := output(ctx, nil, "go", "env", name)
		if err != nil {
			return inputs{}, err
		}
		standard, err := output(ctx, untouched, "go", "env", name)
		if err != nil {
			return inputs{}, err
		}
		if value != standard {
			in.goEnv = append(in.goEnv, name+"="+strings.TrimSpace(value))
		}
	}
	in.key = fmt.Sprintf("%s %s %q %x", version, in.goDir, in.goEnv, in.ca)
	return in, nil
}

// goOfRelease is the version and the root of a Go whose version begins with release: this machine's, or else the one that
// go.mod names, which the go command downloads as it does any toolchain.
func goOfRelease(ctx context.Context, release string) (version, root string, err error) {
	named, err := output(ctx, nil, "go", "list", "-m", "-f", "{{.GoVersion}}")
	if err != nil {
		return "", "", err
	}
	for _, env := range [][]string{nil, append(os.Environ(), "GOTOOLCHAIN=go"+strings.TrimSpace(named))} {
		answer, err := output(ctx, env, "go", "env", "GOVERSION", "GOROOT")
		if err != nil {
			return "", "", err
		}
		version, root, _ = strings.Cut(strings.TrimSpace(answer), "\n")
		if version == "go"+release || strings.HasPrefix(version, "go"+release+".") {
			return version, filepath.Clean(root), nil
		}
	}
	return "", "", fmt.Errorf("there is %s here and no go%s: set GOTOOLCHAIN to a release of it", version, release)
}

// busybox is a shell and small tools in one static program, for tests that need a container that does something simple.
func busybox() recipe {
	return recipe{
		packages: []string{"busybox-static"},
		without:  onlyToInstall(),
		skip:     skipDocs,
		inputs:   nothing,
		files:    func(l *layer, _ inputs) error { return basics(l, "", 0, "") },
		finish:   busyboxLinks,
		config: func(inputs) v1.Config {
			return v1.Config{
				Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				Cmd: []string{"sh"},
			}
		},
	}
}

// busyboxLinks adds a link for each tool, and one in /bin, where the official image has them all. The program itself knows
// which there are.
func busyboxLinks(ctx context.Context, l *layer, debs []string) error {
	dir, err := os.MkdirTemp("", "busybox-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, d := range debs {
		if _, err := output(ctx, nil, "dpkg-deb", "--extract", d, dir); err != nil {
			return err
		}
	}
	list, err := output(ctx, nil, filepath.Join(dir, "bin/busybox"), "--list-full")
	if err != nil {
		return err
	}
	for tool := range strings.Lines(list) {
		name := place(strings.TrimSpace(tool))
		if err := errors.Join(l.link(name, "/bin/busybox"), l.link("usr/bin/"+path.Base(name), "/bin/busybox")); err != nil {
			return err
		}
	}
	return nil
}
