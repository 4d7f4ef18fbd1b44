package metrics

import (
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	names "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/metrics-server/pkg/api"
	"sigs.k8s.io/metrics-server/pkg/api/generated/openapi"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

// newAPI is the API over what is stored. Who asks is what the API server's headers say; whether they may, the API server
// is asked.
func newAPI(config *rest.Config, client kubernetes.Interface, store storage.Storage, pods cache.GenericLister, nodes corelisters.NodeLister) (http.Handler, error) {
	c := genericapiserver.NewConfig(api.Codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	c.LoopbackClientConfig = config
	definitions, namer := openapi.GetOpenAPIDefinitions, names.NewDefinitionNamer(api.Scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	c.EnableMetrics, c.EnableProfiling, c.EnableIndex = false, false, false
	c.ExternalAddress = net.JoinHostPort("localhost", strconv.Itoa(Port)) // it ends the process when there is none
	var err error
	c.Authentication.Authenticator, err = headerrequest.New([]string{"X-Remote-User"}, []string{"X-Remote-Uid"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"})
	if err != nil {
		return nil, err
	}
	c.Authorization.Authorizer, err = authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             10 * time.Second, DenyCacheTTL: 10 * time.Second,
		WebhookRetryBackoff: options.DefaultAuthWebhookRetryBackoff(),
	}.New()
	if err != nil {
		return nil, err
	}
	server, err := c.Complete(nil).New("metrics", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	if err := api.Install(store, pods, nodes, server, nil); err != nil {
		return nil, err
	}
	return server.Handler, nil
}
