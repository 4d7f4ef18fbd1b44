package image

import (
	"encoding/base64"
	"encoding/json"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/perch-k8s/perch/internal/fault"
)

// PullSecret is what a Secret of type kubernetes.io/dockerconfigjson has under .dockerconfigjson, so that pods' nodes may pull
// from the registry: the login that the Docker configuration, or its credential helper, has for the host. The host is as in
// images' names, with a port where there is one.
func PullSecret(host string) ([]byte, error) {
	a, err := authFor(host)
	if err != nil {
		return nil, fault.New(fault.Build, "log in again: `docker login "+host+"`", "pull secret: %w", err)
	}
	switch {
	case a == nil:
		return nil, fault.New(fault.Build, "docker login "+host, "pull secret: the Docker configuration has no login for %s", host)
	case a.Username == "" || a.Password == "":
		return nil, fault.New(fault.Build, "log in with a name and an access token of the registry's: `docker login -u NAME "+host+"`",
			"pull secret: the login for %s is a token that only docker itself can renew, which a cluster's nodes cannot use", host)
	}
	if defaultHost(host) {
		host = "https://" + name.DefaultRegistry + "/v1/" // as docker and the kubelet call it
	}
	return json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{
		"username": a.Username, "password": a.Password,
		"auth": base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password)),
	}}})
}
