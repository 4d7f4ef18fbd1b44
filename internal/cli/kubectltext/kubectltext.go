// Package kubectltext keeps kubectl's translations out of the way of every other command. kubectl's packages translate
// their help texts in package variables, so that each start of this program, `perch version` and each process of the
// node included, would load a catalogue: a third of all its start-up work. It must be imported by package cli, and must
// import nothing of kubectl's but i18n: Go initializes it before kubectl's commands then, since its path sorts before
// theirs (go.dev/ref/spec, "Program initialization"), which is what SetLoadTranslationsFunc asks for.
package kubectltext

import (
	"os"
	"slices"

	"k8s.io/kubectl/pkg/util/i18n"
)

//nolint:gochecknoinits // the only place where kubectl takes it; see SetLoadTranslationsFunc
func init() {
	load := loader(os.Args)
	if err := i18n.SetLoadTranslationsFunc(load); err != nil {
		_ = load() // translated already: nothing is lost but time
	}
}

// loader loads kubectl's translations when the command line is one for kubectl, and does nothing else.
func loader(args []string) func() error {
	if slices.Contains(args, "kubectl") {
		return func() error { return i18n.LoadTranslations("kubectl", nil) }
	}
	return func() error { return nil }
}
