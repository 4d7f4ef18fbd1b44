package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
)

var archiveURL = regexp.MustCompile(`https?://[^\s]+/debian/?(\s|$)`)

// hostMirror is the Debian archive that this machine's own apt uses, by the files below its /etc/apt.
func hostMirror(etc string) (string, error) {
	files, err := filepath.Glob(filepath.Join(etc, "sources.list.d", "*"))
	if err != nil {
		return "", err
	}
	for _, file := range append([]string{filepath.Join(etc, "sources.list")}, files...) {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // no file, or a folder
		}
		if url := archiveURL.FindString(string(data)); url != "" {
			return regexp.MustCompile(`/?\s*$`).ReplaceAllString(url, ""), nil
		}
	}
	return "", errors.New("this machine's apt names no Debian archive: name one with -mirror URL")
}
