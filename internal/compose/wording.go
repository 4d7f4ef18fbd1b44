package compose

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
)

// subject begins a message with the thing it is about: service "web": deploy.
func subject(path []string) string {
	if len(path) == 0 {
		return ""
	}
	kinds := map[string]string{
		"services": "service", "jobs": "job", "volumes": "volume", "networks": "network", "secrets": "secret",
		"configs": "config", "models": "model",
	}
	kind, known := kinds[path[0]]
	if !known || len(path) < 2 {
		return pathString(path) + ": "
	}
	head := fmt.Sprintf("%s %q: ", kind, path[1])
	if len(path) == 2 {
		return head
	}
	return head + pathString(path[2:]) + ": "
}

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = strconv.Quote(name)
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

// unknownKey words the complaint about a key that the specification does not have.
func unknownKey(key string, known []string, patterns int) (message, hint string) {
	message = fmt.Sprintf("unknown key %q", key)
	hint = didYouMean(key, known)
	if hint == "" && len(known) > 0 && len(known) <= 12 {
		hint = "the keys here are " + strings.Join(known, ", ")
	}
	if hint == "" && len(known) == 0 && patterns > 0 {
		hint = "names have letters, digits, dots, hyphens and underscores"
	}
	if hint == "" {
		hint = "leave it out; keys of your own begin with x-"
	}
	return message, hint
}

// belongs is the hint for a key that the specification has, but deeper or higher than it stands.
func belongs(pattern, key string) string {
	best := ""
	for _, path := range schema.AttributePaths() {
		rest, below := strings.CutPrefix(string(path), pattern+".")
		if inner, ok := strings.CutSuffix(rest, "."+key); below && pattern != "" && ok && !strings.ContainsAny(inner, "*[") {
			if best == "" || len(inner) < len(best) {
				best = inner
			}
		}
	}
	if best != "" {
		return fmt.Sprintf("%s belongs under %s:", key, best)
	}
	for parent := pattern; strings.Contains(parent, "."); {
		parent = parent[:strings.LastIndexByte(parent, '.')]
		if slices.Contains(schema.AttributePaths(), tree.Path(parent+"."+key)) && !strings.HasSuffix(parent, "*") {
			return fmt.Sprintf("%s belongs under %s:", key, parent[strings.LastIndexByte(parent, '.')+1:])
		} else if parent == "services.*" && slices.Contains(schema.AttributePaths(), tree.Path(parent+"."+key)) {
			return fmt.Sprintf("%s belongs to the service itself, beside image: and build:", key)
		}
	}
	return ""
}

// didYouMean is the hint that names the nearest of the known words, "" when none is near.
func didYouMean(word string, known []string) string {
	best, distance := "", 3
	if len(word) < 4 {
		distance = 2
	}
	for _, candidate := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(candidate)); d < distance || (d == distance && best == "" && d < len(word)/2) {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// editDistance counts the insertions, deletions, changes and swaps of neighbours that make b of a.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
