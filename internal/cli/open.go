package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/render"
	"github.com/perch-k8s/perch/internal/ui"
)

func newOpenCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:   "open [SERVICE]",
		Short: "Open a service in the browser: the first one with a published HTTP port, or the one that is named",
		Example: "perch open\n" +
			"BROWSER=firefox perch open web",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeFirstService,
		Annotations:       exits("1 not published, 2 usage, 11 Compose file, 15 no cluster"),
	}, a.open)
}

func (a *app) open(ctx context.Context, services []string) error {
	l, err := a.live(ctx, services)
	if err != nil {
		return err
	}
	service := strings.Join(services, "")
	ports, err := l.published(ctx, service)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(ports, func(p kube.PublishedPort) bool {
		return p.Protocol == "tcp" && p.Host != "" && render.Browsable(p.Private)
	})
	if i < 0 {
		what := "no service publishes a port"
		if service != "" {
			what = "service " + service + " publishes no port"
		}
		return fault.New(fault.Other, "see what answers where: perch ps, perch port SERVICE", "%s that a browser can open", what)
	}
	url := pageOf(ports[i])
	browser := a.browser(url)
	if a.globals.output != ui.FormatDefault || a.globals.dryRun || browser == nil {
		return a.printURL(ports[i].Service, url)
	}
	// Its context is not ours: the browser stays.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), browser[0], browser[1:]...) //nolint:gosec // the user's own program
	cmd.Env, cmd.Stderr = a.env.Environ, a.env.Err
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Other, "open it yourself: "+url, "browser %s: %w", browser[0], err)
	}
	a.note("opened %s", url)
	return cmd.Process.Release()
}

func (a *app) printURL(service, url string) error {
	if a.globals.forPeople() {
		a.say("%s", url)
		return nil
	}
	return a.result(ui.Result{Names: []string{url}, Value: struct {
		Service string `json:"service"`
		URL     string `json:"url"`
	}{service, url}})
}

// pageOf is the address of a port for a browser.
func pageOf(p kube.PublishedPort) string {
	scheme := "http"
	if p.Private == 443 || p.Private == 8443 {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s/", scheme, address(p))
}

// browser is the command that opens a URL: the first of BROWSER's that is there, a list of commands as PATH is in which %s
// stands for the URL; else what opens things on this system; nil when there is none, or no screen to show it on.
func (a *app) browser(url string) []string {
	for _, command := range filepath.SplitList(a.env.getenv("BROWSER")) {
		words := strings.Fields(command)
		if len(words) == 0 || a.lookPath(words[0]) == "" {
			continue
		}
		words[0] = a.lookPath(words[0])
		if !strings.Contains(command, "%s") {
			return append(words, url)
		}
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "%s", url)
		}
		return words
	}
	opener := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		opener = "open"
	case a.env.getenv("DISPLAY") == "" && a.env.getenv("WAYLAND_DISPLAY") == "":
		return nil
	}
	if path := a.lookPath(opener); path != "" {
		return []string{path, url}
	}
	return nil
}

// lookPath finds a program in the PATH of the environment that we were given, "" when it is not there.
func (a *app) lookPath(name string) string {
	dirs := filepath.SplitList(a.env.getenv("PATH"))
	if strings.ContainsRune(name, filepath.Separator) {
		dirs = []string{""}
	}
	for _, dir := range dirs {
		path := a.absolute(filepath.Join(dir, name))
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}
