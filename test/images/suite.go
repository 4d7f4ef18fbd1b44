package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// suiteRegistry is before the names of the images of Kubernetes' own end-to-end suite, which "make conformance" runs. It is
// told that they are of this registry, which nobody has. Their programs are built from the same Go modules as the suite
// itself (test/conformance/suite), their tools are Debian's, and their tags are of the suite's choosing.
const suiteRegistry = "conformance.test/"

// suiteRecipes by image name, without registry and tag: what the conformance tests use. The DNS server, the registry and
// iperf that agnhost has upstream are for other tests.
func suiteRecipes() map[string]recipe {
	return map[string]recipe{
		"agnhost":           agnhost(),
		"busybox":           suiteBusybox(),
		"etcd":              oneProgram("usr/local/bin/etcd", "go.etcd.io/etcd/server/v3", v1.Config{Env: []string{usualPath}, Cmd: []string{"etcd"}}),
		"glibc-dns-testing": glibcDNS(),
		"kitten":            pages("kitten"),
		"nautilus":          pages("nautilus"),
		"nginx":             nginx(),
		"nonewprivs":        noNewPrivs(),
		"nonroot":           nonRoot(),
		"pause":             pause(),
		"sample-apiserver":  oneProgram("sample-apiserver", "k8s.io/sample-apiserver", v1.Config{Entrypoint: []string{"/sample-apiserver"}}),
	}
}

// suiteFiles are what an image has of this machine. All map a path in the image to where it comes from.
type suiteFiles struct {
	programs map[string]string // packages of Go
	pages    map[string]string // files of the module k8s.io/kubernetes
	c        map[string]string // C sources of this repository, each a program
}

// suiteInputs builds the programs, static, into the folder "programs" of dir, and finds the other files.
func suiteInputs(f suiteFiles) func(ctx context.Context, dir, image string) (inputs, error) {
	return func(ctx context.Context, dir, _ string) (inputs, error) {
		in := inputs{copies: map[string]string{}}
		root, err := output(ctx, nil, "go", "list", "-m", "-f", "{{.Dir}}")
		if err != nil {
			return in, err
		}
		root = strings.TrimSpace(root)
		suite := filepath.Join(root, "test/conformance/suite")
		for _, target := range sortedKeys(f.programs) {
			file := filepath.Join(dir, "programs", path.Base(target))
			static := append(os.Environ(), "CGO_ENABLED=0")
			if _, err := output(ctx, static, "go", "-C", suite, "build", "-buildvcs=false", "-ldflags=-s -w", "-o", file, f.programs[target]); err != nil {
				return in, err
			}
			in.copies[target] = file
		}
		for _, target := range sortedKeys(f.c) {
			file := filepath.Join(dir, "programs", path.Base(target))
			if _, err := output(ctx, nil, "gcc", "-static", "-Os", "-s", "-o", file, filepath.Join(root, f.c[target])); err != nil {
				return in, err
			}
			in.copies[target] = file
		}
		if len(f.pages) > 0 {
			kubernetes, err := output(ctx, nil, "go", "-C", suite, "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
			if err != nil {
				return in, err
			}
			for target, file := range f.pages {
				in.copies[target] = filepath.Join(strings.TrimSpace(kubernetes), file)
			}
		}
		return in, in.hash()
	}
}

// hash makes the key of what the copies contain.
func (in *inputs) hash() error {
	for _, target := range sortedKeys(in.copies) {
		content, err := os.ReadFile(in.copies[target])
		if err != nil {
			return err
		}
		in.key += fmt.Sprintf("%s %x\n", target, sha256.Sum256(content))
	}
	return nil
}

func addCopies(l *layer, in inputs) error {
	for _, target := range sortedKeys(in.copies) {
		info, err := os.Stat(in.copies[target])
		if err != nil {
			return err
		}
		if err := l.copyFile(in.copies[target], target, info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// agnhost is a shell with the tools that tests call by name, and one program that is many servers and clients.
func agnhost() recipe { return agnhostWith(nil, "pause") }

// pages is agnhost that serves a picture.
func pages(name string) recipe {
	folder := path.Join("test/images", name, "html")
	files := map[string]string{name + ".jpg": path.Join(folder, name+".jpg"), "data.json": path.Join(folder, "data.json")}
	return agnhostWith(files, "test-webserver")
}

func agnhostWith(files map[string]string, command string) recipe {
	from := suiteFiles{
		programs: map[string]string{"agnhost": "k8s.io/kubernetes/test/images/agnhost"},
		pages: map[string]string{
			"localhost.crt": "test/images/agnhost/porter/localhost.crt", "localhost.key": "test/images/agnhost/porter/localhost.key",
		},
	}
	for target, file := range files {
		from.pages[target] = file
	}
	return recipe{
		packages: []string{"bash", "bind9-dnsutils", "busybox-static", "curl", "iproute2", "libc-bin", "netcat-openbsd", "socat"},
		without:  append(onlyToInstall(), "krb5-locales"),
		skip:     skipDocs,
		inputs:   suiteInputs(from),
		files: func(l *layer, in inputs) error {
			return errors.Join(
				// A test looks for this user, and for the group that it belongs to in the image alone.
				l.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nuser-defined-in-image:x:1000:1000::/home/user:/bin/sh\n"+
					"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")),
				l.file("etc/group", 0o644, []byte("root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n")),
				basics(l, "", 0, ""),
				addCopies(l, in),
				l.link("agnhost-2", "agnhost"), // for tests that run another program than the image's
				l.link("usr/bin/nc", "nc.openbsd"),
				l.link("usr/bin/sh", "bash"), // busybox's would run its own nc, whatever is on the PATH
				l.folder("uploads", 0o755, 0),
			)
		},
		finish: busyboxLinks,
		config: func(inputs) v1.Config {
			ports := map[string]struct{}{}
			for _, port := range []string{"80/tcp", "5000/tcp", "8080/tcp", "8081/tcp", "9376/tcp"} {
				ports[port] = struct{}{}
			}
			return v1.Config{Env: []string{usualPath}, Entrypoint: []string{"/agnhost"}, Cmd: []string{command}, ExposedPorts: ports}
		},
	}
}

// suiteBusybox has two shells. The one of Debian's busybox does not hand on variables like "data-1", which Kubernetes
// allows, to the programs that it starts: tests that look for them say "sh". One that looks for a message of busybox's says
// "/bin/sh".
func suiteBusybox() recipe {
	r := busybox()
	r.packages = append(r.packages, "bash")
	r.files = func(l *layer, _ inputs) error {
		return errors.Join(basics(l, "", 0, ""), l.link("usr/local/bin/sh", "/bin/bash"))
	}
	return r
}

// glibcDNS asks names as programs with glibc do.
func glibcDNS() recipe {
	r := busybox()
	r.packages = []string{"bind9-dnsutils", "busybox-static", "libc-bin"}
	r.without = append(onlyToInstall(), "krb5-locales")
	return r
}

// oneProgram has nothing but a static program.
func oneProgram(target, goPackage string, config v1.Config) recipe {
	return programOnly(suiteFiles{programs: map[string]string{target: goPackage}}, config)
}

// pause is the program of the node's own pods' sandboxes.
func pause() recipe {
	return programOnly(suiteFiles{c: map[string]string{"pause": "internal/node/assets/pause/pause.c"}},
		v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"})
}

func programOnly(f suiteFiles, config v1.Config) recipe {
	return recipe{
		skip:   skipDocs,
		inputs: suiteInputs(f),
		files: func(l *layer, in inputs) error {
			return errors.Join(l.folder("tmp", 0o1777, 0), l.folder("etc", 0o755, 0), addCopies(l, in))
		},
		config: func(inputs) v1.Config { return config },
	}
}

// noNewPrivs has a program that would run as root whoever starts it.
func noNewPrivs() recipe {
	const program = "usr/local/bin/nnp"
	r := suiteBusybox()
	r.inputs = suiteInputs(suiteFiles{programs: map[string]string{program: "k8s.io/kubernetes/test/images/nonewprivs"}})
	r.files = func(l *layer, in inputs) error {
		content, err := os.ReadFile(in.copies[program])
		if err != nil {
			return err
		}
		return errors.Join(l.file(program, 0o4755, content), suiteBusybox().files(l, in))
	}
	r.config = func(inputs) v1.Config { return v1.Config{Env: []string{usualPath}, Cmd: []string{"nnp"}} }
	return r
}

func nonRoot() recipe {
	r := suiteBusybox()
	r.config = func(inputs) v1.Config { return v1.Config{Env: []string{usualPath}, Cmd: []string{"sh"}, User: "1234"} }
	return r
}
