package cli

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/ui"
)

func newImageCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "image",
		Short:   "List the cluster's images, or load some",
		Example: "perch image list\nperch image load app.tar",
	}, newImageList(a), newImageLoad(a))
}

func newImageList(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "list",
		Aliases:     []string{"ls"},
		Short:       "List the images in the cluster's store",
		Example:     "perch image list",
		Args:        cobra.NoArgs,
		Annotations: exits("15 no cluster"),
	}, func(ctx context.Context, _ []string) error {
		store, err := a.store(ctx)
		if err != nil {
			return err
		}
		images, err := store.List(ctx)
		if err != nil {
			return err
		}
		return a.result(a.imageTable(images))
	})
}

// imageJSON is an image as `perch image list -o json` prints it.
type imageJSON struct {
	Name    string `json:"name"`
	Ref     string `json:"ref"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"` // bytes
	Created string `json:"created"`
}

func (a *app) imageTable(images []image.Stored) ui.Result {
	values := make([]imageJSON, 0, len(images))
	r := ui.Result{Header: []string{"IMAGE", "DIGEST", "SIZE", "AGE"}, Empty: "no images"}
	for _, i := range images {
		digest := strings.TrimPrefix(i.Digest, "sha256:")
		r.Rows = append(r.Rows, []string{i.Name, digest[:min(12, len(digest))], ui.Bytes(i.Size),
			ui.Age(a.env.Now().Sub(i.Created))})
		r.Names = append(r.Names, i.Name)
		values = append(values, imageJSON{i.Name, i.Ref, i.Digest, i.Size, i.Created.UTC().Format("2006-01-02T15:04:05Z")})
	}
	r.Value = values
	return r
}

func newImageLoad(a *app) *cobra.Command {
	input := ""
	c := &cobra.Command{
		Use:         "load [FILE]",
		Short:       "Load images from an archive, as docker save writes it",
		Example:     "docker save app | perch image load\nperch image load app.tar",
		Args:        cobra.MaximumNArgs(1),
		Annotations: exits("1 failed, 15 no cluster"),
	}
	c.Flags().StringVarP(&input, "input", "i", "", "`file` to read, as docker load has it")
	return a.command(c, func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			input = args[0]
		}
		archive, err := a.archive(input)
		if err != nil {
			return err
		}
		defer func() { _ = archive.Close() }()
		store, err := a.store(ctx)
		if err != nil {
			return err
		}
		names, err := store.Load(ctx, archive)
		if err != nil {
			return err
		}
		values := make([]map[string]string, 0, len(names))
		for _, name := range names {
			values = append(values, map[string]string{"name": name})
		}
		if !a.globals.forPeople() {
			return a.result(ui.Result{Names: names, Value: values})
		}
		for _, name := range names {
			a.say("loaded %s", name)
		}
		return nil
	})
}

// archive opens the file with that name; "" and "-" are stdin, unless that is a terminal.
func (a *app) archive(name string) (io.ReadCloser, error) {
	if name != "" && name != "-" {
		return os.Open(a.absolute(name))
	}
	if isTerminal(a.env.In) {
		return nil, fault.New(fault.Usage, "docker save app | perch image load", "no archive: name a file, or pipe one in")
	}
	return io.NopCloser(a.env.In), nil
}
