package kubeconfig

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

const nodeConfig = `apiVersion: v1
kind: Config
current-context: admin
contexts: [{name: admin, context: {cluster: node, user: admin}}]
clusters: [{name: node, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: admin, user: {token: x}}]
`

const otherConfig = `apiVersion: v1
kind: Config
current-context: prod
contexts: [{name: prod, context: {cluster: prod, user: me, namespace: shop}}]
clusters: [{name: prod, cluster: {server: "https://prod.example"}}]
users: [{name: me, user: {token: other}}]
`

func TestMergeAndRemove(t *testing.T) {
	t.Parallel()
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), ".kube", "config")
		if err := Merge(t.Context(), file, "perch", []byte(nodeConfig)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("mode %v, %v", info, err)
		}
		config, err := clientcmd.LoadFromFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if config.CurrentContext != "perch" || config.Clusters["perch"].Server != "https://127.0.0.1:6443" || config.AuthInfos["perch"].Token != "x" {
			t.Errorf("got %+v", config)
		}
		if err := Remove(t.Context(), file, "perch"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Error("a file with nothing in it is left")
		}
	})
	t.Run("beside another cluster", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(otherConfig), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Merge(t.Context(), file, "perch", []byte(nodeConfig)); err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.LoadFromFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if config.CurrentContext != "prod" || config.Contexts["prod"].Namespace != "shop" || config.Contexts["perch"] == nil {
			t.Errorf("the other cluster's entry changed: %+v", config)
		}
		if err := Remove(t.Context(), file, "perch"); err != nil {
			t.Fatal(err)
		}
		config, err = clientcmd.LoadFromFile(file)
		if err != nil || len(config.Contexts) != 1 || config.CurrentContext != "prod" {
			t.Errorf("got %+v, %v", config, err)
		}
	})
	t.Run("again it keeps the namespace that was chosen", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "config")
		before := strings.Replace(nodeConfig, "6443", "7443", 1)
		if err := Merge(t.Context(), file, "perch", []byte(before)); err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.LoadFromFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config.Contexts["perch"].Namespace = "shop" // as kubectl config set-context --namespace does
		if err := clientcmd.WriteToFile(*config, file); err != nil {
			t.Fatal(err)
		}
		if err := Merge(t.Context(), file, "perch", []byte(nodeConfig)); err != nil {
			t.Fatal(err)
		}
		if config, err = clientcmd.LoadFromFile(file); err != nil {
			t.Fatal(err)
		}
		if got := config.Contexts["perch"].Namespace; got != "shop" || config.Clusters["perch"].Server != "https://127.0.0.1:6443" {
			t.Errorf("namespace %q, server %s", got, config.Clusters["perch"].Server)
		}
	})
	t.Run("a broken file is not replaced", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte("{broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Merge(t.Context(), file, "perch", []byte(nodeConfig)); err == nil {
			t.Error("no error")
		}
		if data, _ := os.ReadFile(file); string(data) != "{broken" {
			t.Errorf("the file is now %q", data)
		}
	})
}

func TestLock(t *testing.T) {
	t.Parallel()
	t.Run("a stale lock is broken", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "config")
		for _, age := range []time.Duration{time.Minute, -24 * time.Hour} { // the clock was a day ahead when it was made
			if err := os.WriteFile(file+".lock", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			made := time.Now().Add(-age)
			if err := os.Chtimes(file+".lock", made, made); err != nil {
				t.Fatal(err)
			}
			if err := Merge(t.Context(), file, "perch", []byte(nodeConfig)); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(file + ".lock"); !errors.Is(err, os.ErrNotExist) {
				t.Error("the lock is still there")
			}
		}
	})
	t.Run("many at once lose nothing", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "config")
		var all sync.WaitGroup
		names := []string{"a", "b", "c", "d", "e", "f"}
		for _, name := range names {
			all.Go(func() {
				if err := Merge(t.Context(), file, name, []byte(nodeConfig)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		config, err := clientcmd.LoadFromFile(file)
		if err != nil || len(config.Contexts) != len(names) {
			t.Errorf("%d contexts, %v", len(config.Contexts), err)
		}
	})
}
