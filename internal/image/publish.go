package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/perch-k8s/perch/internal/progress"
)

// publish is build for a registry: what it has of t under the tag is taken; else that is built and pushed, under the next tag
// that is free. A tag never moves, for registries may forbid it, and people read it.
func (rs *resolver) publish(ctx context.Context, t *task) ([]*Image, error) {
	parents, err := t.parentImages()
	if err != nil {
		return nil, err
	}
	if t.recipe.missing != nil {
		return rs.placeholders(t)
	}
	tag, err := t.recipe.tagOf(ctx, refsOf(parents))
	if err != nil {
		return nil, err
	}
	all, err := rs.find(ctx, t, tag)
	switch {
	case err != nil:
		return nil, err
	case rs.options.DryRun:
		return rs.foreseenAt(all), nil
	}
	forced := rs.options.AlwaysBuild || rs.options.NoCache || rs.options.Pull || t.policy == types.PullPolicyBuild
	if !forced && !slices.ContainsFunc(all, func(p published) bool { return p.current == nil }) {
		return rs.known(all), nil
	}
	from, err := rs.artifact(ctx, t, all, parents, forced)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].current != nil && !forced {
			continue
		}
		if err := rs.send(ctx, t, &all[i], from); err != nil {
			return nil, err
		}
		rs.tags(ctx, t, i, all[i], from.artifact)
	}
	return rs.known(all), nil
}

// find is what the registry has of each of t's images. A dry run does without the registry.
func (rs *resolver) find(ctx context.Context, t *task, tag string) ([]published, error) {
	all := make([]published, len(t.names))
	for i, n := range t.names {
		repo, err := rs.options.Registry.repository(n.name)
		if err != nil {
			return nil, err
		}
		all[i], err = rs.hub.find(rs.lookingUp(ctx), repo, tag, t.recipe)
		switch {
		case err != nil && rs.options.DryRun && ctx.Err() == nil:
			all[i] = published{next: repo.Tag(tag), unknown: whyNot(shownHost(repo), err)}
		case err != nil:
			return nil, rs.hub.fault(ctx, fmt.Sprintf("images cannot be pushed to %s", familiar(repo.Name())), repo, err)
		}
	}
	return all, nil
}

// foreseenAt is the images that a run would give.
func (rs *resolver) foreseenAt(all []published) []*Image {
	out := make([]*Image, len(all))
	for i, p := range all {
		switch {
		case p.current != nil:
			out[i] = rs.describeSeen(*p.current)
		case p.unknown != "":
			out[i] = &Image{Ref: p.next.Name(), Built: true, Unknown: notBuilt + ", as far as is known: " + p.unknown}
		default:
			out[i] = &Image{Ref: p.next.Name(), Built: true, Unknown: notBuilt}
		}
	}
	return out
}

// origin is what an image is pushed from.
type origin struct {
	artifact
	base  string                                  // the image that it was built on
	open  func(context.Context) (artifact, error) // as of seen
	store content.Store                           // that has its layers; nil: none has
}

// artifact is what t's images are made of: one that the registry has under another name of t, or a new build.
func (rs *resolver) artifact(ctx context.Context, t *task, all []published, parents []*Image, forced bool) (origin, error) {
	for _, p := range all {
		if p.current != nil && !forced {
			return origin{artifact: p.current.top, base: p.current.base, open: p.current.open}, nil
		}
	}
	if rs.options.NoBuild {
		return origin{}, t.recipe.fault("leave --no-build away", "the registry does not have its image %s, and building is switched off", familiar(all[0].next.Name()))
	}
	for _, p := range all {
		if err := rs.hub.mayPush(ctx, p.next.Context()); err != nil {
			return origin{}, err
		}
	}
	rs.report.Report(progress.Event{ID: t.id, Status: progress.Working, Text: "building"})
	if !t.recipe.golang {
		return rs.fromDockerfile(ctx, t, all[0].next, parents)
	}
	made, err := rs.goImages(ctx, t, true)
	if err != nil {
		return origin{}, err
	}
	a, err := indexOf(made)
	return origin{artifact: a}, err
}

// fromDockerfile builds t in the node, under the name that it gets first.
func (rs *resolver) fromDockerfile(ctx context.Context, t *task, tag name.Tag, parents []*Image) (origin, error) {
	cl, err := rs.started()
	if err != nil {
		return origin{}, err
	}
	names, err := rs.inStore(ctx, cl, t, parents)
	if err != nil {
		return origin{}, err
	}
	base, err := rs.buildDockerfile(ctx, cl, t, []string{tag.Name()}, names)
	if err != nil {
		return origin{}, err
	}
	rs.inNode.Store(tag.Name(), true)
	open := func(ctx context.Context) (artifact, error) {
		return cl.stored(ctx, tag.Name(), tag.RegistryStr())
	}
	a, err := open(ctx)
	return origin{a, base, open, cl.ContentStore()}, err
}

// send pushes an image under p's next tag, unless it is there under an earlier one.
func (rs *resolver) send(ctx context.Context, t *task, p *published, from origin) error {
	annotations := map[string]string{inputsLabel: t.recipe.inputs()}
	if base, digest, ok := strings.Cut(from.base, "@"); ok {
		annotations[ocispec.AnnotationBaseImageName], annotations[ocispec.AnnotationBaseImageDigest] = base, digest
	}
	a, err := annotated(from.artifact, annotations)
	if err != nil {
		return t.recipe.fault("", "%w", err)
	}
	now, err := seenOf(p.next, a, t.recipe.platforms)
	if err != nil {
		return t.recipe.fault("", "%w", err)
	}
	for _, s := range slices.Backward(p.all) {
		if s.digest == now.digest {
			p.current = s
			return nil
		}
	}
	if err := (pushing{hub: rs.hub, id: t.id, report: rs.report, to: p.next}).push(ctx, a); err != nil {
		return err
	}
	if from.store != nil {
		blobs{ctx, from.store, p.next.RegistryStr()}.sent(a, p.next.RepositoryStr())
	}
	now.pushed, now.open = true, from.open
	p.current = now
	return nil
}

// tags gives an image that was pushed the further names that the Compose file has for it. They are for people: pods go by the
// digest, so that a registry that does not move tags is no failure.
func (rs *resolver) tags(ctx context.Context, t *task, i int, p published, a artifact) {
	var more []string
	if t.names[i].alias != "" {
		more = append(more, t.names[i].alias)
	}
	if i == 0 {
		more = append(more, t.tags...)
	}
	if p.current == nil || !p.current.pushed {
		return
	}
	for _, full := range more {
		named, err := reference.ParseNormalizedNamed(full)
		if err != nil {
			continue
		}
		repo, err := rs.options.Registry.repository(named.Name())
		if tagged, ok := named.(reference.Tagged); ok && err == nil {
			same, aerr := annotated(a, p.current.annotations)
			if err = aerr; err == nil {
				err = (pushing{hub: rs.hub, id: t.id, report: rs.report, to: repo.Tag(tagged.Tag())}).push(ctx, same)
			}
		}
		if err != nil {
			rs.report.Report(progress.Event{ID: t.id, Status: progress.Warned, Text: err.Error()})
		}
	}
}

// known is the images of a task, whose files are read where they came from.
func (rs *resolver) known(all []published) []*Image {
	out := make([]*Image, len(all))
	for i, p := range all {
		out[i] = rs.describeSeen(*p.current)
	}
	return out
}

func (rs *resolver) describeSeen(s seen) *Image {
	i := &Image{
		Ref: s.tag.Name() + "@" + s.digest, Digest: s.digest, Base: s.base, Built: s.pushed,
		Config: s.config.Config.ImageConfig, Health: s.config.health(),
	}
	rs.library.known(i.Ref, rs.opener(&s))
	return i
}

// inStore is what the parents are called in the store. What it has not, is pulled: the builder may have no way to the registry.
func (rs *resolver) inStore(ctx context.Context, cl *client, t *task, parents []*Image) ([]string, error) {
	var names []string
	for _, p := range parents {
		if ref, _, _ := strings.Cut(p.Ref, "@"); rs.has(ref) {
			names = append(names, ref)
			continue
		}
		ref, err := normalize(p.Ref)
		if err != nil {
			return nil, err
		}
		if _, err := cl.ImageService().Get(ctx, ref); err != nil {
			if err := rs.pull(ctx, cl, t, ref); err != nil {
				return nil, err
			}
		}
		names = append(names, ref)
	}
	return names, nil
}

// has tells whether this run built the image in the node.
func (rs *resolver) has(ref string) bool {
	_, ok := rs.inNode.Load(ref)
	return ok
}

// published is what a registry has under one tag and those behind it (.2, .3 …).
type published struct {
	all     []*seen // oldest first
	current *seen   // the newest that was made with the inputs at hand and for all platforms that are wanted
	next    name.Tag
	unknown string // why that is not known, in a dry run
}

// find looks for the images of a tag.
func (h *hub) find(ctx context.Context, repo name.Repository, tag string, r *recipe) (published, error) {
	if _, err := authFor(repo.RegistryStr()); err != nil {
		return published{}, err
	}
	p := published{next: repo.Tag(tag)}
	for n := 2; ; n++ {
		s, err := h.seen(ctx, p.next, r.platforms)
		if err != nil {
			return p, err
		}
		if s == nil {
			break
		}
		p.all = append(p.all, s)
		p.next = repo.Tag(fmt.Sprintf("%s.%d", tag, n))
	}
	inputs := r.inputs()
	for _, s := range slices.Backward(p.all) {
		if s.inputs == inputs && s.covers(r.platforms) {
			p.current = s
			break
		}
	}
	return p, nil
}
