package cli

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/secrets"
	"github.com/perch-k8s/perch/internal/ui"
)

func newSecretsCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "secrets",
		Short:   "Keep the app's secrets encrypted beside its Compose file",
		Example: "perch secrets set DB_PASSWORD\nperch secrets list --target prod\nperch secrets recipients add ~/.ssh/alice.pub\nperch secrets check",
	},
		newSecretsSet(a), newSecretsList(a), newSecretsEdit(a), newSecretsImport(a), newSecretsRm(a), newSecretsRecipients(a), newSecretsKey(a),
		newSecretsCheck(a))
}

// keyring has the private keys of this run, so that a passphrase is asked for once.
type keyring struct {
	asking, silent *secrets.Keys
}

// keys are the private keys of this user. With ask, a passphrase is asked for when somebody is there to answer.
func (a *app) keys(ctx context.Context, ask bool) *secrets.Keys {
	k := &a.keyring.silent
	if ask {
		k = &a.keyring.asking
	}
	if *k == nil {
		*k = secrets.NewKeys(a.keyFiles(ctx, ask))
	}
	return *k
}

func (a *app) keyFiles(ctx context.Context, ask bool) secrets.KeyFiles {
	home := a.env.getenv("HOME")
	var files secrets.KeyFiles
	if home != "" { // without one, the folder that perch runs in is no place for keys
		files.Own = filepath.Join(home, ".config", "perch", "identity.txt")
		files.SSH = []string{filepath.Join(home, ".ssh", "id_ed25519"), filepath.Join(home, ".ssh", "id_rsa")}
	}
	if config := a.env.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(config) {
		files.Own = filepath.Join(config, "perch", "identity.txt")
	}
	if given := a.env.getenv("PERCH_AGE_IDENTITY"); given != "" {
		files.Given = a.absolute(given)
	}
	if ask && a.canAsk() {
		files.Ask = func(file string) ([]byte, error) {
			return a.askHidden(ctx, fmt.Sprintf("Passphrase of %s: ", file))
		}
	}
	return files
}

// openSecrets decrypts the variables of the target's secrets files. Without such a file it costs nothing.
func (a *app) openSecrets(ctx context.Context, dir string, needed bool) (map[string]string, error) {
	return a.secretsFolder(dir).Variables(a.globals.target, a.keys(ctx, needed))
}

func (a *app) secretsFolder(dir string) secrets.Folder {
	f := secrets.Folder{Dir: dir, Shown: dir}
	if rel, err := filepath.Rel(a.env.WorkDir, dir); err == nil {
		f.Shown = rel
	}
	return f
}

// vault is one secrets file of the project, and the keys for it.
type vault struct {
	secrets.Folder
	file secrets.File // of --target
	keys *secrets.Keys
}

func (v vault) shown() string { return v.Show(v.file.Name) }

// vault finds the project's folder. The Compose file need not be a good one.
func (a *app) vault(ctx context.Context, ask bool) (vault, error) {
	dir, err := compose.Folder(a.composeOptions())
	if err != nil {
		return vault{}, err
	}
	file, err := secrets.FileOf(a.globals.target)
	return vault{Folder: a.secretsFolder(dir), file: file, keys: a.keys(ctx, ask)}, err
}

// begin makes the recipients file where there is none, and says so.
func (a *app) begin(v vault) error {
	key, made, err := v.Begin(v.keys, a.self())
	if err != nil || key == "" {
		return err
	}
	if made {
		a.note("%s: made, your private key: keep a copy of it, nothing can be read without", key)
	}
	a.note("%s: made, with the public key of %s; others are added by perch secrets recipients add", v.Show(secrets.RecipientsFile), key)
	return nil
}

// self is how a recipients file names this user.
func (a *app) self() string { return orElse(a.env.getenv("USER"), a.env.getenv("LOGNAME")) }

// update changes values, and says what changed.
func (a *app) update(v vault, change func(secrets.Values) (secrets.Values, error)) error {
	var before, after secrets.Values
	changed, err := v.Update(v.file, v.keys, func(values secrets.Values) (next secrets.Values, err error) {
		before = maps.Clone(values)
		after, err = change(values)
		return after, err
	})
	switch {
	case err != nil:
		return err
	case !changed:
		a.note("%s is unchanged", v.shown())
		return nil
	}
	for _, line := range whatChanged(before, after) {
		a.note("%s: %s", v.shown(), line)
	}
	if len(after) == 0 {
		a.note("%s: removed: nothing is left in it", v.shown())
	}
	return nil
}

// listedSecret is one name as `perch secrets list` prints it.
type listedSecret struct {
	Name   string `json:"name"`
	Target string `json:"target,omitempty"` // "": all
	File   string `json:"file"`
}

func newSecretsList(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "list",
		Aliases:     []string{"ls"},
		Short:       "List the names of secrets and the files they are in, never their values",
		Example:     "perch secrets list\nperch secrets list --target prod   # those that count there",
		Args:        cobra.NoArgs,
		Annotations: exits("2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}, func(ctx context.Context, _ []string) error {
		v, err := a.vault(ctx, true)
		if err != nil {
			return err
		}
		listed, err := a.listSecrets(v)
		if err != nil {
			return err
		}
		r := ui.Result{Header: []string{"NAME", "TARGET", "FILE"}, Value: listed, Empty: "no secrets; keep one: perch secrets set NAME"}
		for _, s := range listed {
			r.Names = append(r.Names, s.Name)
			r.Rows = append(r.Rows, []string{s.Name, orElse(s.Target, "all"), s.File})
		}
		r.Names = slices.Compact(r.Names)
		return a.result(r)
	})
}

// listSecrets are the names of all files, by name; with --target, those that count for it.
func (a *app) listSecrets(v vault) ([]listedSecret, error) {
	files, err := v.Files()
	if err != nil {
		return nil, err
	}
	all := []listedSecret{}
	for _, file := range files {
		if v.file.Target != "" && file.Target != "" && file != v.file {
			continue
		}
		values, err := v.Read(file, v.keys)
		if err != nil {
			return nil, err
		}
		for _, name := range values.Names() {
			one := listedSecret{Name: name, Target: file.Target, File: v.Show(file.Name)}
			if i := slices.IndexFunc(all, func(s listedSecret) bool { return s.Name == name }); i >= 0 && v.file.Target != "" {
				all[i] = one // the target's own wins
				continue
			}
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b listedSecret) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func newSecretsRm(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:               "rm NAME...",
		Aliases:           []string{"remove"},
		Short:             "Remove secrets from the file of the target, or from the one for all",
		Example:           "perch secrets rm DB_PASSWORD\nperch secrets rm --target prod DB_PASSWORD",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeSecrets,
		Annotations:       exits("2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}, func(ctx context.Context, names []string) error {
		v, err := a.vault(ctx, true)
		if err != nil {
			return err
		}
		if _, err := v.Read(v.file, v.keys); err != nil { // whatever is to be asked is asked before the lock
			return err
		}
		return a.update(v, func(values secrets.Values) (secrets.Values, error) {
			for _, name := range names {
				if _, ok := values[name]; !ok {
					return nil, missing(v, name, values)
				}
			}
			for _, name := range names {
				delete(values, name)
			}
			return values, nil
		})
	})
}

// missing is the error for a name that a file does not have.
func missing(v vault, name string, values secrets.Values) error {
	hint := "those in it: " + list(values.Names())
	if v.file.Target != "" {
		hint += "; those for all targets are changed without --target"
	}
	return fault.New(fault.Usage, hint, "%s: there is no %q", v.shown(), name)
}

// completeSecrets completes the names in the file of the target, when no passphrase is needed for that.
func (a *app) completeSecrets(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if err := a.globals.fromEnvironment(a.env); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	v, err := a.vault(cmd.Context(), false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	values, err := v.Read(v.file, v.keys)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(values.Names(), func(name string) bool { return slices.Contains(args, name) }), cobra.ShellCompDirectiveNoFileComp
}
