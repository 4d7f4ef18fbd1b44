package fit

import "slices"

// Purpose is what a permission is used for.
type Purpose string

// The purposes, in the order in which a deploy has them.
const (
	toKnow      Purpose = "know the cluster again"
	toLook      Purpose = "see what is there"
	toMake      Purpose = "make the namespace"
	toLock      Purpose = "hold the deploy lock"
	toStore     Purpose = "make volumes"
	toConfigure Purpose = "put config in place, and remove what no revision names"
	toMigrate   Purpose = "run migrations"
	toRelease   Purpose = "install, upgrade, roll back and uninstall releases"
	toWatch     Purpose = "wait for a rollout, and say why it fails"
	toRemove    Purpose = "perch down"
	toLog       Purpose = "perch logs"
	toExec      Purpose = "perch exec, perch psql and perch watch"
	toRun       Purpose = "perch run"
	toScale     Purpose = "perch scale"
	toMeasure   Purpose = "perch stats"
	toJudge     Purpose = "check the cluster before a deploy"
)

// Permission is one row of what Perch asks of a cluster.
type Permission struct {
	For      Purpose
	Group    string // of the API; "" is the core
	Resource string // with its subresource: "pods/log"
	Kind     string // needed only where the project has objects of this kind; "": always
	Verbs    []string
	Why      string
	Without  string // what is lost without it; "": nothing works
}

// verb sets that come more than once. SSA of an object that is not there asks for create beside patch.
func watching() []string { return []string{"list", "watch"} }
func applying() []string { return []string{"create", "patch"} }
func helms() []string    { return []string{"get", "create", "patch", "delete"} }

// needed are the permissions in the project's namespace that a deploy, a rollback and a removal need, but for those of the
// objects in the releases, which follow from their kinds.
func needed() []Permission {
	apps, batch := "apps", "batch"
	return []Permission{
		{For: toLook, Resource: "secrets", Verbs: []string{"list"}, Why: "releases and their revisions are kept in Secrets, and config is compared"},
		{For: toLook, Resource: "configmaps", Verbs: []string{"list"}, Why: "config is compared"},
		{For: toLook, Resource: "services", Verbs: []string{"list"}, Why: "what is missing is made again"},
		{For: toLook, Resource: "persistentvolumeclaims", Verbs: []string{"list"}, Why: "volumes that are there are left alone"},
		{For: toLook, Resource: "pods", Verbs: []string{"list"}, Why: "a Job whose pod has ended counts as complete"},
		{For: toLook, Group: apps, Resource: "deployments", Verbs: []string{"list"}, Why: "what is missing or not ready is seen"},
		{For: toLook, Group: apps, Resource: "statefulsets", Verbs: []string{"list"}, Why: "what is missing or not ready is seen"},
		{For: toLook, Group: apps, Resource: "daemonsets", Verbs: []string{"list"}, Why: "what is missing or not ready is seen"},
		{For: toLook, Group: batch, Resource: "jobs", Verbs: []string{"list"}, Why: "migrations that ran are not run again"},
		{For: toLook, Resource: "namespaces", Verbs: []string{"get"}, Why: "its level of Pod Security is seen",
			Without: "which level of Pod Security the namespace enforces is not known"},

		{For: toLock, Group: "coordination.k8s.io", Resource: "leases", Verbs: []string{"get", "create", "update", "delete"},
			Why: "the deploy lock is a Lease, which is renewed while a deploy runs"},

		{For: toStore, Resource: "persistentvolumeclaims", Kind: "PersistentVolumeClaim", Verbs: applying(), Why: "volumes stand beside the releases"},

		{For: toConfigure, Resource: "configmaps", Kind: "ConfigMap", Verbs: []string{"create", "patch", "delete"}, Why: "config stands beside the releases"},
		{For: toConfigure, Resource: "secrets", Kind: "Secret", Verbs: []string{"create", "patch", "delete"}, Why: "sensitive config stands beside the releases"},

		{For: toMigrate, Group: batch, Resource: "jobs", Kind: "Job", Verbs: []string{"get", "create", "list", "watch", "delete"},
			Why: "a migration is a Job, and one that failed is replaced"},

		{For: toRelease, Resource: "secrets", Verbs: []string{"get", "create", "update", "delete"}, Why: "each revision of a release is a Secret"},
		{For: toRelease, Resource: "services", Kind: "Service", Verbs: watching(), Why: "one that cannot be changed is replaced"},

		{For: toWatch, Group: apps, Resource: "deployments", Kind: "Deployment", Verbs: watching(), Why: "it is waited for"},
		{For: toWatch, Group: apps, Resource: "replicasets", Kind: "Deployment", Verbs: watching(), Why: "which pods are new is read from them"},
		{For: toWatch, Group: apps, Resource: "statefulsets", Kind: "StatefulSet", Verbs: watching(), Why: "it is waited for"},
		{For: toWatch, Group: apps, Resource: "daemonsets", Kind: "DaemonSet", Verbs: watching(), Why: "it is waited for"},
		{For: toWatch, Resource: "pods", Verbs: []string{"list", "watch", "delete"}, Why: "pods are waited for, and those that a failed rollout left are removed"},
		{For: toWatch, Resource: "pods", Verbs: []string{"get"}, Why: "the exit code of a migration is read", Without: "the exit code of a migration that fails is not told"},
		{For: toWatch, Resource: "pods/log", Verbs: []string{"get"}, Why: "the log of a migration is shown, and of what fails the last lines",
			Without: "the logs of migrations and of what fails are not shown"},
		{For: toWatch, Resource: "events", Verbs: watching(), Why: "they say why a pod does not start", Without: "the cause of a rollout that fails may not be told"},
		{For: toWatch, Resource: "pods/portforward", Verbs: []string{"get", "create"}, Why: "the version of the database's schema is noted with each deploy",
			Without: "perch rollback does not know which schema a version had"},

		{For: toRemove, Resource: "persistentvolumeclaims", Kind: "PersistentVolumeClaim", Verbs: []string{"get", "list", "watch", "delete"},
			Why: "perch down --volumes", Without: "perch down --volumes cannot remove the data"},
	}
}

// others are the permissions in the namespace that other commands use. A deploy does without.
func others() []Permission {
	return []Permission{
		{For: toLog, Resource: "pods", Verbs: []string{"get", "list", "watch"}, Why: "whose logs there are"},
		{For: toLog, Resource: "pods/log", Verbs: []string{"get"}, Why: "the logs"},
		{For: toExec, Resource: "pods/exec", Verbs: []string{"get", "create"}, Why: "a command in a container; from Kubernetes 1.35 on both verbs are asked for"},
		{For: toExec, Resource: "pods/portforward", Verbs: []string{"get", "create"}, Why: "a connection to a port of a pod"},
		{For: toRun, Group: "batch", Resource: "jobs", Verbs: []string{"get", "list", "watch", "create", "patch", "delete"}, Why: "a run is a Job of its own"},
		{For: toRun, Resource: "pods/attach", Verbs: []string{"get", "create"}, Why: "its streams"},
		{For: toScale, Group: "apps", Resource: "deployments/scale", Verbs: []string{"patch"}, Why: "the number of pods"},
		{For: toScale, Group: "apps", Resource: "statefulsets/scale", Verbs: []string{"patch"}, Why: "the number of pods"},
		{For: toMeasure, Group: "metrics.k8s.io", Resource: "pods", Verbs: []string{"get", "list"}, Why: "what pods use"},
	}
}

// clusterWide are the permissions outside of the namespace. None is needed in a namespace that is there.
func clusterWide() []Permission {
	const unseen = "it is not looked at"
	const gateways, certificates = "gateway.networking.k8s.io", "cert-manager.io"
	return []Permission{
		{For: toKnow, Resource: "namespaces", Verbs: []string{"get"}, Why: "the UID of kube-system tells this cluster from others",
			Without: "the cluster is known by its address and its certificates"},
		{For: toMake, Resource: "namespaces", Verbs: []string{"create"}, Why: "Perch makes the project's namespace", Without: "it has to be there"},
		{For: toMake, Resource: "namespaces", Verbs: []string{"patch"}, Why: "Perch sets the level of Pod Security in a namespace that it made", Without: "it stays as it is"},
		{For: toRemove, Resource: "namespaces", Verbs: []string{"delete"}, Why: "perch down removes a namespace that Perch made", Without: "it stays, empty"},
		{For: toJudge, Resource: "nodes", Verbs: []string{"list"}, Why: "their architecture, which images are built for", Without: "say it: platforms of the target, or --platform"},
		{For: toJudge, Group: "storage.k8s.io", Resource: "storageclasses", Verbs: []string{"list"}, Why: "those that volumes ask for", Without: unseen},
		{For: toJudge, Group: "networking.k8s.io", Resource: "ingressclasses", Verbs: []string{"list"}, Why: "the one that hosts ask for", Without: unseen},
		{For: toJudge, Group: "scheduling.k8s.io", Resource: "priorityclasses", Verbs: []string{"list"}, Why: "those that services ask for", Without: unseen},
		{For: toJudge, Resource: "services", Verbs: []string{"list"}, Why: "whether those of type LoadBalancer get addresses", Without: "only the namespace's own are looked at"},
		{For: toJudge, Group: gateways, Resource: "gateways", Verbs: []string{"get"}, Why: "the one that routes go through", Without: unseen},
		{For: toJudge, Group: certificates, Resource: "clusterissuers", Verbs: []string{"get"}, Why: "the one that certificates come from", Without: unseen},
	}
}

// inNamespace are the reads of the check in the project's namespace.
func inNamespace() []Permission {
	const unseen = "it is not looked at"
	return []Permission{
		{For: toJudge, Resource: "resourcequotas", Verbs: []string{"list"}, Why: "whether the project fits in", Without: unseen},
		{For: toJudge, Resource: "limitranges", Verbs: []string{"list"}, Why: "whether the project fits in", Without: unseen},
		{For: toJudge, Resource: "serviceaccounts", Verbs: []string{"get"}, Why: "one that a service names, and that the project does not make", Without: unseen},
		{For: toJudge, Resource: "configmaps", Verbs: []string{"get"}, Why: "one that a service names, and that the project does not make", Without: unseen},
	}
}

// released are the kinds of objects that Perch puts into releases: resource and group, as a Role names them.
func released() [][2]string {
	return [][2]string{
		{"services", ""},
		{"serviceaccounts", ""},
		{"deployments", "apps"}, {"statefulsets", "apps"}, {"daemonsets", "apps"},
		{"jobs", "batch"}, {"cronjobs", "batch"},
		{"horizontalpodautoscalers", "autoscaling"},
		{"networkpolicies", "networking.k8s.io"}, {"ingresses", "networking.k8s.io"},
		{"poddisruptionbudgets", "policy"},
	}
}

// helmPermission is what a release does with the objects of a kind.
func helmPermission(resource, group, kind string) Permission {
	return Permission{For: toRelease, Group: group, Resource: resource, Kind: kind, Verbs: helms(), Why: "it is an object of a release"}
}

// listed are the resources of a release that are looked for before a deploy, beside those of needed: what somebody deleted is
// made again.
func listed() []string {
	return []string{
		"ingresses", "networkpolicies", "httproutes", "grpcroutes", "horizontalpodautoscalers", "poddisruptionbudgets", "serviceaccounts",
		"roles", "rolebindings", "servicemonitors",
	}
}

// listPermission is how those are looked for.
func listPermission(resource, group, kind string) Permission {
	return Permission{
		For: toLook, Group: group, Resource: resource, Kind: kind, Verbs: []string{"list"}, Why: "what is missing is made again",
		Without: "one that somebody deleted is not made again by the next deploy",
	}
}

// ofRelease is all that is done with the objects of a kind.
func ofRelease(resource, group, kind string) []Permission {
	all := []Permission{helmPermission(resource, group, kind)}
	if slices.Contains(listed(), resource) {
		all = append(all, listPermission(resource, group, kind))
	}
	return all
}

// Deployer is every permission of an account that may deploy any project into one namespace that is there, and use the other
// commands on it.
func Deployer() []Permission {
	all := needed()
	for _, k := range released() {
		all = append(all, ofRelease(k[0], k[1], "")...)
	}
	return slices.Concat(all, others(), inNamespace())
}
