package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// spy looks at the command lines of all processes again and again, since most live short.
type spy struct {
	mu    sync.Mutex
	looks int
	found map[string]bool
}

func startSpy(t *testing.T, secret string) *spy {
	t.Helper()
	s := &spy{found: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				s.look(secret)
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return s
}

func (s *spy) look(secret string) {
	all := processes()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	for _, p := range all {
		if line := strings.Join(p.args, " "); strings.Contains(line, secret) {
			s.found[line] = true
		}
	}
}

// testSecrets looks for the database's password wherever it must not be.
func testSecrets(t *testing.T, a *app, s *spy) {
	a.ensure(t)
	// More words than usual, and in every form.
	a.replace(t, "compose.yaml", `PEERS_HOST: web-pods`, "SHUTDOWN_TIMEOUT: 14s\n      PEERS_HOST: web-pods")
	a.perchApp(t, "up", "-d", "--debug")
	a.perchApp(t, "up", "--dry-run", "--debug")
	a.perchApp(t, "ps", "--debug", "-o", "json")
	a.perchApp(t, "logs", "--debug")
	a.perchApp(t, "helm", "list", "-A", "--debug")
	t.Run("it is in force", func(t *testing.T) { // or the rest would prove nothing
		secrets, err := a.node.api.CoreV1().Secrets(a.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, one := range secrets.Items {
			for _, value := range one.Data {
				found = found || strings.Contains(string(value), password)
			}
		}
		if !found {
			t.Error("no Secret has the password")
		}
	})
	t.Run("not in the node's logs", func(t *testing.T) {
		logs, err := filepath.Glob(filepath.Join(a.folder(), "log", "*"))
		if err != nil || len(logs) == 0 {
			t.Fatalf("there are no logs: %v", err)
		}
		for _, log := range logs {
			for i, line := range linesOf(t, log) {
				if leaks(line) {
					t.Errorf("%s:%d: %s", log, i+1, line)
				}
			}
		}
	})
	t.Run("not in what perch printed", func(t *testing.T) {
		for _, run := range a.said.all() {
			if leaks(run) {
				t.Error(run)
			}
		}
	})
	t.Run("not in arguments of processes", func(t *testing.T) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.looks < 20 {
			t.Errorf("there were only %d looks", s.looks)
		}
		for line := range s.found {
			t.Error(line)
		}
	})
	t.Run("not in objects that are no Secrets", func(t *testing.T) { testObjectsHideSecrets(t, a) })
	t.Run("not readable at rest", func(t *testing.T) {
		if found := filesWith(t, filepath.Join(a.folder(), "kubernetes"), password); len(found) > 0 {
			t.Errorf("it is in %v", found)
		}
	})
	t.Run("kubeconfigs are private", func(t *testing.T) {
		for _, file := range append(filesWith(t, a.folder(), "client-key-data"), a.kubeconfig) {
			if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", file, info.Mode(), err)
			}
		}
	})
}

// testObjectsHideSecrets looks at all objects that people may be let read who may not read Secrets.
func testObjectsHideSecrets(t *testing.T, a *app) {
	ctx, all := t.Context(), metav1.ListOptions{}
	look := func(kind string, list any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if leaks(string(data)) {
			t.Errorf("it is in the %s", kind)
		}
	}
	everywhere := corev1.NamespaceAll
	configMaps, err := a.node.api.CoreV1().ConfigMaps(everywhere).List(ctx, all)
	look("ConfigMaps", configMaps, err)
	pods, err := a.node.api.CoreV1().Pods(everywhere).List(ctx, all)
	look("Pods", pods, err)
	events, err := a.node.api.CoreV1().Events(everywhere).List(ctx, all)
	look("Events", events, err)
	deployments, err := a.node.api.AppsV1().Deployments(everywhere).List(ctx, all)
	look("Deployments", deployments, err)
	stateful, err := a.node.api.AppsV1().StatefulSets(everywhere).List(ctx, all)
	look("StatefulSets", stateful, err)
	jobs, err := a.node.api.BatchV1().Jobs(everywhere).List(ctx, all)
	look("Jobs", jobs, err)
	leases, err := a.node.api.CoordinationV1().Leases(everywhere).List(ctx, all)
	look("Leases", leases, err)
}

// leaks says whether the password is in a text, as it is or in base64.
func leaks(text string) bool {
	for _, form := range encoded(password) {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// encoded are the ways in which a secret may be in a text: as it is, and in base64 as a part of something longer, which
// may begin at any of three places in a group. Characters that hold bits of the neighbours are left out.
func encoded(secret string) []string {
	forms := []string{secret}
	for before := range 3 {
		padded := strings.Repeat(" ", before) + secret
		from, to := (before*8+5)/6, len(padded)*8/6
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, e.EncodeToString([]byte(padded))[from:to])
		}
	}
	return forms
}

func linesOf(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(fmt.Errorf("a log: %w", err))
	}
	return strings.Split(string(data), "\n")
}
