package secrets

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
)

const (
	// shortestFound is how long a value must be to be looked for: a shorter one stands in other words.
	shortestFound = 8

	// shortestLine is how long a line of a value of many lines must be.
	shortestLine = 20

	// LargestSearched is the size of the largest file that is looked into, in bytes.
	LargestSearched = 32 << 20
)

// Found is a secret that stands in the open.
type Found struct {
	Line int    // 1 is the first
	Name string // of the secret, "" for a private key
	What string // what it is, as "the value of it"
}

// Search finds the values of secrets, and private keys, in files.
type Search struct{ texts []wanted }

type wanted struct {
	text       []byte
	name, what string
}

// NewSearch looks for these values. The same one of several files is one.
func NewSearch(all ...Values) Search {
	var s Search
	seen := map[string]bool{}
	add := func(text, name, what string) {
		if len(text) >= shortestFound && !seen[name+"\x00"+text] {
			seen[name+"\x00"+text] = true
			s.texts = append(s.texts, wanted{[]byte(text), name, what})
		}
	}
	for _, values := range all {
		for _, name := range values.Names() {
			value := values[name]
			trimmed := strings.TrimRight(value, "\r\n")
			if len(trimmed) < shortestFound {
				continue
			}
			add(base64.StdEncoding.EncodeToString([]byte(value)), name, "its value as base64")
			if !strings.Contains(trimmed, "\n") {
				add(trimmed, name, "its value")
				add(base64.StdEncoding.EncodeToString([]byte(trimmed+"\n")), name, "its value as base64")
				continue
			}
			for line := range strings.Lines(trimmed) {
				if line = strings.TrimSpace(line); len(line) >= shortestLine && !strings.HasPrefix(line, "-----") {
					add(line, name, "a line of its value")
				}
			}
		}
	}
	return s
}

// privateKey is one with its content: the words alone stand in programs and texts about keys.
var privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----(\s|\\[nr]|["'+]|[A-Za-z-]+: [^\n]{0,100}\n)*[A-Za-z0-9+/]{32}|` +
	`AGE-SECRET-KEY-(PQ-)?1[02-9AC-HJ-NP-Z]{50}`)

// File looks into one file. A file that is gone, that is no file, or is larger than LargestSearched has nothing; looked is
// then false.
func (s Search) File(path string) (found []Found, looked bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() > LargestSearched) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, false, err
	}
	return s.in(data), true, nil
}

// in is what stands in data, by line; each name once a line.
func (s Search) in(data []byte) []Found {
	var all []Found
	for _, want := range s.texts {
		for at := 0; ; {
			i := bytes.Index(data[at:], want.text)
			if i < 0 {
				break
			}
			all = append(all, Found{lineOf(data, at+i), want.name, want.what})
			at += i + len(want.text)
		}
	}
	for _, m := range privateKey.FindAllIndex(data, -1) {
		all = append(all, Found{Line: lineOf(data, m[0]), What: "a private key"})
	}
	slices.SortStableFunc(all, func(a, b Found) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name)) })
	return slices.CompactFunc(all, func(a, b Found) bool { return a.Line == b.Line && a.Name == b.Name })
}

func lineOf(data []byte, at int) int { return bytes.Count(data[:at], []byte("\n")) + 1 }
