package e2e

import (
	"crypto/rand"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// ill is what may be wrong with a registry, or with the way to it.
type ill struct {
	name  string
	host  string   // where it is; HOST:PORT
	login string   // the password that the user has for it; "": none
	says  []string // what perch says
}

// registryIlls puts something in front of the registry for each.
func registryIlls(t *testing.T, w *world) []ill {
	t.Helper()
	down, jammed, cut, open := w.relay(t), w.relay(t), w.relay(t), w.relay(t)
	down.shut()
	jammed.jam()
	cut.breakAfter(1<<20, 1000)
	own := w.ca.issue(t, w.registry.ip).tls(t)
	uploads := func(methods string, status int) func(*http.Request) int {
		return func(r *http.Request) int {
			if strings.Contains(methods, r.Method) && strings.Contains(r.URL.Path, "/blobs/uploads/") {
				return status
			}
			return 0
		}
	}
	forbids := w.front(t, own, uploads(http.MethodPost, http.StatusForbidden))
	full := w.front(t, own, uploads(http.MethodPatch+http.MethodPut, http.StatusInsufficientStorage))
	fails := w.front(t, own, uploads(http.MethodPatch+http.MethodPut, http.StatusServiceUnavailable))
	nothing := func(*http.Request) int { return 0 }
	stranger := w.front(t, newAuthority(t).issue(t, w.registry.ip).tls(t), nothing)
	misnamed := w.front(t, w.ca.issue(t, "registry.example").tls(t), nothing)
	return []ill{
		{"down", down.address, registryPassword, []string{"does not answer", "connection refused"}},
		{"not answering", jammed.address, registryPassword, []string{"does not answer"}},
		{"without a login", open.address, "", []string{"wants a login", "docker login"}},
		{"with a wrong password", w.relay(t).address, "another", []string{"does not accept the login", "docker login"}},
		{"refusing", forbids, registryPassword, []string{"refuses", "403", "right to push"}},
		{"full", full, registryPassword, []string{"no room", "507"}},
		{"failing", fails, registryPassword, []string{"fails", "503"}},
		{"with a certificate of nobody known", stranger, registryPassword, []string{"not trusted", "unknown authority"}},
		{"with a certificate of another name", misnamed, registryPassword, []string{"not its own", "SAN"}},
		{"cut in the middle of a layer", cut.address, registryPassword, []string{"was cut", "run the same command again"}},
	}
}

// testFarRegistryIlls pushes to registries that something is wrong with. Each must be told from the others, and nothing be
// changed in the cluster.
func testFarRegistryIlls(t *testing.T, w *world) {
	w.laptop.load(t, "busybox:1.36")
	random := make([]byte, 8<<20) // cannot be compressed
	if _, err := io.ReadFull(rand.Reader, random); err != nil {
		t.Fatal(err)
	}
	p := w.laptop.project(t, "ills", map[string]string{
		"Dockerfile": "FROM busybox:1.36\nCOPY random /\nCMD [\"httpd\", \"-f\"]\n", "random": string(random),
		"compose.yaml": "services:\n  web: {build: ., expose: [\"80\"], stop_grace_period: 1s}\n",
	})
	ills, before := registryIlls(t, w), w.inventory(t)
	passwords := map[string]string{w.registry.host: registryPassword}
	for _, one := range ills {
		if one.login != "" {
			passwords[one.host] = one.login
		}
	}
	once := w.relay(t)
	once.breakAfter(1<<20, 1)
	passwords[once.address] = registryPassword
	w.laptop.logIn(t, passwords)
	defer w.laptop.logIn(t, map[string]string{w.registry.host: registryPassword})
	up := func(host string) command {
		return command{dir: p.dir, args: []string{"up", "-d", "--context", farContext, "-n", farNamespace, "--registry", host + "/ills"}}
	}
	t.Run("one that is", func(t *testing.T) {
		for _, one := range ills {
			t.Run(one.name, func(t *testing.T) {
				t.Parallel()
				r := w.laptop.want(t, 10, up(one.host))
				wantText(t, r.stderr, append(one.says, one.host, "error: ", "hint: ")...)
				if strings.Contains(r.all(), registryPassword) {
					t.Error("the password is in it")
				}
			})
		}
	})
	w.unchanged(t, before)
	t.Run("cut once, it goes on by itself", func(t *testing.T) {
		r := w.laptop.exec(t.Context(), up(once.address)) // pods may not pull it: no secret is named
		if !slices.Contains(w.registry.repositories(t), "ills/ills-web") {
			t.Errorf("it has %v: %s", w.registry.repositories(t), r)
		}
		w.laptop.want(t, 0, command{dir: p.dir, args: []string{"down", "--volumes", "--yes", "--context", farContext, "-n", farNamespace}})
		w.unchanged(t, before)
	})
}
