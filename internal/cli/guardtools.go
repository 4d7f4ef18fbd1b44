package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"

	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/kube"
)

// toolUse is what kubectl or helm is about to do, and where.
type toolUse struct {
	acts    string
	context string
	config  *rest.Config // nil: no cluster is asked, or none can be found, which the tool itself will say
}

// guardTool is the guard of commands that perch hands on to kubectl and helm.
func (a *app) guardTool(ctx context.Context, use toolUse) error {
	if use.config == nil || use.acts == "" || use.context == a.cluster().Context() {
		return nil
	}
	client, err := kube.New(use.config, "")
	if err != nil {
		return err
	}
	client.Context = use.context
	w := where{target: a.target, project: a.targetOf, context: orElse(use.context, use.config.Host), client: client}
	err = a.guardAt(ctx, w, use.acts == actChanges)
	if fault.KindOf(err) == fault.Unreachable && use.acts == actReads { // the tool says so in its own words
		return nil
	}
	return err
}

// words are the arguments of a tool that are no flags, with the values of its flags left out as far as flags is known.
func words(flags *pflag.FlagSet, args []string) []string {
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	if flags.Parse(args) != nil {
		return nil
	}
	return flags.Args()
}

// kubectlUse is what kubectl does with these arguments on t. A plugin may do anything.
func kubectlUse(t toolTarget, args []string) toolUse {
	config := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag()
	config.Context, config.KubeConfig, config.Namespace = &t.context, &t.kubeconfig, &t.namespace
	flags := pflag.NewFlagSet("kubectl", pflag.ContinueOnError)
	config.AddFlags(flags)
	acts := kubectlActs(words(flags, args))
	switch {
	case acts == "":
		return toolUse{}
	case slices.Contains(args, "--dry-run=client"):
		acts = actReads
	}
	return toolUseOf(acts, config)
}

func toolUseOf(acts string, config genericclioptions.RESTClientGetter) toolUse {
	use := toolUse{acts: acts}
	raw, err := config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return toolUse{}
	}
	if use.config, err = config.ToRESTConfig(); err != nil {
		return toolUse{}
	}
	if flags, ok := config.(*genericclioptions.ConfigFlags); ok && flags.Context != nil {
		use.context = *flags.Context
	}
	use.context = orElse(use.context, raw.CurrentContext)
	return use
}

// kubectlActs says what a command of kubectl does to the cluster; "" for one that asks none.
func kubectlActs(command []string) string {
	if len(command) == 0 {
		return ""
	}
	local := []string{"completion", "config", "help", "kustomize", "options", "plugin"}
	looks := []string{
		"api-resources", "api-versions", "auth", "cluster-info", "describe", "diff", "events", "explain", "get", "logs", "port-forward", "top", "version", "wait",
	}
	verb := command[0]
	switch {
	case slices.Contains(local, verb):
		return ""
	case slices.Contains(looks, verb) && !slices.Contains(command, "reconcile"): // of auth
		return actReads
	case verb == "rollout" && len(command) > 1 && (command[1] == "status" || command[1] == "history"):
		return actReads
	}
	return actChanges
}

// helmUse is what helm does with these arguments, and with its own variables in the environment.
func helmUse(env Env, args []string) toolUse {
	config := genericclioptions.NewConfigFlags(true)
	flags := pflag.NewFlagSet("helm", pflag.ContinueOnError)
	flags.StringVar(config.Context, "kube-context", env.getenv("HELM_KUBECONTEXT"), "")
	flags.StringVar(config.KubeConfig, "kubeconfig", "", "")
	flags.StringVar(config.APIServer, "kube-apiserver", env.getenv("HELM_KUBEAPISERVER"), "")
	flags.StringVar(config.BearerToken, "kube-token", env.getenv("HELM_KUBETOKEN"), "")
	flags.StringVar(config.CAFile, "kube-ca-file", env.getenv("HELM_KUBECAFILE"), "")
	flags.StringVar(config.TLSServerName, "kube-tls-server-name", env.getenv("HELM_KUBETLS_SERVER_NAME"), "")
	flags.BoolVar(config.Insecure, "kube-insecure-skip-tls-verify", false, "")
	flags.StringVarP(config.Namespace, "namespace", "n", "", "")
	acts := helmActs(words(flags, args))
	if acts == "" {
		return toolUse{}
	}
	return toolUseOf(acts, config)
}

// helmActs says what a command of helm does to the cluster; "" for one that asks none.
func helmActs(command []string) string {
	if len(command) == 0 {
		return ""
	}
	local := []string{
		"completion", "create", "dependency", "dep", "env", "help", "lint", "package", "plugin", "pull", "push", "registry", "repo", "search", "show", "inspect",
		"template", "verify", "version",
	}
	switch verb := strings.ToLower(command[0]); {
	case slices.Contains(local, verb):
		return ""
	case slices.Contains([]string{"get", "history", "hist", "list", "ls", "status"}, verb):
		return actReads
	}
	return actChanges
}
