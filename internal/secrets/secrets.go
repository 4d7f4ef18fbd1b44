// Package secrets keeps a project's secrets in files beside its Compose file, encrypted by age for those who may read
// them: secrets.age for all targets, secrets.TARGET.age for one, secrets.recipients for the public keys. It knows of
// files and keys only: what is asked, shown and used is its callers' matter. Values are in no error of it, and no
// function of it writes one to a disk in the clear.
package secrets

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/perch-k8s/perch/internal/fault"
)

// Values are secrets in the clear, by name.
type Values map[string]string

// Names are the names of v, sorted.
func (v Values) Names() []string { return slices.Sorted(maps.Keys(v)) }

// largest is how much one file holds in the clear: what Kubernetes takes in one Secret.
const largest = 1 << 20

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Setting tells whether a variable tells Compose or Perch what to do, so that it is no secret of the project.
func Setting(name string) bool {
	return strings.HasPrefix(name, "COMPOSE_") || strings.HasPrefix(name, "PERCH_")
}

// CheckName refuses names that a Compose file could not refer to.
func CheckName(name string) error {
	if before, _, ok := strings.Cut(name, "="); ok {
		return fault.New(fault.Usage, "give the name only: the value is asked for, or read from standard input or --from-file",
			"%s: a value on the command line would stay in the shell's history", before)
	}
	if !variableName.MatchString(name) {
		return fault.New(fault.Usage, "as in DB_PASSWORD", "%q is not the name of a variable: letters, digits and underscores", name)
	}
	if Setting(name) {
		return fault.New(fault.Usage, "set it in the environment or in .env", "%s is a setting, and no secret of the project", name)
	}
	return nil
}

// Check refuses what cannot be kept or used: all complaints at once, by name.
func (v Values) Check() error {
	var wrong []string
	size := 0
	for _, name := range v.Names() {
		value := v[name]
		size += len(name) + len(value)
		switch err := CheckName(name); {
		case err != nil:
			return err
		case value == "":
			wrong = append(wrong, name+" has no value")
		case !utf8.ValidString(value) || strings.Contains(value, "\x00"):
			wrong = append(wrong, name+" is not text")
		}
	}
	if len(wrong) > 0 {
		return fault.New(fault.Usage, "give it a value that is text (a key in binary form: as base64), or leave it out", "%s", strings.Join(wrong, ", "))
	}
	if size > largest {
		return fault.New(fault.Usage, "keep what is big in a volume or a bucket", "%d bytes of secrets; one file holds 1 MiB", size)
	}
	return nil
}

// Merge is what an edit of base makes of the values as they are now: the names that the edit changed have its values. Those
// that somebody else changed meanwhile to something else are conflicts.
func Merge(base, edited, now Values) (merged Values, conflicts []string) {
	merged = maps.Clone(now)
	if merged == nil {
		merged = Values{}
	}
	all := Values{}
	maps.Copy(all, base)
	maps.Copy(all, edited)
	for _, name := range all.Names() {
		was, had := base[name]
		is, has := edited[name]
		if was == is && had == has {
			continue
		}
		current, there := now[name]
		if same := current == was && there == had || current == is && there == has; !same {
			conflicts = append(conflicts, name)
		}
		if has {
			merged[name] = is
		} else {
			delete(merged, name)
		}
	}
	return merged, conflicts
}

// Line is a value as it comes from a file or a pipe: a value of one line loses the line break at its end, one of several
// keeps all of them, as a key in PEM form wants it.
func Line(data []byte) string {
	text := string(data)
	if one := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"); !strings.Contains(one, "\n") {
		return one
	}
	return text
}
