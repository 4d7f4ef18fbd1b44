package render

import (
	"fmt"
	"maps"

	"github.com/compose-spec/compose-go/v2/types"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// hookRun is a pre_start hook as something that runs. compose-go gave it what it inherits from its service, but not its
// volumes, which it shares when it runs.
func (w workload) hookRun(i int, hook types.PreStartHook) runs {
	spec := hook.ContainerSpec
	spec.Volumes = inheritVolumes(w.service.Volumes, spec.Volumes)
	image, ok := w.images[fmt.Sprintf("%s/pre_start/%d", w.service.Name, i)]
	if !ok {
		image = w.image
		if spec.Image != "" && spec.Image != w.service.Image {
			image = Image{Ref: spec.Image}
		}
	}
	return runs{
		of: w.service.Name, path: fmt.Sprintf("services.%s.pre_start[%d]", w.service.Name, i),
		container: fmt.Sprintf("pre-start-%d", i), scratch: fmt.Sprintf("pre-start-%d-", i),
		spec: spec, image: image, extension: w.extension, resources: w.containerResources(spec),
	}
}

// inheritVolumes are the volumes of a service with those of its hook: the hook's own win at the same target.
func inheritVolumes(service, hook []types.ServiceVolumeConfig) []types.ServiceVolumeConfig {
	var all []types.ServiceVolumeConfig
	taken := map[string]bool{}
	for _, v := range hook {
		taken[v.Target] = true
	}
	for _, v := range service {
		if !taken[v.Target] {
			all = append(all, v)
		}
	}
	return append(all, hook...)
}

// migration is the Job of a pre_start hook that runs once for the service. Its name changes with what it runs, and not
// with the config it reads, so that an edit of a setting does not migrate again. It changes with where services are provided.
func (w workload) migration(i int, hook types.PreStartHook) (*batchv1.Job, []runtime.Object, error) {
	r := w.hookRun(i, hook)
	parts, err := w.builder.pod(r)
	if err != nil {
		return nil, nil, err
	}
	if w.policies {
		w.networkLabels(&parts.meta, w.networksOf(hook.ContainerSpec))
	}
	if a := w.extension.ServiceAccount; a != nil && a.Use != "" {
		w.standing(&parts.spec) // one that is made comes with the release, after this
	}
	identity := []any{r.image.Ref, r.spec.Command, r.spec.Entrypoint, r.spec.User}
	if places := w.project.Places(); len(places) > 0 {
		identity = append(identity, places) // a database that is elsewhere now has not been migrated
	}
	name := compose.NameWithin(fmt.Sprintf("%s-pre-start-%d", w.name, i), 52) + "-" + hash10(identity)
	return w.newJob(name, w.service.Name, "migration", parts), parts.config, nil
}

// newJob is a Job that runs once: it is not tried again, and it stays until it is replaced, for its log.
func (b *builder) newJob(name, of, component string, parts podParts) *batchv1.Job {
	meta := b.outside(name, of, component)
	parts.spec.RestartPolicy = corev1.RestartPolicyNever
	template := b.outside("", of, component)
	template.Namespace = ""
	// A Service selects its pods by name and instance, and must not send requests to a job.
	template.Labels[labelName] = compose.NameWithin(compose.Name(of)+"-"+component, 63)
	meta.Labels[labelName] = template.Labels[labelName]
	maps.Copy(template.Labels, parts.meta.Labels)
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			BackoffLimit: new(int32(0)),
			Template:     corev1.PodTemplateSpec{ObjectMeta: template, Spec: parts.spec},
		},
	}
}

// initContainers adds the pre_start hooks that run in every pod.
func (w workload) initContainers(parts *podParts) error {
	for i, hook := range w.service.PreStart {
		if !hook.PerReplica {
			continue
		}
		r := w.hookRun(i, hook)
		if b := w.builder; b.hostOf(w.service.Name) != w.service.Name {
			r.container = compose.NameWithin(w.name+"-"+r.container, 63)
			r.scratch = r.container + "-"
		}
		m, err := w.mounts(r)
		if err != nil {
			return fmt.Errorf("pre_start %d: %w", i, err)
		}
		m = prefixed(m, parts.spec.Volumes, r.container+"-")
		c, config := w.container(r, m)
		parts.spec.InitContainers = append(parts.spec.InitContainers, c)
		parts.spec.Volumes = append(parts.spec.Volumes, m.volumes...)
		parts.config = append(append(parts.config, config...), m.config...)
	}
	return nil
}

// job makes what a job of the project becomes: a Job to be run by hand, and a unit of CronJobs when it has a schedule.
func (b *builder) job(j types.JobConfig, out *Output) error {
	r := runs{
		of: j.Name, path: "jobs." + j.Name, container: compose.Name(j.Name), spec: j.ContainerSpec,
		image: b.image("job/"+j.Name, j.ContainerSpec), extension: b.project.JobExtensions[j.Name],
		resources: b.containerResources(j.ContainerSpec), tty: j.Tty, stdin: j.StdinOpen,
	}
	parts, err := b.pod(r)
	if err != nil {
		return err
	}
	if b.policies {
		b.networkLabels(&parts.meta, b.networksOf(j.ContainerSpec))
	}
	config := unique(parts.config)
	job := b.newJob(compose.NameWithin(j.Name, 52), j.Name, "job", parts)
	putLabels(&job.Spec.Template.ObjectMeta, j.Labels)
	if j.Triggers == nil || j.Triggers.Manual == nil || *j.Triggers.Manual {
		out.Jobs[j.Name] = job
		out.JobUse[j.Name] = config
	}
	if j.Triggers == nil || len(j.Triggers.Schedule) == 0 {
		return nil
	}
	unit := Unit{
		Service:   j.Name,
		Release:   b.project.Release(j.Name),
		Config:    config,
		DependsOn: b.dependencies(j.Name, j.DependsOn),
	}
	for i, schedule := range j.Triggers.Schedule {
		unit.Objects = append(unit.Objects, b.cronJob(i, j.Name, schedule, job))
	}
	if b.policies {
		unit.Objects = append(unit.Objects, b.jobPolicy(j, job))
	}
	sortObjects(unit.Objects)
	out.Units = append(out.Units, unit)
	return nil
}

// catchUp is for how many seconds a run that was missed, or that waits for the one before it, is still started, once.
const catchUp = 24 * 60 * 60

// longestCronJob leaves room for what the controller appends to the names of Jobs.
const longestCronJob = 52

func (b *builder) cronJob(i int, of string, schedule types.ScheduleConfig, job *batchv1.Job) *batchv1.CronJob {
	name := compose.NameWithin(of, longestCronJob)
	if i > 0 {
		name = compose.NameWithin(fmt.Sprintf("%s-%d", compose.Name(of), i+1), longestCronJob)
	}
	meta := b.meta(name, of)
	meta.Labels[labelName] = job.Labels[labelName]
	c := &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: meta,
		Spec: batchv1.CronJobSpec{
			Schedule:                   schedule.Cron,
			ConcurrencyPolicy:          batchv1.ForbidConcurrent,
			StartingDeadlineSeconds:    new(int64(catchUp)),
			SuccessfulJobsHistoryLimit: new(int32(3)),
			FailedJobsHistoryLimit:     new(int32(3)),
			JobTemplate:                batchv1.JobTemplateSpec{Spec: job.Spec},
		},
	}
	if schedule.Timezone != "" {
		c.Spec.TimeZone = new(schedule.Timezone)
	}
	if schedule.MissedFires == "skip" {
		c.Spec.StartingDeadlineSeconds = new(int64(10)) // the controller looks every 10 s
	}
	return c
}
