package compose

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// openSecrets takes the variables of the project's encrypted files into its environment: over those of env files, under the
// caller's own.
func (r *reading) openSecrets(ctx context.Context) error {
	if r.options.Secrets == nil {
		return nil
	}
	values, err := r.options.Secrets(ctx, r.dir, !r.options.NamesOnly)
	if err != nil {
		r.closed = true
		if r.options.NamesOnly {
			return nil
		}
		return err
	}
	r.env = maps.Clone(r.env)
	r.secret = make(map[string]string, len(values))
	for _, name := range sortedNames(values) {
		own, given := r.options.Environment[name]
		if !given {
			own = values[name]
			r.env[name] = own
		}
		if own != values[name] {
			r.warn(position{}, "variable "+name+" is in the environment and, with another value, in the project's secrets; the environment's counts",
				"unset "+name+", for the secret to count")
		}
		r.secret[name] = own
	}
	return nil
}

// holdsSecret tells whether a text is a value of the encrypted files, or has one in it that is long enough to be known.
func (r *reading) holdsSecret(text string) bool {
	for _, value := range r.secret {
		value = strings.TrimRight(value, "\r\n")
		if value != "" && (strings.TrimRight(text, "\r\n") == value || len(value) >= shortestSecretText && strings.Contains(text, value)) {
			return true
		}
	}
	return false
}

// secretsOfFiles makes each variable and build argument sensitive that has something of the encrypted files in it, whatever
// its name is.
func (r *reading) secretsOfFiles() {
	if len(r.secret) == 0 {
		return
	}
	p := r.project
	for _, value := range r.secret {
		p.fromFiles = append(p.fromFiles, secretLines(value)...)
	}
	mark := func(x ServiceExtension, environments ...types.MappingWithEquals) (ServiceExtension, bool) {
		before := len(x.Secrets)
		x.Secrets = slices.Clone(x.Secrets)
		for _, environment := range environments {
			for _, name := range sortedNames(environment) {
				if value := environment[name]; value != nil && r.holdsSecret(*value) && !slices.Contains(x.Secrets, name) {
					x.Secrets = append(x.Secrets, name)
				}
			}
		}
		return x, len(x.Secrets) > before
	}
	for _, name := range sortedNames(p.Project.Services) {
		s := p.Project.Services[name]
		environments := []types.MappingWithEquals{s.Environment, buildArguments(s.Build)}
		for _, hook := range s.PreStart {
			environments = append(environments, hook.Environment)
		}
		for _, hook := range slices.Concat(s.PostStart, s.PreStop) {
			environments = append(environments, hook.Environment)
		}
		if x, more := mark(p.Services[name], environments...); more {
			p.Services[name] = x
		}
	}
	for _, name := range sortedNames(p.Jobs) {
		if x, more := mark(p.JobExtensions[name], p.Jobs[name].Environment, buildArguments(p.Jobs[name].Build)); more {
			p.JobExtensions[name] = x
		}
	}
}

func buildArguments(b *types.BuildConfig) types.MappingWithEquals {
	if b == nil {
		return nil
	}
	return b.Args
}

// secretLines are the texts by which a value is known where it stands: all of it, and each line of one that has several.
func secretLines(value string) []string {
	value = strings.TrimRight(value, "\r\n")
	if !strings.Contains(value, "\n") {
		return []string{value}
	}
	lines := []string{value}
	for line := range strings.Lines(value) {
		if line = strings.TrimSpace(line); !plainWord.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// named tells whether a text is a key or a name of the files: a message without such words says nothing any more.
func (r *reading) named(text string) bool {
	return slices.ContainsFunc(r.attributes, func(a attribute) bool { return slices.Contains(a.path, text) })
}
