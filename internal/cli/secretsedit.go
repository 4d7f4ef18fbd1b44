package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/secrets"
)

func newSecretsEdit(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:         "edit",
		Short:       "Edit the secrets of the target, or those for all, in EDITOR; the text is in memory only",
		Example:     "perch secrets edit\nEDITOR='code --wait' perch secrets edit --target prod",
		Args:        cobra.NoArgs,
		Annotations: exits("1 failed, 2 usage, 11 Compose file, or a file that cannot be decrypted"),
	}, func(ctx context.Context, _ []string) error { return a.editSecrets(ctx) })
}

// editHead stands above the text.
const editHead = "# Secrets, a NAME: value a line; put a value with a colon, a # or another sign in it between '…'.\n" +
	"# This text is in memory only, and comments are not kept. It ends without a change when nothing was changed.\n"

func (a *app) editSecrets(ctx context.Context) error {
	v, err := a.vault(ctx, true)
	if err != nil {
		return err
	}
	before, err := v.Read(v.file, v.keys)
	if err != nil {
		return err
	}
	text, err := before.Text()
	if err != nil {
		return err
	}
	if len(before) == 0 {
		text = nil
	}
	edited, err := a.edited(ctx, v.file.Name, append([]byte(editHead), text...))
	if err != nil {
		return err
	}
	if err := a.begin(v); err != nil {
		return err
	}
	return a.update(v, func(now secrets.Values) (secrets.Values, error) {
		merged, conflicts := secrets.Merge(before, edited, now)
		if len(conflicts) > 0 {
			return nil, fault.New(fault.Other, "edit again, or: perch secrets set "+conflicts[0],
				"%s: somebody else changed it meanwhile, and differently: %s; nothing was written", v.shown(), list(conflicts))
		}
		return merged, nil
	})
}

// edited has a text edited in memory and reads it. The editor is opened again as long as the text is wrong and somebody is
// there to mend it.
func (a *app) edited(ctx context.Context, name string, text []byte) (values secrets.Values, err error) {
	var places []string
	for _, place := range []string{a.env.getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if place != "" {
			places = append(places, place)
		}
	}
	m, err := secrets.NewMemory(places)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Remove()) }()
	file := filepath.Join(m.Dir, name+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	for {
		if err := a.editor(ctx, m.Dir, file); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		values, err := secrets.Parse(text)
		if err == nil {
			err = values.Check()
		}
		if err == nil || !a.canAsk() {
			return values, err
		}
		a.note("%s: %s", err, fault.HintOf(err))
		if again, err2 := a.ask(ctx, "Edit again? [Y/n] "); err2 != nil || strings.HasPrefix(strings.ToLower(again), "n") {
			return nil, errors.Join(err, err2)
		}
	}
}

// editor runs EDITOR on a file and waits for it. What it writes beside the file, or as a temporary one, is in memory too.
func (a *app) editor(ctx context.Context, dir, file string) error {
	editor := orElse(a.env.getenv("EDITOR"), "vi")
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file) //nolint:gosec // the user's own program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.env.In, a.env.Err, a.env.Err
	if isTerminal(a.env.Out) {
		cmd.Stdout = a.env.Out
	}
	cmd.Env = append(slices.Clone(a.env.Environ), "TMPDIR="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fault.New(fault.Other, "set EDITOR to a program that waits until the file is closed, as EDITOR='code --wait'",
			"%s: %w; nothing was changed", editor, err)
	}
	return nil
}
