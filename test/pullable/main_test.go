package main

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestPrintsWhatNoRegistryGives(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	there := host + "/there:1"
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(there)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	images := []string{there, host + "/away:1", "127.0.0.1:1/closed:1", "not a name"}
	var out bytes.Buffer
	report(&out, images, missing(t.Context(), images))
	if got, want := out.String(), strings.Join(images[1:], "\n")+"\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
