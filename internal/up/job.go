package up

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/fault"
	"github.com/perch-k8s/perch/internal/image"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/render"
)

// RunJob runs a job of the Compose file once, with args instead of its own command when there are some, and returns its
// exit code. What it prints comes as Output events of "job NAME". suffix makes the name of this run unique.
func RunJob(ctx context.Context, o Options, name string, args []string, suffix string, r progress.Reporter) (exit int, err error) {
	project, err := loadProject(ctx, o)
	if err != nil {
		return 0, err
	}
	if _, ok := project.Jobs[name]; !ok {
		return 0, compose.Unknown("job", name, slices.Sorted(maps.Keys(project.Jobs)))
	}
	client, images, err := prepare(ctx, o, project, []string{jobKey(name)}, r)
	if err != nil {
		return 0, err
	}
	on, err := targetOn(ctx, o, client, project)
	if err != nil {
		return 0, err
	}
	rendered, err := render.Objects(project, imagesOf(images), on)
	if err != nil {
		return 0, err
	}
	job, ok := rendered.Jobs[name]
	if !ok {
		return 0, fault.New(fault.ComposeFile, "allow it with triggers: {manual: true}", "job %q may not be run by hand", name)
	}
	job = instance(job, suffix, args)
	if err := kubeReady(ctx, client, job.Namespace, rendered, name, job); err != nil {
		return 0, err
	}
	if err := sweep(ctx, client, job); err != nil {
		return 0, err
	}
	exit, err = client.RunJob(ctx, job, r, "job "+name)
	if ctx.Err() != nil { // the job may run on
		return exit, err
	}
	if err == nil { // one that failed is kept, with its log, until the next run
		err = client.Delete(ctx, []runtime.Object{job})
	}
	return exit, errors.Join(err, tidy(ctx, client, job, rendered, name))
}

// sweep removes the earlier runs of a job that have ended: those that failed, and those that nobody was there to remove.
func sweep(ctx context.Context, client *kube.Client, job *batchv1.Job) error {
	const name = "app.kubernetes.io/name"
	jobs, err := client.Interface.BatchV1().Jobs(job.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: kube.ComponentLabel + "=job," + name + "=" + job.Labels[name],
	})
	if err != nil {
		return client.Explain(err)
	}
	var ended []runtime.Object
	for i := range jobs.Items {
		if kube.StateOf(&jobs.Items[i]) != kube.JobRunning {
			ended = append(ended, &jobs.Items[i])
		}
	}
	return client.Delete(ctx, ended)
}

// tidy removes the config that only runs of the job read, once all of them have ended; run is the one that just did, though
// its Job may not say so yet. Left there, it would be for the next up to remove, which then could not say that it changed
// nothing.
func tidy(ctx context.Context, client *kube.Client, run *batchv1.Job, rendered render.Output, name string) error {
	jobs, err := client.Interface.BatchV1().Jobs(run.Namespace).List(ctx, metav1.ListOptions{LabelSelector: kube.ComponentLabel + "=job"})
	if err != nil {
		return client.Explain(err)
	}
	for i := range jobs.Items {
		if jobs.Items[i].Name != run.Name && kube.StateOf(&jobs.Items[i]) == kube.JobRunning {
			return nil
		}
	}
	read := slices.Clone(rendered.JobUse[name])
	for _, u := range rendered.Units { // a job with a schedule shares its config with the CronJob
		read = slices.DeleteFunc(read, func(o runtime.Object) bool { return slices.ContainsFunc(u.Config, sameAs(o)) })
	}
	return client.Delete(ctx, read)
}

// sameAs tells whether another object of the project is o: names of config are unique by kind.
func sameAs(o runtime.Object) func(runtime.Object) bool {
	return func(other runtime.Object) bool {
		a, aerr := meta.Accessor(o)
		b, berr := meta.Accessor(other)
		return aerr == nil && berr == nil && a.GetName() == b.GetName() &&
			o.GetObjectKind().GroupVersionKind() == other.GetObjectKind().GroupVersionKind()
	}
}

// instance is one run of a job.
func instance(template *batchv1.Job, suffix string, args []string) *batchv1.Job {
	job := template.DeepCopy()
	job.Name = strings.TrimSuffix(job.Name, "-") + "-" + suffix
	if len(args) > 0 {
		job.Spec.Template.Spec.Containers[0].Args = args
	}
	return job
}

// kubeReady puts what the job reads in place. Volumes are applied too: they may be the job's own.
func kubeReady(ctx context.Context, client *kube.Client, namespace string, rendered render.Output, name string, job *batchv1.Job) error {
	s, err := kube.SecurityOf([]runtime.Object{job})
	if err != nil {
		return err
	}
	if _, err := client.EnsureNamespace(ctx, kube.ProjectNamespace(namespace, s)); err != nil {
		return err
	}
	return client.Apply(ctx, slices.Concat(rendered.Volumes, rendered.JobUse[name]))
}

// Build builds the images of the services, all when none is named, and returns them by their key. With a registry they are pushed
// there: for the platforms that are named, else for the cluster's nodes.
func Build(ctx context.Context, o Options, noCache bool, r progress.Reporter) (map[string]image.Image, error) {
	project, err := loadProject(ctx, o)
	if err != nil {
		return nil, err
	}
	options := imageOptions(o, project, built(project.ServiceNames(), project))
	options.NoCache = noCache
	if options.Registry.On() {
		return o.push(ctx, options, r)
	}
	if err := o.Node.StartStore(ctx, r); err != nil {
		return nil, err
	}
	if len(options.Services) == 0 {
		return map[string]image.Image{}, nil
	}
	images, err := image.Resolve(ctx, options, store(o), r)
	if err != nil {
		return nil, err
	}
	return images, o.Node.Start(ctx, r)
}
