package compose

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
)

func TestName(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"web": "web", "my_db": "my-db", "My.DB": "my-db", "-x-": "x", "1st": "x1st", strings.Repeat("a", 63): strings.Repeat("a", 63),
	}
	for in, want := range cases {
		if got := Name(in); got != want {
			t.Errorf("Name(%q) = %q, want %q", in, got, want)
		}
	}
	long := strings.Repeat("a", 80)
	if got := NameWithin(long, 53); len(got) != 53 || got == NameWithin(long+"b", 53) {
		t.Errorf("a long name became %q", got)
	}
	if got := Name("___"); got == "" || got != Name("___") || got == Name("__") {
		t.Errorf("a name of underscores became %q", got)
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	known := []string{"ports", "expose", "environment", "env_file", "command", "configs"}
	for word, want := range map[string]string{
		"port": "ports", "environmnt": "environment", "Ports": "ports", "prots": "ports", "comand": "command", "config": "configs", "zebra": "", "x": "",
	} {
		if got := didYouMean(word, known); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("didYouMean(%q) = %q, want %q", word, got, want)
		}
	}
}

// TestSchemaIsUnderstood: a keyword of JSON schema that the examiner does not know would let mistakes through.
func TestSchemaIsUnderstood(t *testing.T) {
	t.Parallel()
	known := map[string]bool{
		"$schema": true, "$id": true, "title": true, "description": true, "deprecated": true, "default": true, "$defs": true, "$ref": true,
		"type": true, "properties": true, "patternProperties": true, "additionalProperties": true, "unevaluatedProperties": true, "items": true,
		"oneOf": true, "anyOf": true, "allOf": true, "enum": true, "required": true, "uniqueItems": true, "minimum": true, "maximum": true,
		"pattern": true, "format": true,
	}
	var root any
	if err := json.Unmarshal([]byte(schema.Schema), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(v any, names bool)
	walk = func(v any, names bool) {
		switch v := v.(type) {
		case map[string]any:
			for key, one := range v {
				if !names && !known[key] {
					t.Errorf("the schema uses %q", key)
				}
				if key == "pattern" && !names {
					if text, ok := one.(string); ok {
						regexp.MustCompile(text)
					}
				}
				if key == "patternProperties" && !names {
					for pattern := range one.(map[string]any) {
						regexp.MustCompile(pattern)
					}
				}
				walk(one, !names && (key == "properties" || key == "patternProperties" || key == "$defs"))
			}
		case []any:
			for _, one := range v {
				walk(one, false)
			}
		}
	}
	walk(root, false)
	if _, err := composeShape(); err != nil {
		t.Error(err)
	}
}
