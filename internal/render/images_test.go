package render_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/perch-k8s/perch/internal/render"
)

// images reads what a case says of its images, one a line:
//
//	KEY REF [PORT | shell | user=UID[:GID] | USER=NAME | groups=N,N | entrypoint=A,B | cmd=A,B | stop=SIGNAL | volume=PATH |
//	health=CMD,A,B[;interval=10s] | content=PATH:filled|empty[:UID:GID:MODE]]…
//
// A line with only a key and a reference is of an image that could not be looked into.
func images(t *testing.T, dir string) map[string]render.Image {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "images"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]render.Image{}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		image := render.Image{Ref: words[1]}
		for _, word := range words[2:] {
			if image.Config == nil {
				image.Config = &ocispec.ImageConfig{}
			}
			if err := describe(&image, word); err != nil {
				t.Fatalf("images: %s: %v", word, err)
			}
		}
		all[words[0]] = image
	}
	return all
}

func describe(image *render.Image, word string) error {
	name, value, given := strings.Cut(word, "=")
	switch {
	case word == "shell":
		image.Shell = true
	case word == "nothing": // known, and says nothing
	case !given:
		if image.Config.ExposedPorts == nil {
			image.Config.ExposedPorts = map[string]struct{}{}
		}
		image.Config.ExposedPorts[word] = struct{}{}
	case name == "user":
		ids, err := numbers(strings.Split(value, ":"))
		if err != nil {
			return err
		}
		image.UID = &ids[0]
		if len(ids) > 1 {
			image.GID = &ids[1]
		}
	case name == "USER":
		image.Config.User = value
	case name == "groups":
		ids, err := numbers(strings.Split(value, ","))
		image.Groups = ids
		return err
	case name == "entrypoint":
		image.Config.Entrypoint = strings.Split(value, ",")
	case name == "cmd":
		image.Config.Cmd = strings.Split(value, ",")
	case name == "stop":
		image.Config.StopSignal = value
	case name == "volume":
		image.Config.Volumes = map[string]struct{}{value: {}}
	case name == "health":
		return describeHealth(image, value)
	case name == "content":
		return describeContent(image, value)
	default:
		return fmt.Errorf("not known")
	}
	return nil
}

func describeHealth(image *render.Image, value string) error {
	test, interval, timed := strings.Cut(value, ";interval=")
	image.Health = &types.HealthCheckConfig{Test: strings.Split(test, ",")}
	if !timed {
		return nil
	}
	d, err := time.ParseDuration(interval)
	image.Health.Interval = new(types.Duration(d))
	return err
}

func describeContent(image *render.Image, value string) error {
	parts := strings.Split(value, ":")
	c := render.Content{Exists: true, Filled: parts[1] == "filled", Mode: 0o755}
	if len(parts) == 5 {
		ids, err := numbers(parts[2:4])
		if err != nil {
			return err
		}
		mode, err := strconv.ParseUint(parts[4], 8, 12)
		if err != nil {
			return err
		}
		c.UID, c.GID, c.Mode = ids[0], ids[1], uint32(mode)
	}
	if image.Content == nil {
		image.Content = map[string]render.Content{}
	}
	image.Content[parts[0]] = c
	return nil
}

func numbers(words []string) ([]int64, error) {
	var all []int64
	for _, word := range words {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}
