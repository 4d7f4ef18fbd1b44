package secrets_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/secrets"
)

func TestText(t *testing.T) {
	t.Parallel()
	v := secrets.Values{
		"B": "two\nlines\n", "A": "x", "NUMBER": "0123", "YES": "yes", "NULL": "null", "HASH": "a #b: c", "STAR": "*x", "Q": `'"`,
	}
	got, err := v.Text()
	want := "A: x\nB: |\n  two\n  lines\nHASH: 'a #b: c'\n\"NULL\": \"null\"\nNUMBER: \"0123\"\nQ: '''\"'\nSTAR: '*x'\nYES: yes\n"
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
}

// TestParse: what people write, and what they write wrong. No message quotes what stands there.
func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]secrets.Values{
		"":                          {},
		"# nothing\n":               {},
		"A: yes\nB: 0123\nC: 1e3\n": {"A": "yes", "B": "0123", "C": "1e3"},
		"A: |\n  a\n  b\n":          {"A": "a\nb\n"},
		"A: ''\n":                   {"A": ""},
	} {
		got, err := secrets.Parse([]byte(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v -want +got:\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"A: x\nB: *" + marker:                "line ",
		"A: x\nB: [" + marker:                "line ",
		"A: x\nB:\n  C: " + marker:           "line 3: the value of B is not a text",
		"A: x\nB: [" + marker + "]":          "line 2: the value of B is not a text",
		"A: x\nA: " + marker:                 "line 2: A is there twice",
		marker:                               "line 1: not a list",
		"- " + marker:                        "line 1: not a list",
		"A: x\n" + marker + " y: z":          "line 2: what stands before the colon",
		"A: x\nB:\n":                         "line 2: B has no value",
		"A: ~":                               "line 1: A has no value",
		"A: !!binary " + marker:              "line 1: the value of A is not a text",
		"A: @" + marker:                      "not YAML",
		"A: &x " + marker + "\nB: *x":        "line 2: the value of B is not a text",
		"A: \"" + marker:                     "not YAML",
		"<<: {A: " + marker + "}\n":          "line 1",
		"A: x\n? [" + marker + "]\n: " + "x": "line 2",
	} {
		_, err := secrets.Parse([]byte(text))
		if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), marker) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// FuzzText: every value that is text comes back as it was.
func FuzzText(f *testing.F) {
	for _, value := range []string{
		"x", "a\nb", "a\n b\n", "\n", " \n x", "a\r\nb\r\n", "\ta\n\tb", "a\n\n\nb\n\n", "#\n-\n", "\ufeffx\ny", "a\u2028b\n", "---\nx\n...\n", "a \nb", "\x7f\x01\n",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		v := secrets.Values{"A": value, "B": value + "\n" + value}
		if v.Check() != nil {
			return
		}
		text, err := v.Text()
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if got, err := secrets.Parse(text); err != nil || !maps.Equal(got, v) {
			t.Errorf("%q becomes %q: %v", value, got, err)
		}
	})
}
