package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/perch-k8s/perch/internal/fault"
)

// userFile is where a user's own settings are: values of global flags by their names.
func (e Env) userFile() string {
	config := orElse(e.getenv("XDG_CONFIG_HOME"), filepath.Join(e.getenv("HOME"), ".config"))
	return filepath.Join(config, "perch", "config.yaml")
}

// fromUserFile gives flags that neither the command line nor the environment set the values of the user's file. What the file
// says wrong is told with its line.
func (g *globals) fromUserFile(env Env) error {
	path := env.userFile()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || !filepath.IsAbs(path) {
		return nil
	}
	var doc yaml.Node
	if err == nil {
		err = yaml.Unmarshal(data, &doc)
	}
	if err != nil {
		return fault.New(fault.Usage, "mend or remove the file", "%s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return fault.New(fault.Usage, "write a line for each, as in context: stage", "%s:%d: must be a mapping of names of global flags", path, doc.Content[0].Line)
	}
	var errs []error
	for pairs := doc.Content[0].Content; len(pairs) > 1; pairs = pairs[2:] {
		if err := g.setting(pairs[0], pairs[1]); err != nil {
			errs = append(errs, fault.New(fault.Usage, "", "%s:%d: %w", path, pairs[0].Line, err))
		}
	}
	return errors.Join(errs...)
}

// setting sets one flag from the user's file.
func (g *globals) setting(key, value *yaml.Node) error {
	i := slices.IndexFunc(g.flags, func(f *globalFlag) bool { return f.name == key.Value })
	if i < 0 {
		return fault.New(fault.Usage, "perch help flags", "no global flag is called %q", key.Value)
	}
	f := g.flags[i]
	if f.given {
		return nil
	}
	values := []*yaml.Node{value}
	if f.list != "" && value.Kind == yaml.SequenceNode {
		values = value.Content
	}
	for _, v := range values {
		if v.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s: must be one value", key.Value)
		}
		if err := f.Set(v.Value); err != nil {
			return fmt.Errorf("%s: %q: %w", key.Value, v.Value, err)
		}
	}
	return nil
}
