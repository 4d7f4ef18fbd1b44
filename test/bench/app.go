package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// app is the copy of the example that is brought up and changed.
type app struct {
	dir    string
	source string // the Go file with the line that changes, and its first content
	text   string
}

const (
	clusterName = "bench"
	namespace   = "kube-native"
	published   = "14000" // not the example's own 4000: a demo may be running
	pageURL     = "http://127.0.0.1:" + published + "/"
	marker      = "X-Bench" // header that the changed line adds
	anchor      = `w.Header().Set("Cache-Control", "no-store")`
)

func copyExample(ctx context.Context, from, to string) (app, error) {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return app{}, err
	}
	if err := edit(filepath.Join(to, "compose.yaml"), `"4000:4000"`, `"`+published+`:4000"`); err != nil {
		return app{}, err
	}
	a := app{dir: to, source: filepath.Join(to, "internal/web/app.go")}
	text, err := os.ReadFile(a.source)
	if err != nil {
		return app{}, err
	}
	a.text = string(text)
	if !strings.Contains(a.text, anchor) {
		return app{}, fmt.Errorf("%s has no line %s to put the change after", a.source, anchor)
	}
	// As a user has it: in a repository, so that images are tagged with a commit.
	for _, args := range [][]string{
		{"init", "--quiet"}, {"add", "."},
		{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "--message", "example"},
	} {
		git := exec.CommandContext(ctx, "git", args...)
		git.Dir = to
		if out, err := git.CombinedOutput(); err != nil {
			return app{}, fmt.Errorf("git %s: %w\n%s", args[0], err, out)
		}
	}
	return a, nil
}

func edit(path, old, with string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), old) {
		return fmt.Errorf("%s has no %s", path, old)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), old, with, 1)), 0o644)
}

// change makes the page answer with another value of the marker: one changed line of Go.
func (a app) change(value string) error {
	line := fmt.Sprintf("%s\n\tw.Header().Set(%q, %q)", anchor, marker, value)
	return os.WriteFile(a.source, []byte(strings.Replace(a.text, anchor, line, 1)), 0o644)
}

// set gives the page's containers another value of a variable.
func (a app) set(name, value string) error {
	path := filepath.Join(a.dir, "compose.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "      "+name+": ") {
			continue
		}
		lines = append(lines, line)
		if strings.Contains(line, "environment: &environment") {
			lines = append(lines, fmt.Sprintf("      %s: %q\n", name, value))
		}
	}
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "      "+name+": ") }) {
		return fmt.Errorf("%s has no place for a variable", path)
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644)
}

// answers is what was seen of the page while it was watched.
type answers struct {
	at       time.Time // of the first answer that was wanted
	requests int
	failed   int // no answer, or not 200
}

// watch asks the page every few milliseconds, each time on a new connection as a new visitor would, until an answer has
// the wanted value of the marker.
func watch(ctx context.Context, wanted string) (answers, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var seen answers
	for {
		got, err := ask(ctx, client)
		if ctx.Err() != nil {
			return seen, fmt.Errorf("the page never answered as wanted: %w", context.Cause(ctx))
		}
		seen.requests++
		switch {
		case err != nil:
			seen.failed++
		case got == wanted:
			seen.at = time.Now()
			return seen, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// ask gets the page once and returns its marker.
func ask(ctx context.Context, client *http.Client) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, pageURL, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the page answers %s", response.Status)
	}
	return response.Header.Get(marker), nil
}
