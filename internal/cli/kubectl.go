package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
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

	_ "github.com/perch-k8s/perch/internal/cli/kubectltext" // for what its initialization does
	"github.com/perch-k8s/perch/internal/migrate"
)

func newKubectlCommand(a *app) *cobra.Command {
	c := a.command(&cobra.Command{
		Use:                "kubectl ...",
		Short:              "kubectl, whole, on the app's cluster",
		Example:            "perch kubectl get pods -A",
		DisableFlagParsing: true,
	}, func(ctx context.Context, args []string) error {
		a.freeSignals()
		t := a.toolTarget(args, "--context", "--kubeconfig", "--server", "-s", "--cluster")
		if err := a.guardTool(ctx, kubectlUse(t, args)); err != nil {
			return err
		}
		return a.hintCluster(t, a.kubectl(ctx, t, args))
	})
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
		return completeWith(func(out io.Writer) error {
			quiet := &app{env: a.env, globals: a.globals}
			quiet.env.Out, quiet.env.Err = out, io.Discard
			t := a.toolTarget(args, "--context", "--kubeconfig", "--server", "-s", "--cluster")
			return quiet.kubectl(cmd.Context(), t, slices.Concat([]string{cobra.ShellCompRequestCmd}, args, []string{to}))
		})
	}
	return c
}

// toolTarget is the cluster that kubectl and helm are pointed to, unless their own arguments say otherwise.
type toolTarget struct {
	context, kubeconfig, namespace string // each may be ""
	implied                        bool   // nobody named a cluster: the embedded one is meant
}

// toolTarget is what our own global flags name, else the embedded cluster, unless args name one by one of the flags in
// own. Never the current context of the kubeconfig: it may be production.
func (a *app) toolTarget(args []string, own ...string) toolTarget {
	t := toolTarget{context: a.globals.context, namespace: a.globals.namespace}
	if a.globals.kubeconfig != "" {
		t.kubeconfig = a.kubeconfig()
	}
	if t.context != "" {
		return t
	}
	for _, arg := range args {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(arg, "=")
		if slices.Contains(own, name) {
			return t
		}
	}
	t.context, t.implied = a.contextName(), true
	return t
}

// hintCluster adds to the failure of kubectl or helm what they cannot know: that our cluster was meant, and is not there.
func (a *app) hintCluster(t toolTarget, err error) error {
	if err != nil && t.implied && !slices.Contains(a.contexts(), t.context) {
		a.note("hint: there is no context %q: perch cluster start, or name another with --context", t.context)
	}
	return err
}

// fatal is what kubectl's "print and exit" becomes here: a panic that kubectl's caller catches.
type fatal struct {
	message string
	code    int
}

// kubectl runs kubectl's own command tree on t. It exits deep inside by a hook, which is turned into a panic and caught here.
func (a *app) kubectl(ctx context.Context, t toolTarget, args []string) (err error) {
	kubectlutil.BehaviorOnFatal(func(message string, code int) { panic(fatal{message, code}) })
	defer kubectlutil.DefaultBehaviorOnFatal()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fatal:
			if r.message != "" {
				_, _ = fmt.Fprintln(a.env.Err, strings.TrimSuffix(r.message, "\n"))
				a.hintOld(r.message)
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
	if local := []string{"config", "completion", "help", "kustomize", "options", "plugin"}; len(args) > 0 && !slices.Contains(local, args[0]) {
		// As defaults of kubectl's own flags: arguments of ours would stand in the way of plugins, and of what follows "--".
		flags.Context, flags.KubeConfig, flags.Namespace = &t.context, &t.kubeconfig, &t.namespace
	}
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

var noMatch = regexp.MustCompile(`no matches for kind "([^"]+)" in version "([^"]+)"`)

// hintOld adds to kubectl's refusal of a version that is served no longer what can be done about it.
func (a *app) hintOld(message string) {
	for _, m := range noMatch.FindAllStringSubmatch(message, -1) {
		if migrate.Old(m[2], m[1]) {
			a.note("hint: Kubernetes serves %s no longer; perch migrate-manifests FILE rewrites it", m[2])
			return
		}
	}
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
