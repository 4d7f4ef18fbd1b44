package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
)

// made is what the store has of one tag: the images of earlier builds, and the name the next one would get.
type made struct {
	images []madeImage // oldest first
	inputs string      // what the recipe at hand would say
	next   string
}

type madeImage struct {
	*Image
	inputs string // the plain settings it was made with
}

// inputsLabel is on the images we build; a tag that is a mere commit does not say which folder of it was built.
const inputsLabel = "perch.dev/inputs"

// baseLabel is on images that were built on another: that one's NAME@sha256:….
const baseLabel = "perch.dev/base"

// current is the newest image that was made with these inputs.
func (m made) current() *Image {
	if n := len(m.images); n > 0 && m.images[n-1].inputs == m.inputs {
		return m.images[n-1].Image
	}
	return nil
}

// foreseen is the images that a build would give.
func foreseen(all []made) []*Image {
	out := make([]*Image, len(all))
	for i, m := range all {
		if out[i] = m.current(); out[i] == nil {
			out[i] = &Image{Ref: m.next, Built: true, Unknown: notBuilt}
		}
	}
	return out
}

// complete is the images when at least one of the names has a current one: the others get it too. Nil when there is
// none.
func (cl *client) complete(ctx context.Context, all []made) ([]*Image, error) {
	out := make([]*Image, len(all))
	var have *Image
	for i, m := range all {
		if out[i] = m.current(); out[i] != nil {
			have = out[i]
		}
	}
	if have == nil {
		return nil, nil
	}
	for i, m := range all {
		if out[i] != nil {
			continue
		}
		img, err := cl.ImageService().Get(ctx, have.Ref)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", familiar(have.Ref), err)
		}
		if err := cl.tag(ctx, img, m.next); err != nil {
			return nil, err
		}
		named := *have
		named.Ref = m.next
		out[i] = &named
	}
	return out, nil
}

// made finds the images of a repository with this tag. A build that was asked for although the tag was there may give
// another image than before (a newer base, --no-cache): it then has the tag with .2, .3, … behind it, or pods would
// not be replaced.
func (cl *client) made(ctx context.Context, repository, tag, inputs string) (made, error) {
	ref, err := withTag(repository, tag)
	if err != nil {
		return made{}, err
	}
	filter := fmt.Sprintf("name~=%q", "^"+regexp.QuoteMeta(ref)+`(\.[0-9]+)?$`)
	if cl.Client == nil {
		return made{inputs: inputs, next: ref}, nil
	}
	found, err := cl.ImageService().List(ctx, filter)
	if err != nil {
		return made{}, fmt.Errorf("image %s: %w", familiar(ref), err)
	}
	slices.SortFunc(found, func(a, b images.Image) int { return a.CreatedAt.Compare(b.CreatedAt) })
	m := made{inputs: inputs, next: ref}
	taken := map[string]bool{}
	for _, f := range found {
		taken[f.Name] = true
		i, err := cl.describe(ctx, f)
		if err != nil {
			return made{}, err
		}
		if i != nil {
			m.images = append(m.images, madeImage{i, f.Labels[inputsLabel]})
		}
	}
	for n := 2; taken[m.next]; n++ {
		m.next = fmt.Sprintf("%s.%d", ref, n)
	}
	return m, nil
}

// keep labels the image that was just stored as m.next, or gives it up for an equal one of an earlier build.
func (cl *client) keep(ctx context.Context, m made, base string) (*Image, error) {
	i, err := cl.lookup(ctx, m.next)
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, fmt.Errorf("image %s: it was built, but is not in the store", familiar(m.next))
	}
	for _, old := range slices.Backward(m.images) {
		if old.Digest == i.Digest && old.inputs == m.inputs {
			if err := cl.ImageService().Delete(ctx, m.next); err != nil && !errdefs.IsNotFound(err) {
				return nil, fmt.Errorf("image %s: %w", familiar(m.next), err)
			}
			return old.Image, nil
		}
	}
	// Only these labels: the CRI puts its own on the image at the same time.
	labels, fields := map[string]string{inputsLabel: m.inputs}, []string{"labels." + inputsLabel}
	if base != "" {
		labels[baseLabel], fields = base, append(fields, "labels."+baseLabel)
	}
	_, err = cl.ImageService().Update(ctx, images.Image{Name: m.next, Labels: labels}, fields...)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", familiar(m.next), err)
	}
	i.Built, i.Pulled, i.Base = true, false, base
	return i, nil
}

// alias gives i one more name.
func (cl *client) alias(ctx context.Context, i *Image, name string) error {
	img, err := cl.ImageService().Get(ctx, i.Ref)
	if err != nil {
		return fmt.Errorf("image %s: %w", familiar(i.Ref), err)
	}
	if old, err := cl.ImageService().Get(ctx, name); err == nil && old.Target.Digest == img.Target.Digest {
		return nil
	}
	return cl.tag(ctx, img, name)
}

// inputs says what r makes of a commit: what a tag that is a mere commit does not say. A project that was moved as a
// whole has the same.
func (r *recipe) inputs() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %s",
		relative(r.project, r.config.Context), relative(r.config.Context, r.dockerfile), r.main, r.settings()))
	return hex.EncodeToString(sum[:8])
}

// relative is path seen from base, or path itself where that cannot be said.
func relative(base, path string) string {
	if rel, err := filepath.Rel(base, path); err == nil {
		return rel
	}
	return path
}
