package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/secrets"
)

func newSecretsSet(a *app) *cobra.Command {
	from := ""
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Keep a secret: its value is asked for, or read from standard input or a file",
		Example: "perch secrets set DB_PASSWORD\n" +
			"perch secrets set TLS_KEY --from-file key.pem --target prod\n" +
			"openssl rand -hex 24 | perch secrets set SESSION_KEY",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSecret,
		Annotations:       exits("2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}
	c.Flags().StringVar(&from, "from-file", "", "read the value from a `file`; the line break after a single line is left out")
	return a.command(c, func(ctx context.Context, args []string) error { return a.setSecret(ctx, args[0], from) })
}

func (a *app) setSecret(ctx context.Context, name, from string) error {
	if err := secrets.CheckName(name); err != nil {
		return err
	}
	v, err := a.vault(ctx, true)
	if err != nil {
		return err
	}
	if _, err := v.Read(v.file, v.keys); err != nil { // nobody types a value for nothing
		return err
	}
	value, err := a.secretValue(ctx, name, from)
	if err != nil {
		return err
	}
	if err := (secrets.Values{name: value}).Check(); err != nil {
		return err
	}
	if err := a.begin(v); err != nil {
		return err
	}
	if len(value) < shortSecret {
		a.note("note: %s has less than %d characters: it is hidden where it stands alone, and not within other text", name, shortSecret)
	}
	return a.update(v, func(values secrets.Values) (secrets.Values, error) {
		values[name] = value
		return values, nil
	})
}

// shortSecret is how long a value must be to be found within others, as package compose has it.
const shortSecret = 6

// secretValue is the value of a secret, by the way that it is given.
func (a *app) secretValue(ctx context.Context, name, from string) (string, error) {
	switch {
	case from != "":
		data, err := os.ReadFile(a.absolute(from))
		if err != nil {
			return "", fault.New(fault.Usage, "", "--from-file: %w", err)
		}
		return given(secrets.Line(data), name, from)
	case !isTerminal(a.env.In):
		data, err := io.ReadAll(a.env.In)
		if err != nil {
			return "", err
		}
		return given(secrets.Line(data), name, "standard input")
	case !a.canAsk():
		return "", fault.New(fault.Usage, "pipe the value into the command, or add --from-file FILE", "%s: its value cannot be asked for", name)
	}
	value, err := a.askHidden(ctx, name+": ")
	if err != nil {
		return "", err
	}
	return given(string(value), name, "the terminal")
}

func given(value, name, from string) (string, error) {
	if value == "" {
		return "", fault.New(fault.Usage, "to take a secret away: perch secrets rm "+name, "%s: nothing came from %s", name, from)
	}
	return value, nil
}

// askHidden asks on the terminal for what must not be seen there.
func (a *app) askHidden(ctx context.Context, question string) ([]byte, error) {
	fd, _ := descriptor(a.env.In)
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	a.endsWithInterrupt() // nothing has begun that would have to be stopped
	defer a.setGentle(false)
	_, _ = fmt.Fprint(a.env.Err, question)
	defer func() { _, _ = fmt.Fprintln(a.env.Err) }()
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // it may outlive the question, until its Read ends: a terminal's Read cannot be cancelled
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, state) // or nothing that is typed in the shell is seen
		return nil, context.Cause(ctx)
	case got := <-answers:
		return got.text, got.err
	}
}

// whatChanged are lines about what became of each name.
func whatChanged(before, after secrets.Values) []string {
	all := maps.Clone(before)
	maps.Copy(all, after)
	var lines []string
	for _, name := range all.Names() {
		was, had := before[name]
		is, has := after[name]
		switch {
		case !has:
			lines = append(lines, name+" removed")
		case !had:
			lines = append(lines, name+" added")
		case was != is:
			lines = append(lines, name+" changed")
		}
	}
	return lines
}

func newSecretsImport(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "import FILE|-",
		Short:       "Keep all variables of a file as .env is one; those that are there get the new values",
		Example:     "perch secrets import .env.secret && rm .env.secret\nvault-export | perch secrets import --target prod -",
		Args:        cobra.ExactArgs(1),
		Annotations: exits("2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}, func(ctx context.Context, args []string) error {
		v, err := a.vault(ctx, true)
		if err != nil {
			return err
		}
		if _, err := v.Read(v.file, v.keys); err != nil {
			return err
		}
		more, err := a.importedValues(args[0])
		if err != nil {
			return err
		}
		if err := a.begin(v); err != nil {
			return err
		}
		err = a.update(v, func(values secrets.Values) (secrets.Values, error) {
			maps.Copy(values, more)
			return values, nil
		})
		if err == nil && args[0] != "-" {
			a.note("next: remove %s, which has them in the clear", args[0])
		}
		return err
	})
}

// importedValues reads a file of variables as Compose reads .env. What cannot be a secret is told of and left out.
func (a *app) importedValues(file string) (secrets.Values, error) {
	data, err := a.readInput(file)
	if err != nil {
		return nil, err
	}
	read, err := dotenv.ParseWithLookup(strings.NewReader(string(data)), a.env.lookup)
	if err != nil { // its own words quote the line
		return nil, fault.New(fault.Usage, "write NAME=value, one a line; quote values with spaces or #", "%s: not a list of NAME=value", file)
	}
	values := secrets.Values{}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		switch {
		case secrets.Setting(name):
			a.note("%s: a setting, and no secret: left out", name)
		case read[name] == "":
			a.note("%s: it has no value: left out", name)
		default:
			values[name] = read[name]
		}
	}
	if len(values) == 0 {
		return nil, fault.New(fault.Usage, "", "%s: there is no variable with a value in it", file)
	}
	return values, values.Check()
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(a.env.In)
	}
	data, err := os.ReadFile(a.absolute(file))
	if err != nil {
		return nil, fault.New(fault.Usage, "", "%w", err)
	}
	return data, nil
}

// completeSecret is completeSecrets for one name.
func (a *app) completeSecret(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeSecrets(cmd, args, to)
}
