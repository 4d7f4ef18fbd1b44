// Package pki is the node's certificate authority: the keys, certificates and kubeconfig files by which the parts of
// the embedded Kubernetes know each other, kept as files in one directory (0700, keys 0600).
//
// Ensure makes what is missing and re-issues what no longer fits; it never replaces an authority that can still be
// read, because every kubeconfig a user holds would end with it. The package starts nothing and talks to nobody.
package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/perch-k8s/perch/internal/node/files"
)

// How long certificates live. A leaf is re-issued at a start within its last renewBefore, so that a node which is
// restarted now and then never meets the end of one.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	renewBefore   = 120 * 24 * time.Hour
)

// ValidBefore is how long before its making everything signed here is valid: what was made by a clock that was ahead must not
// be void when that is set right.
const ValidBefore = 365 * 24 * time.Hour

// The names of the certificates, which are those of their files: NAME.crt and NAME.key.
const (
	CA            = "ca"             // signs every certificate but FrontProxy
	FrontProxyCA  = "front-proxy-ca" // signs FrontProxy alone: whom it signs may speak for any user
	APIServer     = "apiserver"
	FrontProxy    = "front-proxy"    // the API server's identity towards aggregated API servers
	KubeletClient = "kubelet-client" // the API server's identity towards the kubelet
	Kubelet       = "kubelet"        // the node's identity, both as a client and as a server
	Admin         = "admin"
	Controllers   = "controller-manager"
	Scheduler     = "scheduler"
	Proxy         = "kube-proxy"
	DNS           = "dns"
	Storage       = "storage"
	Metrics       = "metrics" // the metrics API's identity, both as a client and as a server
)

// MetricsServer is the name by which the API server knows the metrics API's certificate.
const MetricsServer = "metrics-server.kube-system.svc"

// The parts of the control plane have names of their own, for the records, but the rights of the administrator: they
// are one process, which holds all keys, so lesser rights would protect nothing, and they need not wait for the RBAC
// roles to be written. The node alone has its lesser rights, which is how it is told from the rest.
const masters = "system:masters"

const (
	serviceAccountKey = "service-account.key"
	encryptionFile    = "encryption.yaml"
)

// Files is where everything lies. It is a directory, and knows the names in it.
type Files string

// Cert is the path of a certificate.
func (f Files) Cert(name string) string { return filepath.Join(string(f), name+".crt") }

// Key is the path of a certificate's private key.
func (f Files) Key(name string) string { return filepath.Join(string(f), name+".key") }

// Kubeconfig is the path of the kubeconfig that uses both.
func (f Files) Kubeconfig(name string) string { return filepath.Join(string(f), name+".kubeconfig") }

// ServiceAccountKey is the private key that signs the tokens of service accounts.
func (f Files) ServiceAccountKey() string { return filepath.Join(string(f), serviceAccountKey) }

// Encryption is the API server's EncryptionConfiguration: Secrets are encrypted at rest with the key in it.
func (f Files) Encryption() string { return filepath.Join(string(f), encryptionFile) }

// Request is whom certificates are issued to. Names and addresses that change from one start to the next lead to new
// leaf certificates under the same authority.
type Request struct {
	NodeName  string
	NodeIP    net.IP
	ServerIPs []net.IP // further addresses of the API server: the kubernetes Service's, those of the host's side
	ServerDNS []string // further names of the API server
	Server    string   // the URL the parts reach the API server at, for their kubeconfig files
	Now       time.Time
}

// leaf is one certificate to be issued by one of the two authorities.
type leaf struct {
	name       string
	signer     string
	user       string
	groups     []string
	ips        []net.IP
	dns        []string
	usage      []x509.ExtKeyUsage
	kubeconfig bool
}

// leaves is the whole list of certificates, in the order they are made.
func (r Request) leaves() []leaf {
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	user := func(name, user string, groups ...string) leaf {
		return leaf{name: name, signer: CA, user: user, groups: groups, usage: client, kubeconfig: true}
	}
	node := user(Kubelet, "system:node:"+r.NodeName, "system:nodes")
	node.ips, node.dns = []net.IP{net.IPv4(127, 0, 0, 1), r.NodeIP}, []string{r.NodeName}
	node.usage = slices.Concat(client, server)
	metrics := user(Metrics, "perch:metrics", masters)
	metrics.dns, metrics.usage = []string{MetricsServer}, slices.Concat(client, server)
	kubelet := user(KubeletClient, "perch:kubelet-client", masters)
	kubelet.kubeconfig = false
	return []leaf{
		{
			name: APIServer, signer: CA, user: "kube-apiserver", usage: server,
			ips: append([]net.IP{net.IPv4(127, 0, 0, 1), r.NodeIP}, r.ServerIPs...),
			dns: append([]string{"localhost", r.NodeName}, r.ServerDNS...),
		},
		{name: FrontProxy, signer: FrontProxyCA, user: "front-proxy-client", usage: client},
		kubelet,
		node,
		user(Admin, "perch:admin", masters),
		user(Controllers, "system:kube-controller-manager", masters),
		user(Scheduler, "system:kube-scheduler", masters),
		user(Proxy, "system:kube-proxy", masters),
		user(DNS, "perch:dns", masters),
		user(Storage, "perch:storage", masters),
		metrics,
	}
}

// Ensure brings the directory to what r asks for and says where things are. It may be killed at any line: what it
// cannot read the next time is made again, apart from keys that hold data (the authority's, the tokens', that of the
// encryption), which are on disk before anything that depends on them, and whose loss is an error.
func Ensure(dir string, r Request) (Files, error) {
	f := Files(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, err
	}
	authorities := map[string]authority{}
	for _, name := range []string{CA, FrontProxyCA} {
		a, err := f.ensureAuthority(name, r.Now)
		if err != nil {
			return f, fmt.Errorf("certificate authority %s: %w", f.Cert(name), err)
		}
		authorities[name] = a
	}
	if err := ensureFile(f.ServiceAccountKey(), newKeyPEM); err != nil {
		return f, err
	}
	if err := ensureFile(f.Encryption(), newEncryptionConfiguration); err != nil {
		return f, err
	}
	for _, l := range r.leaves() {
		if err := f.ensureLeaf(l, authorities[l.signer], r); err != nil {
			return f, fmt.Errorf("certificate %s: %w", f.Cert(l.name), err)
		}
	}
	return f, nil
}

// ensureAuthority reads the authority, or makes it when its certificate was never written. The key goes first: a
// certificate without its key cannot be.
func (f Files) ensureAuthority(name string, now time.Time) (authority, error) {
	certPEM, err := os.ReadFile(f.Cert(name))
	if errors.Is(err, fs.ErrNotExist) {
		a, err := newAuthority("perch-"+name, now)
		if err != nil {
			return authority{}, err
		}
		keyPEM, err := encodeKey(a.key)
		if err != nil {
			return authority{}, err
		}
		if err := files.ReplaceDurably(f.Key(name), keyPEM); err != nil {
			return authority{}, err
		}
		return a, files.ReplaceDurably(f.Cert(name), encodeCert(a.cert.Raw))
	}
	if err != nil {
		return authority{}, err
	}
	keyPEM, err := os.ReadFile(f.Key(name))
	if err != nil {
		return authority{}, err
	}
	return parseAuthority(certPEM, keyPEM)
}

// ensureLeaf keeps a certificate that still fits, and issues a new one otherwise.
func (f Files) ensureLeaf(l leaf, a authority, r Request) error {
	certPEM, certErr := os.ReadFile(f.Cert(l.name))
	keyPEM, keyErr := os.ReadFile(f.Key(l.name))
	if certErr != nil || keyErr != nil || !fits(certPEM, keyPEM, l, a, r.Now) {
		var err error
		if certPEM, keyPEM, err = a.issue(l, r.Now); err != nil {
			return err
		}
		if err := errors.Join(files.Replace(f.Key(l.name), keyPEM), files.Replace(f.Cert(l.name), certPEM)); err != nil {
			return err
		}
	}
	if !l.kubeconfig {
		return nil
	}
	want, err := kubeconfig(r.Server, l.name, reference{ca: f.Cert(CA), cert: f.Cert(l.name), key: f.Key(l.name)})
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(f.Kubeconfig(l.name)); err == nil && bytes.Equal(have, want) {
		return nil
	}
	return files.Replace(f.Kubeconfig(l.name), want)
}

// fits says whether a certificate found on disk is what would be issued now, with enough of its life left.
func fits(certPEM, keyPEM []byte, l leaf, a authority, now time.Time) bool {
	have, err := parseAuthority(certPEM, keyPEM)
	if err != nil {
		return false
	}
	c := have.cert
	return c.CheckSignatureFrom(a.cert) == nil &&
		now.Before(c.NotAfter.Add(-renewBefore)) && now.After(c.NotBefore) &&
		c.Subject.String() == l.subject().String() &&
		slices.Equal(c.ExtKeyUsage, l.usage) &&
		slices.Equal(c.DNSNames, l.dns) &&
		slices.EqualFunc(c.IPAddresses, l.ips, net.IP.Equal)
}

func (l leaf) subject() pkix.Name {
	return pkix.Name{CommonName: l.user, Organization: l.groups}
}
