// Command registry is the registry that the tests' remote cluster pulls from: distribution, which the registries of the world
// are made of, with a folder for its images and a file of passwords. It lacks what keeps images in a cloud's storage.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if registry.RootCmd.Execute() != nil { // it has said why
		os.Exit(1)
	}
}
