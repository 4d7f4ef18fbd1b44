// Command pullable prints those of the images named as arguments that cannot be pulled from here, one a line: the ones
// that have to be built. It asks for a manifest only and gives up after a few seconds. It must not be part of the
// product, which finds out by pulling.
//
//	go run ./test/pullable postgres:15 golang:1.26
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// within is how long a registry may take: an unreachable one often does not refuse, it is silent.
const within = 5 * time.Second

func main() {
	ctx, stop := context.WithTimeout(context.Background(), within)
	defer stop()
	report(os.Stdout, os.Args[1:], missing(ctx, os.Args[1:]))
}

// missing says for each image why it cannot be pulled, nil where it can.
func missing(ctx context.Context, images []string) []error {
	causes := make([]error, len(images))
	var g errgroup.Group
	for i, image := range images {
		g.Go(func() error {
			causes[i] = head(ctx, image)
			return nil
		})
	}
	_ = g.Wait() // none of them returns an error
	return causes
}

func head(ctx context.Context, image string) error {
	ref, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	_, err = remote.Head(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	return err
}

func report(out io.Writer, images []string, causes []error) {
	for i, image := range images {
		if causes[i] != nil {
			fmt.Fprintln(out, image)
		}
	}
}
