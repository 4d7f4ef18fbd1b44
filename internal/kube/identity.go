package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Identity is what tells a cluster from all others.
type Identity struct {
	UID    string // of the namespace kube-system; "": the account may not read it
	CA     string // SHA-256, in hexadecimal, of the certificates that it is trusted by; "": the system's are
	Server string // URL
}

// Identity asks the cluster who it is. An account that may not read the namespace kube-system is no error.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	id := Identity{Server: c.REST.Host}
	trusted := c.REST.CAData
	if len(trusted) == 0 && c.REST.CAFile != "" {
		var err error
		if trusted, err = os.ReadFile(c.REST.CAFile); err != nil {
			return id, c.Explain(err)
		}
	}
	if len(trusted) > 0 {
		sum := sha256.Sum256(trusted)
		id.CA = hex.EncodeToString(sum[:])
	}
	ns, err := c.Interface.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	switch {
	case err == nil:
		id.UID = string(ns.UID)
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
	default:
		return id, c.Explain(err)
	}
	return id, nil
}
