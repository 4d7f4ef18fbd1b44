package cli

import (
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/ui"
)

// globals are the settings of the global flags.
type globals struct {
	files       []string
	projectName string
	projectDir  string
	profiles    []string
	envFiles    []string
	cluster     string
	kubeconfig  string
	target      string
	mirrors     []string // as they were given
	confirm     string
	context     string
	namespace   string
	output      ui.Format
	progress    ui.Mode
	color       ui.ColorMode
	dryRun      bool
	quiet       bool
	debug       bool
	yes         bool
	noInput     bool

	flags []*globalFlag
}

// forPeople says whether a result is to be read, and by no program: it may then be more than the rows of a table.
func (g *globals) forPeople() bool { return g.output == ui.FormatDefault || g.output == ui.FormatTable }

// globalFlag is one global flag. It is added to every command, so that it is accepted before and after the command; all
// these flags share one Value, which remembers whether it was set.
type globalFlag struct {
	name, short, usage string
	kind               string          // shown after the name in help texts
	list               string          // what separates values in the environment; "": one value
	values             func() []string // for completion; nil: any
	isBool             bool
	set                func(string) error
	show               func() string
	given              bool
}

var _ pflag.Value = (*globalFlag)(nil)

func (f *globalFlag) Set(s string) error {
	f.given = true
	return f.set(s)
}

func (f *globalFlag) String() string {
	if f.show == nil { // pflag asks the zero value
		return ""
	}
	return f.show()
}

func (f *globalFlag) Type() string { return f.kind }

// env is the variable that gives the flag's value when it is not on the command line.
func (f *globalFlag) env() string {
	return "PERCH_" + strings.ToUpper(strings.ReplaceAll(f.name, "-", "_"))
}

func newGlobals() *globals {
	g := &globals{cluster: "perch", progress: ui.Auto, color: ui.ColorAuto}
	g.flags = []*globalFlag{
		listFlag("file", "f", "Compose `file`; repeatable, - is stdin", string(os.PathListSeparator), &g.files),
		stringFlag("project-name", "p", "project `name`", &g.projectName),
		stringFlag("project-directory", "", "`folder` that paths in the file start from", &g.projectDir),
		listFlag("profile", "", "profile to enable, by `name`; repeatable", ",", &g.profiles),
		listFlag("env-file", "", "`file` of variables for the Compose file; repeatable", ",", &g.envFiles),
		stringFlag("cluster", "", "`name` of the embedded cluster", &g.cluster),
		stringFlag("target", "", "one of x-perch.targets of the Compose file, by `name`", &g.target),
		stringFlag("context", "", "kubeconfig context: a cluster that is there, by `name`", &g.context),
		mirrorFlag(&g.mirrors),
		stringFlag("namespace", "n", "`namespace` instead of the project's", &g.namespace),
		stringFlag("kubeconfig", "", "kubeconfig `file`", &g.kubeconfig),
		enumFlag("output", "o", "result as `FORMAT`", &g.output, ui.Formats),
		enumFlag("progress", "", "progress as `MODE`", &g.progress, ui.Modes),
		enumFlag("color", "", "colours, `WHEN`", &g.color, ui.ColorModes),
		boolFlag("dry-run", "", "print what would be done, and do nothing", &g.dryRun),
		boolFlag("quiet", "q", "warnings and errors only", &g.quiet),
		boolFlag("debug", "", "every line of builds, and what libraries log", &g.debug),
		stringFlag("confirm", "", "`name` of the production target that may be changed", &g.confirm),
		boolFlag("yes", "y", "answer yes to questions", &g.yes),
		boolFlag("no-input", "", "never ask: fail instead", &g.noInput),
	}
	return g
}

func stringFlag(name, short, usage string, to *string) *globalFlag {
	return &globalFlag{name: name, short: short, usage: usage, kind: "string",
		set:  func(s string) error { *to = s; return nil },
		show: func() string { return *to }}
}

func listFlag(name, short, usage, separator string, to *[]string) *globalFlag {
	return &globalFlag{name: name, short: short, usage: usage, kind: "strings", list: separator,
		set:  func(s string) error { *to = append(*to, s); return nil },
		show: func() string { return strings.Join(*to, separator) }}
}

// mirrorFlag is checked when it is read: what is wrong with it is wrong usage, whatever the command.
func mirrorFlag(to *[]string) *globalFlag {
	f := listFlag("registry-mirror", "", "ask `MIRROR` before the default registry, HOST=MIRROR before another; repeatable", ",", to)
	set := f.set
	f.set = func(s string) error {
		if _, err := image.ParseMirrors([]string{s}); err != nil {
			return err
		}
		return set(s)
	}
	return f
}

func boolFlag(name, short, usage string, to *bool) *globalFlag {
	return &globalFlag{name: name, short: short, usage: usage, kind: "bool", isBool: true,
		set: func(s string) error {
			v, err := strconv.ParseBool(s)
			*to = v
			return err
		},
		show: func() string { return strconv.FormatBool(*to) }}
}

func enumFlag(name, short, usage string, to pflag.Value, values func() []string) *globalFlag {
	usage += ": " + strings.Join(values(), ", ")
	return &globalFlag{name: name, short: short, usage: usage, kind: to.Type(), values: values, set: to.Set, show: to.String}
}

// addTo adds the global flags to a command's own. A name or letter that the command uses itself stays the command's:
// `logs -f` follows, as it does in docker compose, and its file is --file or before the command.
func (g *globals) addTo(flags *pflag.FlagSet) {
	for _, f := range g.flags {
		if flags.Lookup(f.name) != nil {
			continue
		}
		short := f.short
		if short != "" && flags.ShorthandLookup(short) != nil {
			short = ""
		}
		flag := flags.VarPF(f, f.name, short, f.usage)
		if f.isBool {
			flag.NoOptDefVal = "true"
		}
	}
}

// fromEnvironment gives flags that were not on the command line the values of PERCH_*.
func (g *globals) fromEnvironment(env Env) error {
	for _, f := range g.flags {
		value := env.getenv(f.env())
		if f.given || value == "" {
			continue
		}
		values := []string{value}
		if f.list != "" {
			values = strings.Split(value, f.list)
		}
		for _, v := range values {
			if err := f.Set(v); err != nil {
				return fault.New(fault.Usage, "", "%s=%q: %w", f.env(), value, err)
			}
		}
	}
	return nil
}

// mode is how progress is shown; -q without --progress is quiet.
func (g *globals) mode() ui.Mode {
	if g.quiet && g.progress == ui.Auto {
		return ui.Quiet
	}
	return g.progress
}
