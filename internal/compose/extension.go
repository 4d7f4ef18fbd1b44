package compose

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const extensionKey = "x-perch"

// decodeExtension fills into (a pointer to a struct with yaml tags) from x-perch at path. Keys that the struct does not
// have, and values of the wrong kind, are problems with their line. It says whether there was such a key.
func (r *reading) decodeExtension(extensions map[string]any, path []string, into any) bool {
	value, ok := extensions[extensionKey]
	if !ok {
		return false
	}
	path = append(slices.Clone(path), extensionKey)
	before := len(r.problems)
	value = r.strict(value, path, reflect.TypeOf(into).Elem())
	data, err := yaml.Marshal(value)
	if err == nil {
		err = yaml.Unmarshal(data, into)
	}
	if err != nil && len(r.problems) > before {
		return false
	}
	if err != nil {
		r.problem(r.files.find(path...), subject(path)+"not understood: "+yamlReason(err), "")
		return false
	}
	return true
}

// strict compares a value with the type that it is to be decoded into, and gives it back as the type's fields have it: in
// its long form, with the numbers that came as text from a variable, and without what is wrong.
func (r *reading) strict(value any, path []string, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	written := value
	if short, ok := reflect.Zero(t).Interface().(shortForm); ok {
		if value = short.long(value); value == nil {
			return nil
		}
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		m, ok := value.(map[string]any)
		if !ok {
			break
		}
		return r.strictMap(m, path, t)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			break
		}
		_, listed := written.([]any)
		return r.strictList(list, path, t, listed)
	default:
		if known, ok := strictScalar(value, t.Kind()); ok {
			return known
		}
	}
	r.problem(r.files.find(path...), subject(path)+"must be "+kindWanted(t), "")
	return nil // so that the rest can be decoded and checked too
}

// strictScalar is a value of a kind that is no collection, and whether it is of that kind.
func strictScalar(value any, kind reflect.Kind) (any, bool) {
	text, isText := value.(string)
	switch kind {
	case reflect.Bool:
		if yes, err := strconv.ParseBool(text); isText && err == nil {
			return yes, true
		}
		_, ok := value.(bool)
		return value, ok
	case reflect.Int, reflect.Int32:
		if n, err := strconv.ParseInt(text, 10, 32); isText && err == nil {
			return int(n), true
		}
		n, ok := value.(int)
		return value, ok && n >= math.MinInt32 && n <= math.MaxInt32
	case reflect.String:
		switch value.(type) {
		case string, int, float64:
			return value, true
		}
		return value, false
	}
	return value, true
}

// kindWanted is a type in words.
func kindWanted(t reflect.Type) string {
	if short, ok := reflect.Zero(t).Interface().(shortForm); ok {
		return short.forms()
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32:
		return "an integer"
	}
	return "a string"
}

func (r *reading) strictList(list []any, path []string, t reflect.Type, listed bool) any {
	all := make([]any, len(list))
	for i, one := range list {
		at := slices.Clone(path)
		if listed {
			at = append(at, strconv.Itoa(i))
		}
		all[i] = r.strict(one, at, t.Elem())
	}
	return all
}

func (r *reading) strictMap(m map[string]any, path []string, t reflect.Type) any {
	all := make(map[string]any, len(m))
	fields := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
				fields[name] = t.Field(i).Type
			}
		}
	}
	for _, key := range sortedNames(m) {
		next := append(slices.Clone(path), key)
		field, ok := fields[key]
		switch {
		case t.Kind() == reflect.Map:
			field = t.Elem()
		case !ok:
			message, hint := unknownKey(key, sortedNames(fields), 0)
			r.problem(r.files.find(next...), subject(path)+message, hint)
			continue
		}
		all[key] = r.strict(m[key], next, field)
	}
	return all
}

// extensions decodes and checks every x-perch of the project.
func (r *reading) extensions() {
	p := r.project
	p.Services = map[string]ServiceExtension{}
	p.JobExtensions = map[string]ServiceExtension{}
	p.VolumeExtensions = map[string]VolumeExtension{}
	var top struct {
		Secrets []string       `yaml:"secrets"`
		Targets map[string]any `yaml:"targets"` // see targets
	}
	r.decodeExtension(p.Extensions, nil, &top)
	r.chooseTarget()
	for _, name := range sortedNames(p.Project.Services) {
		path := []string{"services", name}
		var x ServiceExtension
		service := p.Project.Services[name]
		if r.decodeExtension(service.Extensions, path, &x) {
			r.checkExtension(x, path)
			r.checkWorld(service, x, path)
			r.checkVariables(x, service.Environment, path)
			p.Services[name] = x
		}
	}
	for _, name := range sortedNames(p.Jobs) {
		var x struct {
			Secrets          []string          `yaml:"secrets"`
			Downward         map[string]string `yaml:"downward"`
			ImagePullSecrets []string          `yaml:"image_pull_secrets"`
		}
		path := []string{"jobs", name}
		if r.decodeExtension(p.Jobs[name].Extensions, path, &x) {
			job := ServiceExtension{Secrets: x.Secrets, Downward: x.Downward, ImagePullSecrets: x.ImagePullSecrets}
			r.checkPullSecrets(x.ImagePullSecrets, path)
			r.checkVariables(job, p.Jobs[name].Environment, path)
			p.JobExtensions[name] = job
		}
	}
	for _, name := range sortedNames(p.Volumes) {
		var x VolumeExtension
		path := []string{"volumes", name}
		if r.decodeExtension(p.Volumes[name].Extensions, path, &x) {
			r.checkSize(x.Size, append(path, extensionKey, "size"))
			p.VolumeExtensions[name] = x
		}
	}
	r.accounts()
	r.secretsOfAll(top.Secrets)
	r.secretsOfFiles()
}

// secretsOfAll adds the names of x-perch.secrets of the top level to every service and job that has such a variable.
func (r *reading) secretsOfAll(names []string) {
	p := r.project
	used := map[string]bool{}
	add := func(x ServiceExtension, environment map[string]*string) (ServiceExtension, bool) {
		before := len(x.Secrets)
		for _, name := range names {
			if _, ok := environment[name]; !ok {
				continue
			}
			used[name] = true
			if !slices.Contains(x.Secrets, name) {
				x.Secrets = append(slices.Clone(x.Secrets), name)
			}
		}
		return x, len(x.Secrets) > before
	}
	var variables []string
	for _, name := range sortedNames(p.Project.Services) {
		environment := p.Project.Services[name].Environment
		variables = append(variables, sortedNames(environment)...)
		if x, more := add(p.Services[name], environment); more {
			p.Services[name] = x
		}
	}
	for _, name := range sortedNames(p.Jobs) {
		environment := p.Jobs[name].Environment
		variables = append(variables, sortedNames(environment)...)
		if x, more := add(p.JobExtensions[name], environment); more {
			p.JobExtensions[name] = x
		}
	}
	for i, name := range names {
		if !used[name] {
			at := []string{extensionKey, "secrets", strconv.Itoa(i)}
			r.warn(r.files.find(at...), fmt.Sprintf("%s%q is no variable of any service or job", subject(at), name), didYouMean(name, variables))
		}
	}
}

func (r *reading) checkExtension(x ServiceExtension, path []string) {
	path = append(slices.Clone(path), extensionKey)
	r.checkProbe(x.Readiness, append(slices.Clone(path), "readiness"))
	r.checkProbe(x.Liveness, append(slices.Clone(path), "liveness"))
	r.checkProbe(x.Startup, append(slices.Clone(path), "startup"))
}

func (r *reading) checkProbe(p *Probe, path []string) {
	if p == nil {
		return
	}
	problem := func(key, message, hint string) {
		at := r.files.find(append(slices.Clone(path), key)...)
		if key == "" {
			at = r.files.find(path...)
		}
		r.problem(at, subject(path)+message, hint)
	}
	set := 0
	for _, one := range []bool{p.HTTP != "", p.TCP, len(p.Exec) > 0} {
		if one {
			set++
		}
	}
	if set != 1 {
		problem("", "one of http, tcp and exec is needed", "as in http: /ready")
	}
	if p.HTTP != "" && !strings.HasPrefix(p.HTTP, "/") {
		problem("http", fmt.Sprintf("http is a path that begins with a slash, not %q", p.HTTP), "as in http: /ready")
	}
	if p.Port < 0 || p.Port > 65535 {
		problem("port", fmt.Sprintf("port %d is not between 1 and 65535", p.Port), "")
	}
	if p.Retries < 0 {
		problem("retries", "retries must not be negative", "")
	}
	for key, value := range map[string]string{"interval": p.Interval, "timeout": p.Timeout, "start_period": p.StartPeriod} {
		if _, err := Duration(value); err != nil {
			problem(key, fmt.Sprintf("%s: %q is not a duration", key, value), "as in 5s or 1m30s")
		}
	}
}

// downwardFields are the fields of a pod that the API server lets a variable have.
var downwardFields = regexp.MustCompile(`^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]|` +
	`spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs))$`)

func (r *reading) checkVariables(x ServiceExtension, environment map[string]*string, path []string) {
	path = append(slices.Clone(path), extensionKey)
	for _, name := range sortedNames(x.Downward) {
		at := append(slices.Clone(path), "downward", name)
		if !downwardFields.MatchString(x.Downward[name]) {
			r.problem(r.files.find(at...), fmt.Sprintf("%s%q is not a field of a pod that a variable can have", subject(at), x.Downward[name]),
				"one of metadata.name, metadata.namespace, metadata.uid, spec.nodeName, status.hostIP, status.podIP, metadata.labels['KEY']")
		}
		if _, twice := environment[name]; twice {
			r.problem(r.files.find(at...), fmt.Sprintf("%s%s is in environment too", subject(path), name), "leave it out of one of the two")
		}
	}
	for i, name := range x.Secrets {
		if _, ok := environment[name]; !ok {
			at := append(slices.Clone(path), "secrets", strconv.Itoa(i))
			r.warn(r.files.find(at...), fmt.Sprintf("%s%q is no variable of it", subject(at), name), didYouMean(name, sortedNames(environment)))
		}
	}
}
