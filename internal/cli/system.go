package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/ui"
	"github.com/perch-k8s/perch/internal/up"
)

func newSystemCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "system",
		Short:   "Show what the cluster has on disk, or remove what nothing uses",
		Example: "sudo perch system df\nsudo perch system prune --all --build-cache",
	}, newSystemDf(a), newSystemPrune(a))
}

func newSystemDf(a *app) *cobra.Command {
	verbose := false
	c := &cobra.Command{
		Use:         "df",
		Short:       "Show what images, build cache, volumes, logs and the store take of the disk",
		Example:     "sudo perch system df\nsudo perch system df --verbose",
		Args:        cobra.NoArgs,
		Annotations: exits("1 failed, 15 no cluster"),
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list every image and volume too")
	return a.command(c, func(ctx context.Context, _ []string) error {
		s, err := up.Measure(ctx, a.upOptions(nil))
		if err != nil {
			return err
		}
		return a.systemTables(s, verbose)
	})
}

func (a *app) systemTables(s up.System, verbose bool) error {
	if err := a.result(kindTable(s)); err != nil {
		return err
	}
	if !a.globals.forPeople() {
		return nil
	}
	a.say("\ndisk budget for images and build cache: %s of %s (%s); %s of the disk are free",
		ui.Bytes(s.Budget.Used), ui.Bytes(s.Budget.Limit), share(s.Budget.Used, s.Budget.Limit), ui.Bytes(s.Budget.Free))
	if !verbose {
		return nil
	}
	a.say("")
	if err := a.result(a.imageDiskTable(s.Images.List)); err != nil {
		return err
	}
	a.say("")
	return a.result(volumeTable(s.Volumes.List))
}

func kindTable(s up.System) ui.Result {
	r := ui.Result{Header: []string{"TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"}, Value: s}
	row := func(name, total, active string, k up.Kind) {
		free := "-"
		if k.Reclaimable > 0 || total != "-" {
			free = fmt.Sprintf("%s (%s)", ui.Bytes(k.Reclaimable), share(k.Reclaimable, k.Size))
		}
		r.Names = append(r.Names, strings.ReplaceAll(strings.ToLower(name), " ", "-"))
		r.Rows = append(r.Rows, []string{name, total, active, ui.Bytes(k.Size), free})
	}
	row("Images", fmt.Sprint(s.Images.Total), fmt.Sprint(s.Images.Active), s.Images.Kind)
	row("Build cache", "-", "-", s.BuildCache)
	row("Volumes", fmt.Sprint(s.Volumes.Total), fmt.Sprint(s.Volumes.Active), s.Volumes.Kind)
	row("Containers", "-", "-", s.Containers)
	row("Logs", "-", "-", s.Logs)
	row("Store", "-", "-", s.Store)
	return r
}

// share is a part of a whole, as 12%.
func share(part, whole int64) string {
	const hundred = 100
	if whole <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%d%%", part*hundred/whole)
}

func (a *app) imageDiskTable(images []up.ImageDisk) ui.Result {
	r := ui.Result{Header: []string{"IMAGE", "AGE", "SIZE", "OWN", "USED"}, Empty: "no images"}
	for _, i := range images {
		r.Rows = append(r.Rows, []string{imageName(i), ui.Age(a.env.Now().Sub(i.Created)), ui.Bytes(i.Size), ui.Bytes(i.Own), yes(i.Used)})
	}
	return r
}

// imageName is an image's names, or the digest of one that has none.
func imageName(i up.ImageDisk) string {
	const digits = 12
	if len(i.Names) > 0 {
		return strings.Join(i.Names, ", ")
	}
	digest := strings.TrimPrefix(i.Digest, "sha256:")
	return digest[:min(digits, len(digest))]
}

func volumeTable(volumes []up.VolumeDisk) ui.Result {
	r := ui.Result{Header: []string{"VOLUME", "PROJECT", "SIZE", "USED"}, Empty: "no volumes"}
	for _, v := range volumes {
		r.Rows = append(r.Rows, []string{v.Namespace + "/" + v.Claim, orElse(v.Project, "-"), ui.Bytes(v.Size), yes(v.Used)})
	}
	return r
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func newSystemPrune(a *app) *cobra.Command {
	var o up.PruneOptions
	c := &cobra.Command{
		Use:         "prune",
		Short:       "Remove images that no pod and no kept revision uses; asks first",
		Example:     "sudo perch system prune\nsudo perch system prune --all --volumes --build-cache --yes",
		Args:        cobra.NoArgs,
		Annotations: exits("1 failed, 2 usage, 15 no cluster"),
	}
	flags := c.Flags()
	flags.BoolVarP(&o.All, "all", "a", false, "images that were pulled or loaded too, not only those that were built here")
	flags.BoolVar(&o.Volumes, "volumes", false, "volumes that nothing uses too, with their data")
	flags.BoolVar(&o.BuildCache, "build-cache", false, "the build cache too")
	return a.command(c, func(ctx context.Context, _ []string) error { return a.systemPrune(ctx, o) })
}

// prunedJSON is what `perch system prune -o json` prints.
type prunedJSON struct {
	up.Removal
	Freed int64 `json:"freed"` // bytes; 0 in a dry run
}

func (a *app) systemPrune(ctx context.Context, o up.PruneOptions) error {
	s, err := up.Measure(ctx, a.upOptions(nil))
	if err != nil {
		return err
	}
	removal := s.Removal(o)
	done := prunedJSON{Removal: removal}
	if !removal.Nothing() {
		a.listRemoval(s, removal)
	}
	if !removal.Nothing() && !a.globals.dryRun {
		if err := a.confirm(ctx, removalText(removal)); err != nil {
			return err
		}
		if done.Freed, err = up.Prune(ctx, a.upOptions(nil), removal, a.progress()); err != nil {
			return err
		}
		a.closeProgress()
	}
	if !a.globals.forPeople() {
		return a.result(ui.Result{Value: done})
	}
	switch {
	case removal.Nothing():
		a.say("nothing to remove")
	case a.globals.dryRun:
		a.say("would %s", removalText(removal))
	default:
		a.say("freed %s", ui.Bytes(done.Freed))
	}
	return nil
}

// listRemoval tells each thing that would go, with its size.
func (a *app) listRemoval(s up.System, r up.Removal) {
	for _, i := range r.Images {
		a.note("image   %s, %s", imageName(i), ui.Bytes(i.Own))
	}
	for _, v := range r.Volumes {
		a.note("volume  %s/%s with its data, %s", v.Namespace, v.Claim, ui.Bytes(v.Size))
	}
	if r.BuildCache {
		a.note("cache   of builds, %s", ui.Bytes(s.BuildCache.Reclaimable))
	}
}

// removalText is what a prune would do, in a line.
func removalText(r up.Removal) string {
	var parts []string
	if n := len(r.Images); n > 0 {
		parts = append(parts, counted(n, "image"))
	}
	if n := len(r.Volumes); n > 0 {
		parts = append(parts, counted(n, "volume")+" with the data")
	}
	if r.BuildCache {
		parts = append(parts, "the build cache")
	}
	return fmt.Sprintf("remove %s: %s", strings.Join(parts, ", "), ui.Bytes(r.Size))
}
