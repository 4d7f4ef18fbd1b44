package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"golang.org/x/net/http/httpproxy"
)

func checkProxy(_ context.Context, m Machine) Finding {
	return judgeProxy(proxies(m.Environ))
}

// proxies is what an environment says about proxies. Both spellings count, the big one first, as for Go's programs.
func proxies(environ []string) httpproxy.Config {
	get := func(name string) string {
		return cmp.Or(variable(environ, name), variable(environ, strings.ToLower(name)))
	}
	return httpproxy.Config{HTTPProxy: get("HTTP_PROXY"), HTTPSProxy: get("HTTPS_PROXY"), NoProxy: get("NO_PROXY")}
}

func judgeProxy(c httpproxy.Config) Finding {
	if c.HTTPProxy == "" && c.HTTPSProxy == "" {
		return ok("none is set")
	}
	if c.HTTPSProxy == "" {
		return warn("HTTP_PROXY is set and HTTPS_PROXY is not: registries are asked without a proxy", "export HTTPS_PROXY="+c.HTTPProxy)
	}
	for _, text := range []string{c.HTTPSProxy, c.HTTPProxy} {
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		proxy, err := url.Parse(text)
		if err != nil || proxy.Hostname() == "" {
			return warn("the address of the proxy cannot be read", "as: export HTTPS_PROXY=http://ADDRESS:PORT")
		}
		if ip := net.ParseIP(proxy.Hostname()); proxy.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return warn(fmt.Sprintf("the proxy is at %s, which inside the node's sandbox is the sandbox itself: no image can be pulled through it", proxy.Host),
				"let it listen on another address of this machine too, and name that in HTTPS_PROXY and HTTP_PROXY; then perch cluster stop and start")
		}
	}
	return ok("pulls and builds go through it; what is inside the cluster is excepted by the node")
}

func checkRegistry(ctx context.Context, m Machine) Finding {
	if !m.Online {
		return ok("not asked; --online does")
	}
	host, err := defaultRegistry()
	if err != nil {
		return unknown(err)
	}
	return judgeRegistry(host, askRegistry(ctx, "https://"+host+"/v2/", proxies(m.Environ)))
}

// defaultRegistry is where an image is pulled from whose name has no registry.
func defaultRegistry() (string, error) {
	name, err := reference.ParseNormalizedNamed("x")
	if err != nil {
		return "", err
	}
	return docker.DefaultHost(reference.Domain(name))
}

// askRegistry says why nothing answers there; a refusal is an answer.
func askRegistry(ctx context.Context, at string, proxy httpproxy.Config) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	choose := proxy.ProxyFunc()
	transport := &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) { return choose(r.URL) }, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func judgeRegistry(host string, err error) Finding {
	if err == nil {
		return ok(host + " answers")
	}
	why := err.Error()
	if u, is := errors.AsType[*url.Error](err); is {
		why = u.Err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("no answer within %s", answerWithin)
	}
	return warn(host+" is not reached: "+why, "if the way out is a proxy, export HTTPS_PROXY=http://ADDRESS:PORT; where there is no registry: perch image load ARCHIVE")
}
