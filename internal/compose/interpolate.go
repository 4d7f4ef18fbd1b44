package compose

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"
)

// interpolator fills ${VAR} from the project's environment and remembers what was missing.
type interpolator struct {
	env     map[string]string
	partial bool              // an env file could not be read: what is not set may be in it
	secret  map[string]string // variables that are sensitive whatever their names are
}

func (i interpolator) lookup(name string) (string, bool) {
	v, ok := i.env[name]
	return v, ok
}

// substitute is what compose-go calls for each string. Mistakes were told with their lines before; here they are empty.
func (i interpolator) substitute(text string, mapping template.Mapping) (string, error) {
	value, err := template.SubstituteWithOptions(text, mapping, template.WithoutLogging)
	if err != nil {
		return "", nil //nolint:nilerr // examined before, see check
	}
	return value, nil
}

func (i interpolator) text(n *yaml.Node) string {
	if !strings.Contains(n.Value, "$") {
		return n.Value
	}
	value, _ := i.substitute(n.Value, i.lookup)
	return value
}

var reference = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)

// hide writes ${NAME} again for what the sensitive variables of a value stand for: a message shows the file, not them.
func (i interpolator) hide(n *yaml.Node, message string) string {
	if n.Kind != yaml.ScalarNode {
		return message
	}
	for _, m := range reference.FindAllStringSubmatch(n.Value, -1) {
		_, secret := i.secret[m[1]]
		if value := i.env[m[1]]; len(value) > 2 && (secret || Sensitive(m[1], value)) {
			message = strings.ReplaceAll(message, value, "${"+m[1]+"}")
		}
	}
	return message
}

// check tells every mistake in the variables of a file: bad syntax, required ones without a value, unset ones.
func (i interpolator) check(s *source, n *yaml.Node, path []string, f *findings) {
	switch n.Kind {
	case yaml.AliasNode: // checked where the anchor is
	case yaml.MappingNode:
		for k := 0; k+1 < len(n.Content); k += 2 {
			i.check(s, n.Content[k+1], append(slices.Clone(path), n.Content[k].Value), f)
		}
	case yaml.SequenceNode:
		for k, one := range n.Content {
			i.check(s, one, append(slices.Clone(path), fmt.Sprint(k)), f)
		}
	case yaml.ScalarNode:
		if strings.Contains(n.Value, "$") {
			before := len(f.problems)
			i.checkText(s.at(n, pathString(path)), n.Value, path, f)
			if len(f.problems) > before {
				s.bad[n] = true
			}
		}
	}
}

func (i interpolator) checkText(at position, text string, path []string, f *findings) {
	var unset []string
	_, err := template.SubstituteWithOptions(text, func(name string) (string, bool) {
		v, ok := i.lookup(name)
		if !ok && !slices.Contains(unset, name) {
			unset = append(unset, name)
		}
		return v, ok
	}, template.WithoutLogging)
	var missing *template.MissingRequiredError
	var invalid *template.InvalidTemplateError
	switch {
	case errors.As(err, &missing) && i.partial:
	case errors.As(err, &missing):
		message := fmt.Sprintf("%svariable %s is required and has no value", subject(path), missing.Variable)
		if missing.Reason != "" {
			message += ": " + missing.Reason
		}
		f.problem(at, message, fmt.Sprintf("set %s in the environment or in .env", missing.Variable))
	case errors.As(err, &invalid):
		f.problem(at, subject(path)+"not a valid variable in this value", "write $$ for a dollar sign, ${NAME} for a variable")
	case err != nil:
		f.problem(at, subject(path)+err.Error(), "")
	case i.partial:
	default:
		for _, name := range unset {
			if plainReference(text, name) {
				f.warn(at, fmt.Sprintf("%svariable %s is not set; it is empty here", subject(path), name),
					fmt.Sprintf("set it in the environment or in .env, or write ${%s:-} for none", name))
			}
		}
	}
}

// plainReference tells whether text refers to a variable with neither default nor alternative.
func plainReference(text, name string) bool {
	if strings.Contains(text, "${"+name+"}") {
		return true
	}
	_, rest, found := strings.Cut(text, "$"+name)
	return found && (rest == "" || !isWordByte(rest[0]))
}

func isWordByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
