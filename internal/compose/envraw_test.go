package compose

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRaw(t *testing.T) {
	t.Parallel()
	vars := map[string]string{}
	text := "\uFEFF# a comment\n\nQUOTED=\"a b\" # c\nDOLLAR=$NOT ${X}\n  INDENTED=x \nEMPTY=\nEQUALS=a=b\nFROM_SHELL\nNOWHERE\r\n"
	lookup := func(name string) (string, bool) { return "shell", name == "FROM_SHELL" }
	if err := parseRaw(strings.NewReader(text), "", vars, lookup); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"QUOTED": `"a b" # c`, "DOLLAR": "$NOT ${X}", "INDENTED": "x ", "EMPTY": "", "EQUALS": "a=b", "FROM_SHELL": "shell"}
	if diff := cmp.Diff(want, vars); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for text, want := range map[string]string{
		"A=b\nB C=secret": `line 2: unexpected character " " in variable name`,
		"=secret":         `line 1: unexpected character "=" in variable name`,
		"A =secret":       `line 1: unexpected character " " in variable name`,
	} {
		if err := parseRaw(strings.NewReader(text), "", map[string]string{}, lookup); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
