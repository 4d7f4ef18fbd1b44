package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	componentcli "k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

func newKubectlCommand(a *app) *cobra.Command {
	c := a.command(&cobra.Command{
		Use:                "kubectl ...",
		Short:              "kubectl, whole, on the app's cluster",
		Example:            "perch kubectl get pods -A",
		DisableFlagParsing: true,
	}, func(ctx context.Context, args []string) error {
		a.freeSignals()
		all := a.kubectlArgs(args)
		return a.hintCluster(len(all) > len(args), a.kubectl(ctx, all))
	})
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		return completeWith(func(out io.Writer) error {
			quiet := &app{env: a.env, globals: a.globals}
			quiet.env.Out, quiet.env.Err = out, io.Discard
			args := append([]string{cobra.ShellCompRequestCmd}, append(quiet.kubectlArgs(args), to)...)
			return quiet.kubectl(cmd.Context(), args)
		})
	}
	return c
}

// kubectlArgs are the arguments with our cluster's context added, unless they name a cluster themselves.
func (a *app) kubectlArgs(args []string) []string {
	local := []string{"config", "completion", "help", "kustomize", "options", "plugin"}
	if len(args) == 0 || slices.Contains(local, args[0]) {
		return args // these ask no cluster
	}
	added := a.clusterArgs(args, "--context", []string{"--context", "--kubeconfig", "--server", "-s", "--cluster"})
	if n := a.globals.namespace; n != "" {
		added = append(added, "--namespace="+n)
	}
	return append(added, args...)
}

// clusterArgs are the flags that point kubectl or helm to the cluster that our own flags mean. When args already name a
// cluster by one of the own flags, only args count.
func (a *app) clusterArgs(args []string, contextFlag string, own []string) []string {
	for _, arg := range args {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(arg, "=")
		if slices.Contains(own, name) {
			return nil
		}
	}
	added := []string{contextFlag + "=" + a.contextName()}
	if a.globals.kubeconfig != "" {
		added = append(added, "--kubeconfig="+a.kubeconfig())
	}
	return added
}

// hintCluster adds to the failure of kubectl or helm what they cannot know: that our cluster was meant, and is not there.
func (a *app) hintCluster(added bool, err error) error {
	if err != nil && added && !slices.Contains(a.contexts(), a.contextName()) {
		a.note("hint: there is no context %q: perch cluster start, or name another with --context", a.contextName())
	}
	return err
}

// fatal is what kubectl's "print and exit" becomes here: a panic that kubectl's caller catches.
type fatal struct {
	message string
	code    int
}

// kubectl runs kubectl's own command tree. It exits deep inside by a hook, which is turned into a panic and caught here.
func (a *app) kubectl(ctx context.Context, args []string) (err error) {
	kubectlutil.BehaviorOnFatal(func(message string, code int) { panic(fatal{message, code}) })
	defer kubectlutil.DefaultBehaviorOnFatal()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fatal:
			if r.message != "" {
				_, _ = fmt.Fprintln(a.env.Err, strings.TrimSuffix(r.message, "\n"))
			}
			err = commandExit(r.code)
		default:
			panic(r)
		}
	}()
	all := append([]string{"kubectl"}, args...)
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(all)) // a wrong -v is reported by kubectl's own flags
	streams := genericiooptions.IOStreams{In: a.env.In, Out: a.env.Out, ErrOut: a.env.Err}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().
		WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams)
	root := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
		PluginHandler: kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     all,
		ConfigFlags:   flags,
		IOStreams:     streams,
	})
	root.SetArgs(args)
	root.SetIn(a.env.In)
	root.SetOut(a.env.Out)
	root.SetErr(a.env.Err)
	root.SetContext(ctx)
	if err := componentcli.RunNoErrOutput(root); err != nil {
		kubectlutil.CheckErr(err) // prints and "exits" by the hook above
	}
	return nil
}

// completeWith runs a command tree's own completion and reads what it prints: one value a line, then ":DIRECTIVE".
func completeWith(run func(out io.Writer) error) ([]string, cobra.ShellCompDirective) {
	var b strings.Builder
	if err := run(&b); err != nil {
		if _, exited := errors.AsType[commandExit](err); !exited {
			return nil, cobra.ShellCompDirectiveError
		}
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	var directive cobra.ShellCompDirective
	if _, err := fmt.Sscanf(lines[len(lines)-1], ":%d", &directive); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:len(lines)-1], directive
}

// freeSignals lets signals end the process, as they end the real kubectl and helm: these do not all watch a context.
func (a *app) freeSignals() {
	if a.env.FreeSignals != nil {
		a.env.FreeSignals()
	}
}
