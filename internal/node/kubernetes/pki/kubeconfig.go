package pki

import (
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// reference is a set of credentials given by their paths.
type reference struct{ ca, cert, key string }

// kubeconfig is the file by which one part of the node reaches the API server.
func kubeconfig(server, user string, r reference) ([]byte, error) {
	return clientcmd.Write(single(user,
		&api.Cluster{Server: server, CertificateAuthority: r.ca},
		&api.AuthInfo{ClientCertificate: r.cert, ClientKey: r.key}))
}

// AdminKubeconfig is a kubeconfig of the cluster's administrator for the given server URL, with the certificates in
// it, so that it can leave this machine's directories. It fails when there is no node yet.
func (f Files) AdminKubeconfig(server string) ([]byte, error) {
	var data [3][]byte
	for i, path := range []string{f.Cert(CA), f.Cert(Admin), f.Key(Admin)} {
		var err error
		if data[i], err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("kubeconfig of the node: %w", err)
		}
	}
	return clientcmd.Write(single("perch",
		&api.Cluster{Server: server, CertificateAuthorityData: data[0]},
		&api.AuthInfo{ClientCertificateData: data[1], ClientKeyData: data[2]}))
}

// single is a kubeconfig with one context, cluster and user, all of one name.
func single(name string, cluster *api.Cluster, user *api.AuthInfo) api.Config {
	c := *api.NewConfig()
	c.Clusters[name] = cluster
	c.AuthInfos[name] = user
	c.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	c.CurrentContext = name
	return c
}
