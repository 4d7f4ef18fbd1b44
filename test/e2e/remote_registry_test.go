package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The login at the registry. The password is nothing else's name, so that finding it anywhere means that it leaked.
const (
	registryUser     = "shop"
	registryPassword = "Qn3-e2e-registry-Yk8"
)

// farRegistry is distribution, which the registries of the world are made of, in the network between this machine and the
// far cluster. Both know it by the same address, over TLS with a certificate of the company's own authority.
type farRegistry struct {
	ip      string
	host    string // IP:PORT, which images are named after
	process *exec.Cmd
	storage string
	client  http.Client
}

const registryConfig = `version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
auth:
  htpasswd: {realm: test, path: %q}
http:
  addr: %q
  tls: {certificate: %q, key: %q}
`

// startRegistry starts one in the network namespace outside of the far cluster, that this machine has a wire to.
func startRegistry(t *testing.T, root, dir, ip string, in *space, ca authority) *farRegistry {
	t.Helper()
	r := &farRegistry{ip: ip, host: net.JoinHostPort(ip, "5443"), storage: filepath.Join(dir, "storage")}
	if err := os.MkdirAll(r.storage, 0o700); err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := ca.issue(t, ip).write(t, dir)
	passwords, config := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "config.yml")
	for file, text := range map[string]string{
		passwords: registryUser + ":" + string(hash) + "\n",
		config:    fmt.Sprintf(registryConfig, r.storage, passwords, r.host, cert, key),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.client = http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: clientTLS(ca.trusting(), "")}}
	log, err := os.Create(filepath.Join(dir, "registry.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	r.process = exec.Command(tool(t, root, "registry"), "serve", config)
	r.process.Stdout, r.process.Stderr = log, log
	r.process.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := in.outside.Do(r.process.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.process.Process.Kill()
		_ = r.process.Wait()
	})
	eventually(t, 20*time.Second, "the registry asks for a password", func(ctx context.Context) error {
		status, _, err := r.get(ctx, "/v2/", "", "")
		if err == nil && status != http.StatusUnauthorized {
			err = fmt.Errorf("it answers with status %d", status)
		}
		return err
	})
	return r
}

// get asks the registry from this machine.
func (r *farRegistry) get(ctx context.Context, path, user, password string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.host+path, nil)
	if err != nil {
		return 0, "", err
	}
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// repositories are the names that the registry has images of.
func (r *farRegistry) repositories(t *testing.T) []string {
	t.Helper()
	var list struct{ Repositories []string }
	status, body, err := r.get(t.Context(), "/v2/_catalog", registryUser, registryPassword)
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return list.Repositories
}

// login is Docker's config.json with a password for each host.
func login(t *testing.T, passwords map[string]string) []byte {
	t.Helper()
	type entry struct {
		Auth string `json:"auth"`
	}
	auths := map[string]entry{}
	for host, password := range passwords {
		auths[host] = entry{base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + password))}
	}
	data, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// logIn is `docker login` of the user at the registries.
func (u *user) logIn(t *testing.T, passwords map[string]string) {
	t.Helper()
	dir := filepath.Join(u.home, ".docker")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), login(t, passwords), 0o600); err != nil {
		t.Fatal(err)
	}
}
