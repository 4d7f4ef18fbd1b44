package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// watchRules is an override file beside the example's own: rebuild whatever changes.
const watchRules = `services:
  web:
    develop:
      watch: [{action: rebuild, path: .}]
`

// site is a page of one file that is synced; the example's image has no shell to sync with.
const (
	sitePort = "14001"
	siteURL  = "http://127.0.0.1:" + sitePort + "/"
	siteFile = `name: bench-site
services:
  web:
    image: busybox:1.36
    command: [sh, -c, "mkdir -p /www; exec httpd -f -p 8080 -h /www"]
    ports: ["` + sitePort + `:8080"]
    develop:
      watch: [{action: sync, path: ./www, target: /www, initial_sync: true}]
`
)

// following is a perch watch that runs.
type following struct {
	cmd    *exec.Cmd
	stderr *spoken
}

// spoken is what a program has said so far, for reading while it goes on.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *spoken) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), text)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// follow starts perch watch and returns when it watches.
func (p program) follow(ctx context.Context) (*following, error) {
	f := &following{cmd: exec.CommandContext(ctx, p.path, "watch"), stderr: &spoken{}}
	f.cmd.Dir, f.cmd.Env, f.cmd.Stderr = p.dir, p.env, f.stderr
	f.cmd.Cancel = func() error { return f.cmd.Process.Signal(syscall.SIGINT) }
	f.cmd.WaitDelay = 20 * time.Second
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	if err := f.says(ctx, "watching files of", 1); err != nil {
		return nil, errors.Join(err, f.end())
	}
	return f, nil
}

// says waits until the watch has said the text that often.
func (f *following) says(ctx context.Context, text string, times int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("nothing after %s", patient))
	defer cancel()
	for f.stderr.count(text) < times {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("perch watch never said %q: %w\n%s", text, err, f.stderr)
		}
	}
	return nil
}

// end ends the watch as Ctrl-C does.
func (f *following) end() error {
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return f.cmd.Wait()
}

// watchRebuild measures one changed line of Go to the new version's answer, under perch watch.
func (b *bench) watchRebuild(ctx context.Context, r *report) (err error) {
	rules := filepath.Join(b.app.dir, "compose.override.yaml")
	if err := os.WriteFile(rules, []byte(watchRules), 0o644); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(rules)) }()
	f, err := b.perch.follow(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	return b.eachChange(ctx, r, "watch, one changed line of Go, by rebuild: page answers", nil, func(round int) error {
		return f.says(ctx, "watch web: rebuilt", round+1)
	})
}

// eachChange changes the line in each round and measures until the page shows it. deploy brings the change about, and done
// ends a round; both may be nil.
func (b *bench) eachChange(ctx context.Context, r *report, name string, deploy func() error, done func(round int) error) error {
	began := strconv.FormatInt(time.Now().UnixNano(), 36)
	for round := range b.rounds {
		value := began + "-" + strconv.Itoa(round)
		at := time.Now()
		if err := b.app.change(value); err != nil {
			return err
		}
		if deploy != nil {
			if err := deploy(); err != nil {
				return err
			}
		}
		limited, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("nothing after %s", patient))
		seen, err := watch(limited, value)
		cancel()
		if err != nil {
			return err
		}
		r.seconds(name, seen.at.Sub(at))
		if done != nil {
			if err := done(round); err != nil {
				return err
			}
		}
	}
	return nil
}

// watchSync measures one changed file to its answer, under perch watch.
func (b *bench) watchSync(ctx context.Context, r *report) (err error) {
	p, err := b.beside("site", map[string]string{"compose.yaml": siteFile, "www/index.html": "begin"})
	if err != nil {
		return err
	}
	page := filepath.Join(p.dir, "www", "index.html")
	f, err := p.follow(ctx)
	if err != nil {
		return err
	}
	defer func() {
		_, derr := p.run(context.WithoutCancel(ctx), "down", "--yes")
		err = errors.Join(err, derr)
	}()
	defer func() { err = errors.Join(err, f.end()) }()
	for round := range b.rounds {
		text := "round " + strconv.Itoa(round)
		at := time.Now()
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			return err
		}
		limited, cancel := context.WithTimeoutCause(ctx, patient, fmt.Errorf("nothing after %s", patient))
		err := awaitText(limited, siteURL, text)
		cancel()
		if err != nil {
			return err
		}
		r.seconds("watch, one synced file: page answers", time.Since(at))
	}
	return nil
}

// beside is perch in a folder of its own beside the example, with these files.
func (b *bench) beside(name string, files map[string]string) (program, error) {
	p := b.perch
	p.dir = filepath.Join(filepath.Dir(b.app.dir), name)
	for file, text := range files {
		path := filepath.Join(p.dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return p, err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return p, err
		}
	}
	return p, nil
}

// awaitText asks a page until it answers with the text.
func awaitText(ctx context.Context, url, text string) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if response, err := client.Do(request); err == nil {
			got, err := io.ReadAll(response.Body)
			_ = response.Body.Close() // it was read
			if err == nil && string(got) == text {
				return nil
			}
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}
