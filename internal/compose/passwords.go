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

	privateKeyBlock = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----.*?(-----END|$)`)
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

// passwordsIn is where the passwords of a text stand, first to last; of those that overlap, the longest first.
func passwordsIn(text string) []span {
	var found []span
	whole := func(form *regexp.Regexp, group int) {
		for _, m := range form.FindAllStringSubmatchIndex(text, -1) {
			if m[2*group] >= 0 {
				found = append(found, span{m[2*group], m[2*group+1]})
			}
		}
	}
	for _, m := range urlAuthority.FindAllStringSubmatchIndex(text, -1) {
		if authority := text[m[2]:m[3]]; authorityHoldsPassword(authority) {
			found = append(found, span{m[2] + strings.IndexByte(authority, ':') + 1, m[3]})
		}
	}
	if !strings.Contains(text, "://") && !imageDigest.MatchString(text) {
		for _, m := range bareAuthority.FindAllStringIndex(text, -1) {
			authority := text[m[0]:m[1]]
			found = append(found, span{m[0] + strings.IndexByte(authority, ':') + 1, m[0] + strings.LastIndexByte(authority, '@')})
		}
	}
	for _, form := range []*regexp.Regexp{passwordSetting, passwordFlag} {
		for _, m := range form.FindAllStringIndex(text, -1) {
			if form == passwordFlag && notAPassword.MatchString(text[m[0]:m[1]]) {
				continue
			}
			from := m[1] - 1 // the form ends with the password's first byte
			found = append(found, span{from, from + endOfValue.FindStringIndex(text[from:])[0]})
		}
	}
	whole(privateKeyBlock, 0)
	whole(authorization, 1)
	for _, m := range passwordHash.FindAllStringIndex(text, -1) { // its form ends within the hash
		found = append(found, span{m[0], m[0] + endOfWord.FindStringIndex(text[m[0]:])[0]})
	}
	whole(knownToken, 0)
	slices.SortFunc(found, func(a, b span) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	return slices.DeleteFunc(found, func(s span) bool { return s.to <= s.from })
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
