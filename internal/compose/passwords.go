package compose

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// span is a part of a text, from its first byte to behind its last.
type span struct{ from, to int }

var (
	// endOfValue is what a password in a setting or an argument cannot have.
	endOfValue = regexp.MustCompile(`[\s;,&"'|)}\]]|$`)

	endOfWord = regexp.MustCompile(`[\s"']|$`)
)

// HidePasswords is a text with Hidden for each password, token and key that its form gives away: those of which a warning is
// given when they stand in a command, a label or a config.
func HidePasswords(text string) string {
	spans := passwordsIn(text)
	var b strings.Builder
	at := 0
	for _, s := range spans {
		if s.from < at {
			continue
		}
		b.WriteString(text[at:s.from])
		b.WriteString(Hidden)
		at = s.to
	}
	b.WriteString(text[at:])
	return b.String()
}

// passwordsIn is where the passwords of a text stand, those that are an argument too, first to last; of those that overlap,
// the longest first.
func passwordsIn(text string) []span {
	found := append(formsIn(text), valuesOf(passwordFlag, text)...)
	slices.SortFunc(found, func(a, b span) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	return found
}

// formsIn is where passwords, tokens and private keys stand that their form gives away in any text.
func formsIn(text string) []span {
	var found []span
	for _, m := range urlAuthority.FindAllStringSubmatchIndex(text, -1) {
		if authority := text[m[2]:m[3]]; authorityHoldsPassword(authority) {
			found = append(found, span{m[2] + strings.IndexByte(authority, ':') + 1, m[3]})
		}
	}
	if !strings.Contains(text, "://") {
		// The @ of a digest is none of an authority. What stands for it keeps all places as they are.
		bare := imageDigest.ReplaceAllStringFunc(text, func(digest string) string { return strings.Repeat("#", len(digest)) })
		for _, m := range bareAuthority.FindAllStringIndex(bare, -1) {
			authority := bare[m[0]:m[1]]
			found = append(found, span{m[0] + strings.IndexByte(authority, ':') + 1, m[0] + strings.LastIndexByte(authority, '@')})
		}
	}
	found = append(found, valuesOf(passwordSetting, text)...)
	for _, m := range authorization.FindAllStringSubmatchIndex(text, -1) {
		found = append(found, span{m[2], m[3]})
	}
	for _, m := range passwordHash.FindAllStringIndex(text, -1) { // its form ends within the hash
		found = append(found, span{m[0], m[0] + endOfWord.FindStringIndex(text[m[0]:])[0]})
	}
	for _, form := range []*regexp.Regexp{privateKey, knownToken} {
		for _, m := range form.FindAllStringIndex(text, -1) {
			found = append(found, span{m[0], m[1]})
		}
	}
	return found
}

// valuesOf is where the values stand of which a form has the first byte as its last.
func valuesOf(form *regexp.Regexp, text string) []span {
	var found []span
	for _, m := range form.FindAllStringIndex(text, -1) {
		found = append(found, span{m[1] - 1, m[1] + endOfValue.FindStringIndex(text[m[1]:])[0]})
	}
	return found
}

// argumentPasswords are passwords that are an argument of their own, so that their form is only seen beside the one before:
// ["--requirepass", "x"].
func (p *Project) argumentPasswords() []string {
	document, err := p.MarshalYAML()
	if err != nil {
		return nil
	}
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil
	}
	var found []string
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		var words []string
		for _, child := range n.Content {
			walk(child)
			if child.Kind == yaml.ScalarNode {
				words = append(words, child.Value)
			}
		}
		if n.Kind != yaml.SequenceNode {
			return
		}
		line := strings.Join(words, " ")
		for _, s := range passwordsIn(line) {
			found = append(found, line[s.from:s.to])
		}
	}
	walk(&root)
	// Such a word may be one that stands everywhere: "postgres".
	return slices.DeleteFunc(found, plainWord.MatchString)
}
