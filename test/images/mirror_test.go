package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHostMirror(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ file, text, want string }{
		"one line":   {"sources.list", "deb http://mirror.example/debian-security stable main\ndeb http://mirror.example/debian/ stable main\n", "http://mirror.example/debian"},
		"deb822":     {"sources.list.d/debian.sources", "Types: deb\nURIs: https://mirror.example/debian\nSuites: stable\n", "https://mirror.example/debian"},
		"not Debian": {"sources.list", "deb http://mirror.example/ubuntu noble main\n", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, test.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := hostMirror(dir)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
