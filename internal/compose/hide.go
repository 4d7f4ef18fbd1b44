package compose

import (
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Hidden stands in an output where a sensitive value would.
const Hidden = "<hidden>"

// shortestSecretText is how long a sensitive value must be to be looked for in other places than its own: in a shorter
// one every other word would be hidden too.
const shortestSecretText = 6

// WithoutSecrets is the project with Hidden for the value of each sensitive variable and build argument. Where else such
// a value stands (a command that repeats a password) is found with SecretTexts.
func (p *Project) WithoutSecrets() *types.Project {
	shown := *p.Project
	shown.Services = maps.Clone(p.Project.Services)
	for name, s := range shown.Services {
		s.Environment = hideVariables(s.Environment, p.Services[name])
		s.Build = hideArguments(s.Build, p.Services[name])
		s.PreStart = slices.Clone(s.PreStart)
		for i, hook := range s.PreStart {
			s.PreStart[i].Environment = hideVariables(hook.Environment, p.Services[name])
		}
		s.PostStart = hideHooks(s.PostStart, p.Services[name])
		s.PreStop = hideHooks(s.PreStop, p.Services[name])
		shown.Services[name] = s
	}
	shown.Jobs = maps.Clone(p.Project.Jobs)
	for name, j := range shown.Jobs {
		j.Environment = hideVariables(j.Environment, p.JobExtensions[name])
		j.Build = hideArguments(j.Build, p.JobExtensions[name])
		shown.Jobs[name] = j
	}
	return &shown
}

func hideHooks(hooks []types.ServiceHook, x ServiceExtension) []types.ServiceHook {
	hooks = slices.Clone(hooks)
	for i, hook := range hooks {
		hooks[i].Environment = hideVariables(hook.Environment, x)
	}
	return hooks
}

func hideArguments(b *types.BuildConfig, x ServiceExtension) *types.BuildConfig {
	if b == nil {
		return nil
	}
	shown := *b
	shown.Args = hideVariables(b.Args, x)
	return &shown
}

func hideVariables(env types.MappingWithEquals, x ServiceExtension) types.MappingWithEquals {
	shown := maps.Clone(env)
	for name, value := range env {
		if value != nil && *value != "" && x.Sensitive(name, *value) {
			shown[name] = new(Hidden)
		}
	}
	return shown
}

// SecretTexts are the values that no output may show wherever they stand, longest first: of sensitive variables, of
// secrets: that are one line, and of arguments that are a password. A value that stands in the open anyway (a password
// that is also the name of the user, of a service or of an image) is not among them, nor is one of less than 6 bytes.
func (p *Project) SecretTexts() []string {
	secret, open := map[string]bool{}, map[string]bool{}
	p.eachVariable(func(_, value string, sensitive bool) {
		if sensitive {
			secret[value] = true
		} else {
			open[value] = true
		}
	})
	for name, s := range p.Project.Services {
		open[name] = true
		openImage(open, s.Image)
	}
	for name, j := range p.Project.Jobs {
		open[name] = true
		openImage(open, j.Image)
	}
	for _, text := range p.argumentPasswords() {
		secret[text] = true
	}
	for _, data := range p.SecretData {
		secret[strings.TrimRight(string(data), "\r\n")] = true
	}
	fromFiles := map[string]bool{}
	for _, text := range p.fromFiles {
		secret[text], fromFiles[text] = true, true
	}
	var texts []string
	for text := range secret {
		if len(text) >= shortestSecretText && !open[text] && (fromFiles[text] || !strings.Contains(text, "\n")) {
			texts = append(texts, text)
		}
	}
	slices.SortFunc(texts, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return texts
}

// openImage takes the last word of an image's name as one that stands in the open.
func openImage(open map[string]bool, image string) {
	image = image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ := strings.Cut(image, ":")
	open[name] = true
}
