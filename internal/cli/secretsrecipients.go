package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/secrets"
	"github.com/perch-k8s/perch/internal/ui"
)

func newSecretsRecipients(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "recipients",
		Short:   "Say who can read the secrets: public keys of age and SSH",
		Example: "perch secrets recipients add ~/.ssh/alice.pub\nperch secrets recipients list\nperch secrets recipients rm alice@laptop",
	},
		newRecipientsAdd(a), newRecipientsList(a), newRecipientsRm(a))
}

func newRecipientsAdd(a *app) *cobra.Command {
	name := ""
	c := &cobra.Command{
		Use:   "add KEY|FILE|-",
		Short: "Let others read the secrets too: all files are encrypted anew",
		Example: "perch secrets recipients add ~/.ssh/alice.pub\n" +
			"perch secrets recipients add age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p --name ci\n" +
			`perch secrets recipients add "$(perch secrets key)"   # yours, after a change of secrets.recipients by hand`,
		Args:        cobra.MinimumNArgs(1),
		Annotations: exits("2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}
	c.Flags().StringVar(&name, "name", "", "call it `NAME`, where the key has no comment that says whose it is")
	return a.command(c, func(ctx context.Context, args []string) error {
		lines, err := a.publicKeys(args)
		if err != nil {
			return err
		}
		v, err := a.vault(ctx, true)
		if err != nil {
			return err
		}
		if err := a.begin(v); err != nil {
			return err
		}
		return a.changeRecipients(ctx, v, func(r *secrets.Recipients) error {
			for _, line := range lines {
				added, err := r.Add(line, name)
				if err != nil {
					return err
				}
				if !added {
					a.note("%s: this key is in it already", v.Show(secrets.RecipientsFile))
				}
			}
			return nil
		})
	})
}

// publicKeys are the lines with keys of a file, of standard input, or of the arguments, which are one key when they are put
// together again: it is often pasted without quotes.
func (a *app) publicKeys(args []string) ([]string, error) {
	line := strings.Join(args, " ")
	data := []byte(line)
	if len(args) == 1 {
		read, err := a.readInput(line)
		switch {
		case err == nil:
			data = read
		case !errors.Is(err, fs.ErrNotExist) || strings.Contains(line, "/") && !strings.Contains(line, " "):
			return nil, err
		}
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, fault.New(fault.Usage, "as in perch secrets recipients add ~/.ssh/alice.pub", "there is no public key in it")
	}
	return lines, nil
}

// changeRecipients changes who can read, and says which files were encrypted anew.
func (a *app) changeRecipients(ctx context.Context, v vault, change func(*secrets.Recipients) error) error {
	files, err := v.Files()
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, err := v.Read(file, v.keys); err != nil { // whatever is to be asked is asked before the lock
			return err
		}
	}
	done, err := v.ChangeRecipients(v.keys, change, func() error {
		return a.confirm(ctx, "none of your keys is among the recipients then: you could read these secrets no more")
	})
	if err != nil {
		return err
	}
	for _, file := range done {
		a.note("%s: encrypted anew", v.Show(file.Name))
	}
	return nil
}

func newRecipientsRm(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:               "rm NAME|KEY",
		Aliases:           []string{"remove"},
		Short:             "Let somebody read the secrets no more: all files are encrypted anew",
		Example:           "perch secrets recipients rm alice@laptop",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRecipients,
		Annotations:       exits("1 not confirmed, 2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}, func(ctx context.Context, args []string) error {
		v, err := a.vault(ctx, true)
		if err != nil {
			return err
		}
		var removed []secrets.Recipient
		err = a.changeRecipients(ctx, v, func(r *secrets.Recipients) (err error) {
			removed, err = r.Remove(strings.Join(args, " "))
			return err
		})
		if err != nil {
			return err
		}
		for _, one := range removed {
			a.note("%s: %s removed", v.Show(secrets.RecipientsFile), one)
		}
		a.note("who was removed can read what is in git's history: change the values too")
		return nil
	})
}

func newRecipientsList(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "list",
		Aliases:     []string{"ls"},
		Short:       "List who can read the secrets",
		Example:     "perch secrets recipients list",
		Args:        cobra.NoArgs,
		Annotations: exits("2 usage, 11 Compose file, or a recipients file that is wrong"),
	}, func(ctx context.Context, _ []string) error {
		v, err := a.vault(ctx, false)
		if err != nil {
			return err
		}
		recipients, err := v.Recipients()
		if err != nil {
			return err
		}
		all := recipients.List()
		r := ui.Result{Header: []string{"NAME", "KEY"}, Value: append([]secrets.Recipient{}, all...), Empty: "nobody yet; perch secrets set begins with your key"}
		for _, one := range all {
			r.Names = append(r.Names, one.Key)
			r.Rows = append(r.Rows, []string{one.Name, one.Key})
		}
		return a.result(r)
	})
}

// completeRecipients completes names, and keys that have none.
func (a *app) completeRecipients(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.globals.fromEnvironment(a.env) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	v, err := a.vault(cmd.Context(), false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	recipients, err := v.Recipients()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, one := range recipients.List() {
		names = append(names, orElse(one.Name, one.Key))
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newSecretsKey(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:   "key",
		Short: "Print your public key, for others to add; without one, a pair is made",
		Example: "perch secrets key\n" +
			"perch secrets recipients add \"$(cat key-of-bob.txt)\" --name bob   # what a colleague does with it",
		Args:        cobra.NoArgs,
		Annotations: exits("1 failed, 2 usage, 11 PERCH_AGE_IDENTITY is of no use"),
	}, func(ctx context.Context, _ []string) error {
		public, file, made, err := a.keys(ctx, false).Own()
		if errors.Is(err, os.ErrPermission) {
			return fault.New(fault.Other, "name a file with PERCH_AGE_IDENTITY", "%w", err)
		}
		if err != nil {
			return err
		}
		if made {
			a.note("%s: made, your private key: keep a copy of it, nothing can be read without", file)
		}
		a.say("%s", public)
		return nil
	})
}
