package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/node"
	"github.com/perch-k8s/perch/internal/up"
)

// cluster is the embedded cluster that is meant: the one named by the first of args, else by --cluster.
func (a *app) cluster(args ...string) node.Cluster {
	name := a.globals.cluster
	if len(args) > 0 {
		name = args[0]
	}
	return node.Cluster{
		Name:       name,
		Dir:        filepath.Join(a.absolute(orElse(a.env.getenv("PERCH_STATE_DIR"), node.StateDir)), name),
		Kubeconfig: a.ownKubeconfig(),
		Executable: a.env.Executable,
		Environ:    a.env.Environ,
	}
}

// kubeconfig is where clusters are looked up: --kubeconfig, KUBECONFIG (a list of paths) or ~/.kube/config.
func (a *app) kubeconfig() string {
	if a.globals.kubeconfig != "" {
		return a.absolute(a.globals.kubeconfig)
	}
	if list := a.env.getenv(clientcmd.RecommendedConfigPathEnvVar); list != "" {
		return list
	}
	return filepath.Join(a.env.getenv("HOME"), clientcmd.RecommendedHomeDir, clientcmd.RecommendedFileName)
}

// ownKubeconfig is the one file into which our context is merged. As with kubectl, that is the first of the list that
// exists, else the first.
func (a *app) ownKubeconfig() string {
	var files []string
	for _, file := range filepath.SplitList(a.kubeconfig()) {
		if file != "" {
			files = append(files, a.absolute(file))
		}
	}
	for _, file := range files {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	if len(files) == 0 {
		return ""
	}
	return files[0]
}

// contexts are the names of the kubeconfig's contexts; none when it cannot be read.
func (a *app) contexts() []string {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(a.kubeconfig())}
	config, err := rules.Load()
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(config.Contexts))
	for name := range config.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// chooseTarget finds the target that --target names. What it says stands where no flag says otherwise; but it is the target
// that says which cluster is meant.
func (a *app) chooseTarget() error {
	g := a.globals
	if g.target == "" {
		return nil
	}
	o := a.composeOptions()
	if slices.Contains(g.files, "-") { // the file is read again
		content, err := io.ReadAll(a.env.In)
		if err != nil {
			return err
		}
		o.Stdin, a.env.In = bytes.NewReader(content), bytes.NewReader(content)
	}
	target, project, err := compose.FindTarget(o, g.target)
	if err != nil {
		return err
	}
	if g.context != "" && g.context != target.Context {
		return fault.New(fault.Usage, "leave one of the two out", "--context %s: the target %s is the context %q", g.context, target.Name, target.Context)
	}
	a.target, a.targetOf = target, project
	g.context, g.namespace = target.Context, orElse(g.namespace, target.Namespace)
	return nil
}

// contextName is the kubeconfig context of the app's cluster: --context, else that of the embedded cluster.
func (a *app) contextName() string {
	return orElse(a.globals.context, a.cluster().Context())
}

// kubeOptions name the app's cluster for package kube. namespace may be "", for the project's.
func (a *app) kubeOptions(namespace string) kube.Options {
	return kube.Options{Kubeconfig: a.kubeconfig(), Context: a.contextName(), Namespace: namespace}
}

// kube is a client for the app's cluster.
func (a *app) kube(namespace string) (*kube.Client, error) {
	return kube.Load(a.kubeOptions(namespace))
}

// upOptions are the part of the street's options that every command has in common.
func (a *app) upOptions(services []string) up.Options {
	mirrors, _ := image.ParseMirrors(a.globals.mirrors) // the flag has checked them
	return up.Options{
		Compose:  a.composeOptions(),
		Services: services,
		Node:     a.cluster(),
		Kube:     a.kubeOptions(a.globals.namespace),
		DryRun:   a.globals.dryRun,
		Verbose:  a.globals.debug,
		Mirrors:  mirrors,

		Certificates: a.certificates(),

		ChartCache: filepath.Join(a.cache(), "charts"),
		LayerCache: filepath.Join(a.cache(), "layers"),
	}
}

// cache is the folder of what can be fetched again.
func (a *app) cache() string {
	return filepath.Join(orElse(a.env.getenv("XDG_CACHE_HOME"), filepath.Join(a.env.getenv("HOME"), ".cache")), "perch")
}

// certificates are the folders in which Docker looks for what registries are trusted by.
func (a *app) certificates() []string {
	home := a.env.getenv("HOME")
	return []string{
		filepath.Join(home, ".docker", "certs.d"), filepath.Join(orElse(a.env.getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")), "docker", "certs.d"),
		"/etc/docker/certs.d",
	}
}

// upNames are upOptions for what wants to know where the project is, and no values of it.
func (a *app) upNames() up.Options {
	o := a.upOptions(nil)
	o.Compose.NamesOnly = true
	return o
}

// onlyEmbedded refuses other clusters, for commands that put what changes into running containers of this machine.
func (a *app) onlyEmbedded() error {
	if name := a.contextName(); name != a.cluster().Context() {
		return fault.New(fault.Usage, "leave --context and --target out", "context %q: this command works on the embedded cluster only", name)
	}
	return nil
}

// store is the image store of the embedded cluster, which must run.
func (a *app) store(ctx context.Context) (image.Store, error) {
	cluster := a.cluster()
	status, err := cluster.Status(ctx)
	if err != nil {
		return image.Store{}, err
	}
	if !status.Running {
		return image.Store{}, notRunning(cluster)
	}
	containerd, builder := cluster.Store()
	return image.Store{Containerd: containerd, Builder: builder, Registries: cluster.Registries()}, nil
}

// notRunning is the error of a command that needs a running cluster.
func notRunning(cluster node.Cluster) error {
	hint := "start it: perch cluster start"
	if cluster.Name != node.DefaultName {
		hint += " " + cluster.Name
	}
	return fault.New(fault.Unreachable, hint, "cluster %q is not running", cluster.Name)
}
