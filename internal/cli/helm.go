package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	helm "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"
)

func newHelmCommand(a *app) *cobra.Command {
	c := a.command(&cobra.Command{
		Use:                "helm ...",
		Short:              "helm, whole, on the app's cluster",
		Example:            "perch helm list -A",
		DisableFlagParsing: true,
	}, func(ctx context.Context, args []string) error {
		a.freeSignals()
		t := a.helmTarget(args)
		if err := a.guardTool(ctx, helmUse(a.env, append(t.flags(), args...))); err != nil {
			return err
		}
		return a.hintCluster(t, a.helm(ctx, append(t.flags(), args...)))
	})
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		return completeWith(func(out io.Writer) error {
			quiet := &app{env: a.env, globals: a.globals}
			quiet.env.Out, quiet.env.Err = out, io.Discard
			return quiet.helm(cmd.Context(), slices.Concat([]string{cobra.ShellCompRequestCmd}, a.helmTarget(args).flags(), args, []string{to}))
		})
	}
	return c
}

// helmTarget is the cluster that helm is pointed to. Its own variables count as its own flags do.
func (a *app) helmTarget(args []string) toolTarget {
	if a.env.getenv("HELM_KUBECONTEXT") != "" {
		args = append([]string{"--kube-context"}, args...)
	}
	if a.env.getenv("HELM_KUBEAPISERVER") != "" {
		args = append([]string{"--kube-apiserver"}, args...)
	}
	return a.toolTarget(args, "--kube-context", "--kubeconfig", "--kube-apiserver")
}

// flags are t as helm's flags.
func (t toolTarget) flags() []string {
	var flags []string
	for _, f := range [][2]string{{"--kube-context", t.context}, {"--kubeconfig", t.kubeconfig}, {"--namespace", t.namespace}} {
		if f[1] != "" {
			flags = append(flags, f[0]+"="+f[1])
		}
	}
	return flags
}

// helm runs helm's own command tree.
func (a *app) helm(ctx context.Context, args []string) error {
	helmkube.ManagedFieldsManager = "helm" // else this program's name, and rollbacks would conflict with plain helm's
	root, err := helm.NewRootCmd(a.env.Out, args, helm.SetupLogging)
	if err != nil {
		return fmt.Errorf("helm: %w", err)
	}
	root.SetArgs(args)
	root.SetIn(a.env.In)
	root.SetOut(a.env.Out)
	root.SetErr(a.env.Err)
	err = root.ExecuteContext(ctx) // it prints its errors itself
	if command, ok := errors.AsType[helm.CommandError](err); ok {
		return commandExit(command.ExitCode)
	}
	if err != nil {
		return commandExit(1)
	}
	return nil
}
