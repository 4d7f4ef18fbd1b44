package image

import (
	"fmt"

	"github.com/distribution/reference"

	"github.com/perch-k8s/perch/internal/fault"
)

// normalize is name as the CRI knows it: with its domain, and with either a tag or a digest. A name with neither gets
// :latest, one with both loses its tag.
func normalize(name string) (string, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", nameFault(name, err)
	}
	return named.String(), nil
}

func parseName(name string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, nameFault(name, err)
	}
	return named, nil
}

func nameFault(name string, err error) error {
	return fault.New(fault.Build, "image names look like name:tag or registry.example/name:tag, in lower case", "image %q: %w", name, err)
}

// familiar is a full name as users write it: without the default domain, and without a digest that only confirms the tag.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	if tagged, ok := named.(reference.NamedTagged); ok {
		return reference.FamiliarName(named) + ":" + tagged.Tag()
	}
	return reference.FamiliarString(named)
}

// withTag is repository (in any form) with tag, as the CRI knows it.
func withTag(repository, tag string) (string, error) {
	named, err := parseName(repository)
	if err != nil {
		return "", err
	}
	tagged, err := reference.WithTag(reference.TrimNamed(named), tag)
	if err != nil {
		return "", fmt.Errorf("image %q: tag %q: %w", repository, tag, err)
	}
	return tagged.String(), nil
}

// splitName is the repository of a full name, and the full name again when its tag says something.
func splitName(full string) (repository, alias string) {
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil {
		return full, ""
	}
	if t, ok := named.(reference.Tagged); ok && t.Tag() != "latest" {
		alias = full
	}
	return named.Name(), alias
}
