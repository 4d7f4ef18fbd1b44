package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/progress"
)

// named is an image that the project only names, for a cluster that pulls by itself: it is looked up and not pulled. A registry
// that does not answer here may answer there, so that this is a warning; one that answers that it has no such image will say the
// same there.
func (rs *resolver) named(ctx context.Context, t *task) (*Image, error) {
	i := &Image{Ref: t.names[0].name}
	ref, err := name.ParseReference(i.Ref, name.WeakValidation)
	if err != nil {
		return nil, nameFault(i.Ref, err)
	}
	wanted := rs.options.Registry.Platforms
	if len(wanted) == 0 {
		wanted = []string{hostPlatform()}
	}
	s, err := rs.hub.lookUp(rs.brief, i.Ref, wanted)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return rs.unseen(ctx, t, ref, err)
	}
	if missing := uncovered(s.platforms, wanted); len(missing) > 0 && len(rs.options.Registry.Platforms) > 0 {
		return nil, fault.New(fault.Build, "name an image that has it, or a cluster whose nodes are "+strings.Join(s.platforms, " or "),
			"image %q is not made for %s, only for %s", familiar(i.Ref), strings.Join(missing, ", "), strings.Join(s.platforms, ", "))
	}
	i.Digest = s.digest
	rs.fill(i, s)
	return i, nil
}

// unseen is an image whose registry did not tell of it. What the node's store has under its name is taken for it.
func (rs *resolver) unseen(ctx context.Context, t *task, ref name.Reference, cause error) (*Image, error) {
	full := t.names[0].name
	host := shownHost(ref.Context())
	here, err := rs.store.lookup(ctx, full)
	if err != nil {
		return nil, err
	}
	answer, answered := errors.AsType[*transport.Error](cause)
	if answered && answer.StatusCode == http.StatusNotFound && t.policy != types.PullPolicyNever {
		if here != nil {
			return nil, fault.New(fault.Build, "push it there; what has build: in place of image: goes to the registry by itself",
				"image %q is in the node's store only: %s does not have it, so that no other cluster can pull it", familiar(full), host)
		}
		return nil, fault.New(fault.Build, "check its name and tag", "image %q: %s does not have it", familiar(full), host)
	}
	i := &Image{Ref: full, Unknown: whyNot(host, cause)}
	text := fmt.Sprintf("%s was not looked up: %s. What it EXPOSEs, runs as and has in its volumes is not known", familiar(full), i.Unknown)
	if here != nil {
		here.Digest = "" // of an archive, perhaps
		i = here
		text = fmt.Sprintf("%s was not looked up: %s. What the node's store has under its name is taken for it", familiar(full), whyNot(host, cause))
	}
	if !rs.options.DryRun {
		rs.report.Report(progress.Event{ID: t.id, Status: progress.Warned, Text: text})
	}
	return i, nil
}
