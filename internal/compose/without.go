package compose

import (
	"context"
	"slices"

	"go.yaml.in/yaml/v4"
)

// Without is what Options.Override must be to take the attribute at a path out of the project, so that what comes of the file
// with it and without it can be compared. A path into a list takes the whole list. The error is that of reading the files; for a path
// that is in none of them, Explain has one.
func Without(ctx context.Context, o Options, path string) ([]byte, error) {
	r := &reading{options: o}
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	steps := r.steps(path)
	if list := slices.IndexFunc(steps, isIndex); list > 0 {
		steps = steps[:list]
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!reset", Value: "null"}
	for _, step := range slices.Backward(steps) {
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: step}
		node = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, node}}
	}
	return yaml.Marshal(node)
}

// isIndex tells whether a step leads into a list. A mapping's key that is a number is taken for one too.
func isIndex(step string) bool {
	for _, c := range step {
		if c < '0' || c > '9' {
			return false
		}
	}
	return step != ""
}
