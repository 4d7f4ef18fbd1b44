// Command coredns is CoreDNS's own program with the plugins that a cluster's DNS is configured with: the whole one links
// the clients of several clouds, which go.mod has not.
package main

import (
	_ "github.com/coredns/coredns/plugin/cache" // this plugin and those below are what the Corefile names
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"

	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
