package kubectltext

import (
	"testing"

	"k8s.io/kubectl/pkg/util/i18n"
)

// TestUntranslated: without a catalogue, texts are the ones that kubectl's code has.
func TestUntranslated(t *testing.T) {
	t.Parallel()
	const text = "Print the list of flags inherited by all commands"
	if got := i18n.T(text); got != text {
		t.Errorf("%q, want %q", got, text)
	}
}

func TestLoader(t *testing.T) {
	t.Parallel()
	if err := loader([]string{"perch", "-n", "x", "kubectl", "get"})(); err != nil {
		t.Errorf("for kubectl: %v", err)
	}
	if err := loader([]string{"perch", "version"})(); err != nil {
		t.Errorf("for version: %v", err)
	}
}
