package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestUserFile(t *testing.T) {
	t.Parallel()
	read := func(content string, env ...string) (*globals, error) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "perch"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "perch", "config.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		e := Env{Environ: append(env, "XDG_CONFIG_HOME="+dir)}
		g := newGlobals()
		if err := g.fromEnvironment(e); err != nil {
			t.Fatal(err)
		}
		err := g.fromUserFile(e)
		return g, err
	}
	g, err := read("context: stage\nprofile: [a, b]\nno-input: true\n", "PERCH_CONTEXT=mine")
	if err != nil || g.context != "mine" || len(g.profiles) != 2 || !g.noInput {
		t.Errorf("context %q, profiles %v, no-input %v: %v", g.context, g.profiles, g.noInput, err)
	}
	for content, want := range map[string]string{
		"contxt: x\nno-input: perhaps\n": `config.yaml:1: no global flag is called "contxt"
config.yaml:2: no-input: "perhaps": strconv.ParseBool: parsing "perhaps": invalid syntax`,
		"context: {a: b}": "config.yaml:1: context: must be one value",
		"- a":             "config.yaml:1: must be a mapping of names of global flags",
	} {
		_, err := read(content)
		if err == nil || withoutFolder(err.Error()) != want {
			t.Errorf("%q: %v", content, err)
		}
	}
	if _, err := read(""); err != nil {
		t.Error(err)
	}
}

func withoutFolder(text string) string {
	return regexp.MustCompile(`(?m)^/\S*/`).ReplaceAllString(text, "")
}
