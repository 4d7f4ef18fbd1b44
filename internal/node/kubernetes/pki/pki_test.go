package pki_test

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/node/kubernetes/pki"
)

const day = 24 * time.Hour

func request() pki.Request {
	return pki.Request{
		NodeName:  "node-1",
		NodeIP:    net.IPv4(192, 0, 2, 7),
		ServerIPs: []net.IP{net.IPv4(10, 43, 0, 1)},
		ServerDNS: []string{"kubernetes"},
		Server:    "https://127.0.0.1:6443",
		Now:       time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func ensure(t *testing.T, dir string, r pki.Request) pki.Files {
	t.Helper()
	f, err := pki.Ensure(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 {
		t.Fatalf("%s: not one PEM block", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// contents is every file of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

// changed is the names of files that differ.
func changed(before, after map[string]string) map[string]bool {
	names := map[string]bool{}
	for name, data := range after {
		if before[name] != data {
			names[name] = true
		}
	}
	return names
}

func TestEnsureMakesCertificatesThatVerify(t *testing.T) {
	t.Parallel()
	r := request()
	f := ensure(t, filepath.Join(t.TempDir(), "pki"), r)
	roots := func(name string) *x509.CertPool {
		p := x509.NewCertPool()
		p.AddCert(certificate(t, f.Cert(name)))
		return p
	}
	tests := []struct {
		name, signer, user, group string
		usage                     x509.ExtKeyUsage
		hosts                     []string
	}{
		{pki.APIServer, pki.CA, "kube-apiserver", "", x509.ExtKeyUsageServerAuth,
			[]string{"127.0.0.1", "192.0.2.7", "10.43.0.1", "localhost", "node-1", "kubernetes"}},
		{pki.Kubelet, pki.CA, "system:node:node-1", "system:nodes", x509.ExtKeyUsageServerAuth, []string{"127.0.0.1", "192.0.2.7", "node-1"}},
		{pki.Kubelet, pki.CA, "system:node:node-1", "system:nodes", x509.ExtKeyUsageClientAuth, nil},
		{pki.KubeletClient, pki.CA, "perch:kubelet-client", "system:masters", x509.ExtKeyUsageClientAuth, nil},
		{pki.FrontProxy, pki.FrontProxyCA, "front-proxy-client", "", x509.ExtKeyUsageClientAuth, nil},
		{pki.Admin, pki.CA, "perch:admin", "system:masters", x509.ExtKeyUsageClientAuth, nil},
		{pki.Controllers, pki.CA, "system:kube-controller-manager", "system:masters", x509.ExtKeyUsageClientAuth, nil},
		{pki.Scheduler, pki.CA, "system:kube-scheduler", "system:masters", x509.ExtKeyUsageClientAuth, nil},
		{pki.Proxy, pki.CA, "system:kube-proxy", "system:masters", x509.ExtKeyUsageClientAuth, nil},
		{pki.DNS, pki.CA, "perch:dns", "system:masters", x509.ExtKeyUsageClientAuth, nil},
		{pki.Storage, pki.CA, "perch:storage", "system:masters", x509.ExtKeyUsageClientAuth, nil},
	}
	for _, tt := range tests {
		c := certificate(t, f.Cert(tt.name))
		for _, now := range []time.Time{r.Now.Add(-364 * day), r.Now.Add(364 * day)} { // the clock may be set back, or never have been right
			_, err := c.Verify(x509.VerifyOptions{Roots: roots(tt.signer), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{tt.usage}})
			if err != nil {
				t.Errorf("%s at %s: %v", tt.name, now, err)
			}
		}
		if got := c.Subject.CommonName + "," + strings.Join(c.Subject.Organization, ","); got != tt.user+","+tt.group {
			t.Errorf("%s: subject %s", tt.name, got)
		}
		for _, host := range tt.hosts {
			if err := c.VerifyHostname(host); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
	if got := certificate(t, f.Cert(pki.CA)).NotAfter.Sub(r.Now); got != 3650*day {
		t.Errorf("life of the authority: %s", got)
	}
}

func TestEnsureKeepsKeysToItself(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pki")
	ensure(t, dir, request())
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestEnsureAgain(t *testing.T) {
	t.Parallel()
	leaf := func(name string) []string { return []string{name + ".crt", name + ".key"} }
	everyLeaf := map[string]bool{}
	for _, name := range []string{
		pki.APIServer, pki.FrontProxy, pki.KubeletClient, pki.Kubelet, pki.Admin, pki.Controllers, pki.Scheduler, pki.Proxy, pki.DNS, pki.Storage, pki.Metrics,
	} {
		for _, file := range leaf(name) {
			everyLeaf[file] = true
		}
	}
	set := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	tests := map[string]struct {
		edit func(t *testing.T, f pki.Files, r *pki.Request)
		want map[string]bool
	}{
		"the same":     {func(*testing.T, pki.Files, *pki.Request) {}, set()},
		"in winter":    {func(_ *testing.T, _ pki.Files, r *pki.Request) { r.Now = r.Now.Add(240 * day) }, set()},
		"near the end": {func(_ *testing.T, _ pki.Files, r *pki.Request) { r.Now = r.Now.Add(246 * day) }, everyLeaf},
		"another address": {
			func(_ *testing.T, _ pki.Files, r *pki.Request) { r.NodeIP = net.IPv4(192, 0, 2, 8) },
			set("apiserver.crt", "apiserver.key", "kubelet.crt", "kubelet.key"),
		},
		"another name of the server": {
			func(_ *testing.T, _ pki.Files, r *pki.Request) { r.ServerDNS = append(r.ServerDNS, "perch.local") },
			set("apiserver.crt", "apiserver.key"),
		},
		"half written": {
			func(t *testing.T, f pki.Files, _ *pki.Request) {
				if err := os.WriteFile(f.Cert(pki.Scheduler), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			set("scheduler.crt", "scheduler.key"),
		},
		"killed between key and certificate": {
			func(t *testing.T, f pki.Files, _ *pki.Request) {
				data, err := os.ReadFile(f.Key(pki.Admin))
				if err == nil {
					err = os.WriteFile(f.Key(pki.DNS), data, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			set("dns.crt", "dns.key"),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := request()
			f := ensure(t, dir, r)
			before := contents(t, dir)
			tt.edit(t, f, &r)
			ensure(t, dir, r)
			got := changed(before, contents(t, dir))
			for name := range got {
				if !tt.want[name] {
					t.Errorf("%s was made again", name)
				}
			}
			if len(tt.want) > 0 && len(got) == 0 {
				t.Error("nothing was made again")
			}
		})
	}
}

func TestEnsureMakesAnAuthorityThatWasNeverFinished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := ensure(t, dir, request())
	if err := os.Remove(f.Cert(pki.CA)); err != nil { // killed after the key
		t.Fatal(err)
	}
	ensure(t, dir, request())
	if err := certificate(t, f.Cert(pki.Admin)).CheckSignatureFrom(certificate(t, f.Cert(pki.CA))); err != nil {
		t.Error(err)
	}
}

func TestEnsureNeverReplacesAnAuthority(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := ensure(t, dir, request())
	if err := os.Remove(f.Key(pki.CA)); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Ensure(dir, request()); err == nil || !strings.Contains(err.Error(), f.Cert(pki.CA)) {
		t.Errorf("error: %v", err)
	}
}

func TestAdminKubeconfig(t *testing.T) {
	t.Parallel()
	f := ensure(t, t.TempDir(), request())
	data, err := f.AdminKubeconfig("https://127.0.0.1:16443")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:16443" || len(config.CAData) == 0 || len(config.CertData) == 0 || len(config.KeyData) == 0 {
		t.Errorf("host %s, or a certificate that is not inside", config.Host)
	}
	if strings.Contains(string(data), string(f)) {
		t.Error("it refers to files of the node")
	}
	if _, err := pki.Files(t.TempDir()).AdminKubeconfig("https://127.0.0.1:1"); err == nil {
		t.Error("no error without a node")
	}
}

func TestEncryptionConfigurationHasItsOwnKey(t *testing.T) {
	t.Parallel()
	read := func() string {
		data, err := os.ReadFile(ensure(t, t.TempDir(), request()).Encryption())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if a := read(); cmp.Equal(a, read()) || !strings.Contains(a, "secretbox") {
		t.Error("two nodes with one key, or no key")
	}
}
