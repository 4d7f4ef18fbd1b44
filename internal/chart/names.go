package chart

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// reservedValues are what the top level of values.yaml has beside services.
func reservedValues() []string {
	return []string{"global", "imagepullsecrets", "persistence", "secrets", "migrations", "tests"}
}

var (
	wordPattern = regexp.MustCompile(`[a-z0-9]+`)
	hashPattern = regexp.MustCompile(`-[0-9a-f]{10}$`)
)

// identifier is a name in camelCase, which templates can write after a dot.
func identifier(name string) string {
	var out strings.Builder
	for i, word := range wordPattern.FindAllString(strings.ToLower(name), -1) {
		if i > 0 {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		out.WriteString(word)
	}
	id := out.String()
	if id == "" || id[0] >= '0' && id[0] <= '9' {
		id = "n" + id
	}
	return id
}

// serviceID is the part of values.yaml that a service has.
func serviceID(service string) string {
	id := identifier(service)
	if slices.Contains(reservedValues(), strings.ToLower(id)) {
		id += "Service"
	}
	return id
}

// unhashed is the name of an object without the hash of its content.
func unhashed(name string) string { return hashPattern.ReplaceAllString(name, "") }

// free is name, or name-2 and so on when it is taken; it is taken afterwards.
func free(taken map[string]bool, name string) string {
	found := name
	for n := 2; taken[found]; n++ {
		found = fmt.Sprintf("%s-%d", name, n)
	}
	taken[found] = true
	return found
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
