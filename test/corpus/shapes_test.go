package corpus

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

// shape is one file of testdata/shapes: a Compose file with its neighbours, and what must be said of it.
type shape struct {
	source
	files map[string][]byte
	want  []string // lines of "refused: TEXT", "warning: TEXT" or "any:", which lets it be refused or not
}

// shapes unpacks the files.
func shapes(t *testing.T) []shape {
	t.Helper()
	paths, err := filepath.Glob("testdata/shapes/*.txtar")
	if err != nil || len(paths) < 40 {
		t.Fatalf("there are %d files: %v", len(paths), err)
	}
	var all []shape
	for _, p := range paths {
		archive, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(p), ".txtar")
		s := shape{files: map[string][]byte{}, source: source{
			name: name, dir: filepath.Join(t.TempDir(), name), embedded: true,
			env: map[string]string{"HOME": "/home/somebody", "FROM_SHELL": "from the shell", "TOKEN": "a-token"},
		}}
		for _, f := range archive.Files {
			if f.Name == "want" {
				s.want = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
				continue
			}
			s.files[f.Name] = f.Data
			s.put(t, f)
		}
		all = append(all, s)
	}
	return all
}

func (s shape) put(t *testing.T, f txtar.File) {
	t.Helper()
	path, mode := filepath.Join(s.dir, f.Name), os.FileMode(0o600)
	if strings.HasSuffix(f.Name, ".sh") {
		mode = 0o700
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f.Data, mode); err != nil {
		t.Fatal(err)
	}
}

// testShapes is the corpus of our own, with the same server.
func testShapes(t *testing.T, server *api) {
	var results []result
	accepted := map[string]int{}
	for _, s := range shapes(t) {
		r := convert(t.Context(), s.source)
		results = append(results, r)
		t.Run(s.name, func(t *testing.T) {
			accepted[s.name] = server.accept(t, r)
			s.wanted(t, r)
			if r.refused == nil {
				promises(t, r)
			}
		})
	}
	report(t, table("SHAPES", results, accepted))
	golden(t, "testdata/shapes.golden", said(results))
}

// wanted compares what is said with what must be said. Every complaint about a file has its line.
func (s shape) wanted(t *testing.T, r result) {
	t.Helper()
	refusals := 0
	for _, line := range s.want {
		kind, text, _ := strings.Cut(line, ": ")
		list := r.problems()
		if kind == "warning" {
			list = r.warnings()
		}
		if kind == "refused" {
			refusals++
		}
		if kind != "any:" && !slices.ContainsFunc(list, func(l string) bool { return strings.Contains(l, text) }) {
			t.Errorf("no %s with %q in\n%s", kind, text, strings.Join(list, "\n"))
		}
	}
	if (refusals > 0) != (r.refused != nil) && !slices.Contains(s.want, "any:") {
		t.Errorf("refused: %v", r.refused)
	}
	for _, problem := range r.problems() {
		_, rest, _ := strings.Cut(problem, ":")
		number, _, _ := strings.Cut(rest, ":")
		if _, err := strconv.Atoi(number); err != nil {
			t.Errorf("no file and line: %s", problem)
		}
	}
}

// TestEveryAttribute wants each attribute of the specification's schema to be in one of the files. What jobs and pre_start
// have of a container they have in common with services, and is not asked for again.
func TestEveryAttribute(t *testing.T) {
	t.Parallel()
	met := map[string]bool{}
	for _, s := range shapes(t) {
		for name, data := range s.files {
			var tree any
			if strings.HasSuffix(name, ".yaml") && yaml.Unmarshal(plain(data), &tree) == nil {
				collect(tree, nil, met)
			}
		}
	}
	for _, path := range schema.AttributePaths() {
		words := strings.Split(string(path), ".")
		if words[0] == "jobs" && len(words) > 2 && words[2] != "triggers" || len(words) > 4 && words[2] == "pre_start" && words[4] != "per_replica" {
			continue
		}
		if !has(met, words) {
			t.Errorf("no file has %s", path)
		}
	}
}

// plain is YAML without the tags that only Compose knows.
func plain(data []byte) []byte {
	return []byte(strings.NewReplacer("!override", "", "!reset", "").Replace(string(data)))
}

// collect notes the path of each node, with [] for an item of a list.
func collect(node any, at []string, met map[string]bool) {
	met[strings.Join(at, "\x00")] = true
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			collect(value, append(slices.Clone(at), key), met)
		}
	case []any:
		for _, value := range node {
			collect(value, append(slices.Clone(at), "[]"), met)
		}
	}
}

func has(met map[string]bool, pattern []string) bool {
	for path := range met {
		words := strings.Split(path, "\x00")
		if len(words) == len(pattern) && !slices.ContainsFunc(indexes(pattern), func(i int) bool { return pattern[i] != "*" && pattern[i] != words[i] }) {
			return true
		}
	}
	return false
}

func indexes(words []string) []int {
	out := make([]int, len(words))
	for i := range words {
		out[i] = i
	}
	return out
}
