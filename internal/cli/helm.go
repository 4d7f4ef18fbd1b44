package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	helm "helm.sh/helm/v4/pkg/cmd"
)

func newHelmCommand(a *app) *cobra.Command {
	c := a.command(&cobra.Command{
		Use:                "helm ...",
		Short:              "helm, whole, on the app's cluster",
		Example:            "perch helm list -A",
		DisableFlagParsing: true,
	}, func(ctx context.Context, args []string) error {
		a.freeSignals()
		all := a.helmArgs(args)
		return a.hintCluster(len(all) > len(args), a.helm(ctx, all))
	})
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		return completeWith(func(out io.Writer) error {
			quiet := &app{env: a.env, globals: a.globals}
			quiet.env.Out, quiet.env.Err = out, io.Discard
			args := append([]string{cobra.ShellCompRequestCmd}, append(quiet.helmArgs(args), to)...)
			return quiet.helm(cmd.Context(), args)
		})
	}
	return c
}

// helmArgs are the arguments with our cluster's context added, unless they or helm's own variables name a cluster.
func (a *app) helmArgs(args []string) []string {
	added := a.clusterArgs(args, "--kube-context", []string{"--kube-context", "--kubeconfig", "--kube-apiserver"})
	if a.globals.context == "" && (a.env.getenv("HELM_KUBECONTEXT") != "" || a.env.getenv("HELM_KUBEAPISERVER") != "") {
		added = nil
	}
	if n := a.globals.namespace; n != "" {
		added = append(added, "--namespace="+n)
	}
	return append(added, args...)
}

// helm runs helm's own command tree.
func (a *app) helm(ctx context.Context, args []string) error {
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
