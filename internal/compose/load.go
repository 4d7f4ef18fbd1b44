package compose

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"
)

// reading is one Load: what it was asked, what it read and what it found.
type reading struct {
	options     Options
	env         map[string]string // for interpolation: the caller's, then env files
	dir         string            // the project's folder
	name        string            // of the project
	files       sources
	targets     map[string]Target // of x-perch.targets
	shape       *shape
	attributes  []attribute // of all files, in file order
	model       map[string]any
	project     *Project
	interpolate interpolator
	secret      map[string]string    // variables of Options.Secrets, with the values that count
	closed      bool                 // Options.Secrets could not be had
	incomplete  bool                 // a file that it includes or extends could not be read
	bound       map[string][]bindUse // what containers mount from this machine, by absolute path
	findings
}

// Load finds and reads the Compose files of a project and checks all of it. The error is Problems when the files were
// read and are wrong, or a *fault.Error when there is no file. What is only worth a warning is in Project.Warnings.
func Load(ctx context.Context, o Options) (*Project, error) {
	registerRaw()
	r := &reading{options: o}
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	if r.shape == nil {
		return nil, r.problems.sorted() // without the YAML of the main files there is nothing more to say
	}
	r.examine()
	r.load(ctx)
	if r.project != nil {
		r.checkProject()
	}
	r.redact()
	if len(r.problems) > 0 {
		return nil, r.problems.sorted()
	}
	r.project.Warnings = r.warnings.sorted()
	r.project.find = r.files.find
	return r.project, nil
}

// read finds the files, their environment and their YAML.
func (r *reading) read(ctx context.Context) error {
	r.env = baseEnvironment(r.options)
	// An .env where the search starts may say where the files are. Its mistakes are told when it is the project's.
	start := absolute(r.options.WorkingDir, r.options.ProjectDir)
	files, err := locate(r.options, withEnvFiles(r.options, start, r.env, new(findings)))
	if err != nil {
		return err
	}
	r.dir = projectDir(r.options, files)
	if err := r.openSecrets(ctx); err != nil {
		return err
	}
	r.env = withEnvFiles(r.options, r.dir, r.env, &r.findings)
	partial := r.closed || len(r.problems) > 0
	if r.files, err = readMain(r.options, files, &r.findings); err != nil {
		return err
	}
	broken := len(r.files) < len(files)
	if len(r.options.Override) > 0 {
		const name = "(override)"
		r.files = append(r.files, &source{path: name, shown: name, order: len(r.files), main: true, override: true, content: r.options.Override})
	}
	for _, s := range r.files {
		s.dir = r.dir
		s.parse(&r.findings)
		if len(s.docs) == 0 && !s.broken {
			r.problem(position{file: s.shown, order: s.order, line: 1}, "the file is empty", "begin with services:")
		}
		broken = broken || s.broken || len(s.docs) == 0
	}
	if broken {
		return nil
	}
	r.nameProject()
	r.env["COMPOSE_PROJECT_NAME"] = r.name
	r.interpolate = interpolator{env: r.env, partial: partial, secret: r.secret}
	for _, s := range r.files {
		s.vars = r.interpolate
	}
	r.targets = r.findTargets()
	if err := r.overrides(); err != nil {
		return err
	}
	r.shape, err = composeShape()
	if err != nil {
		return err
	}
	r.followAll()
	return nil
}

// nameProject gives the project its name: -p, COMPOSE_PROJECT_NAME, name:, the folder.
func (r *reading) nameProject() {
	if given := cmpOr(r.options.ProjectName, r.env["COMPOSE_PROJECT_NAME"]); given != "" {
		r.name = given
		if normal := loader.NormalizeProjectName(given); normal != given {
			r.problem(position{}, fmt.Sprintf("project name %q has characters that Compose does not allow", given),
				fmt.Sprintf("use lower-case letters, digits, hyphens and underscores, as in %q", normal))
			r.name = cmpOr(normal, "default") // to check the rest
		}
		return
	}
	for _, s := range r.files {
		for _, doc := range s.docs {
			if _, value := child(doc, "name"); value != nil {
				if name := loader.NormalizeProjectName(interpolator{env: r.env}.text(value)); name != "" {
					r.name = name
				}
			}
		}
	}
	if r.name == "" {
		r.name = cmpOr(loader.NormalizeProjectName(filepath.Base(r.dir)), "default")
	}
}

func cmpOr(first, second string) string {
	if first != "" {
		return first
	}
	return second
}

// examine checks each file by itself: its variables, and its shape along the schema.
func (r *reading) examine() {
	e := &examiner{
		root: r.shape, found: &r.findings, known: map[*shape]keys{}, regexp: map[string]*regexp.Regexp{}, checks: valueChecks(),
		met: func(a attribute) { r.attributes = append(r.attributes, a) },
	}
	for _, s := range r.files {
		e.source, e.text, e.bad = s, s.vars.text, s.bad
		for _, doc := range s.docs {
			s.vars.check(s, doc, nil, &r.findings)
			e.document(doc)
		}
	}
}

// load has compose-go make the project of the files, without the values that are wrong by themselves, so that the rest
// can be checked too. When it fails after all on files that are wrong, the reason was most likely told before.
func (r *reading) load(ctx context.Context) {
	details := types.ConfigDetails{WorkingDir: r.dir, Environment: r.env}
	for _, s := range r.files {
		if s.main {
			details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: s.path, Content: s.readable()})
		}
	}
	options := func(o *loader.Options) {
		o.SetProjectName(r.name, true)
		o.Interpolate.Substitute = r.interpolate.substitute
		o.Profiles = r.profiles()
		o.SkipValidation = true // compose-go's ends at the first mistake; checkModel and examine do it
		o.SkipConsistencyCheck = true
		o.SkipResolveEnvironment = true // env files are read in contents.go, service by service
		o.SkipResolveLabels = true
	}
	err := r.loadWith(ctx, details, options)
	if err == nil {
		return
	}
	r.project = nil
	if len(r.problems) == 0 {
		at, message := r.blame(err)
		r.problem(at, message, "")
	}
}

// loadWith calls compose-go. It takes shapes for granted that only validation would have refused, so a panic of it is an
// error about the file.
func (r *reading) loadWith(ctx context.Context, details types.ConfigDetails, options func(*loader.Options)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file has a value of a kind that is not expected there: %v", p)
		}
	}()
	r.model, err = loader.LoadModelWithContext(ctx, details, options)
	if err != nil {
		return err
	}
	if len(r.problems) == 0 {
		if err := schema.Validate(modelOnly(r.model)); err != nil {
			return err
		}
	}
	opts := loader.ToOptions(&details, []func(*loader.Options){options})
	project, err := loader.ModelToProject(cloneMap(r.model), opts, details)
	if err != nil {
		return err
	}
	for _, s := range r.files {
		if s.main {
			project.ComposeFiles = append(project.ComposeFiles, s.path)
		}
	}
	r.project = &Project{Project: project, Namespace: Name(r.name)}
	return nil
}

// modelOnly is the model without what compose-go adds in normalizing, which its own schema would not accept.
func modelOnly(model map[string]any) map[string]any {
	clean := cloneMap(model)
	for _, secret := range mapOf(clean["secrets"]) {
		if m := mapOf(secret); m != nil {
			delete(m, types.SecretConfigXValue)
		}
	}
	for _, config := range mapOf(clean["configs"]) {
		if m := mapOf(config); m != nil && m["environment"] != nil {
			delete(m, "content")
		}
	}
	return clean
}

func mapOf(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func cloneMap(m map[string]any) map[string]any {
	return clone(m).(map[string]any)
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for key, one := range v {
			c[key] = clone(one)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, one := range v {
			c[i] = clone(one)
		}
		return c
	}
	return v
}

func (r *reading) profiles() []string {
	if len(r.options.Profiles) > 0 {
		return r.options.Profiles
	}
	var profiles []string
	for _, one := range strings.Split(r.env["COMPOSE_PROFILES"], ",") {
		if one = strings.TrimSpace(one); one != "" {
			profiles = append(profiles, one)
		}
	}
	return profiles
}

// blame finds the place that an error of compose-go is about, by the path that it begins with or names.
func (r *reading) blame(err error) (position, string) {
	message := strings.TrimPrefix(err.Error(), "validating ")
	message = strings.ReplaceAll(message, r.dir+"/", "")
	for _, word := range strings.FieldsFunc(message, func(c rune) bool { return strings.ContainsRune(" :,'\"\n", c) }) {
		path := strings.FieldsFunc(word, func(c rune) bool { return strings.ContainsRune(".[]", c) })
		if len(path) > 1 && slices.Contains([]string{"services", "volumes", "networks", "secrets", "configs", "jobs"}, path[0]) {
			return r.files.find(path...), message
		}
	}
	if len(r.files) > 0 {
		return position{file: r.files[0].shown}, message
	}
	return position{}, message
}

// sortedNames are the keys of m in order.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

var _ error = Problems(nil)
