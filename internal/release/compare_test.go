package release

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/perch-k8s/perch/internal/kube"
)

var update = flag.Bool("update", false, "write the golden files anew")

// planCase is one pair of what is wanted and what is there, and the plan in testdata/plan/NAME.txt.
type planCase struct {
	name   string
	change func(w *Wanted, o *Observed)
}

// planCases start from a project that is installed and unchanged: web waits for db to be healthy, worker for web to
// have started.
func planCases(t *testing.T) []planCase {
	t.Helper()
	return []planCase{
		{"unchanged", func(*Wanted, *Observed) {}},
		{"first-install", func(w *Wanted, o *Observed) { *o = Observed{Project: "shop", Namespace: "shop"} }},
		{"image", func(w *Wanted, o *Observed) {
			replace(t, w, "web", deployment("web", "docker.io/library/web:2", 2, "web-env-1"))
			w.Units[index(w, "web")].Migrations = []*batchv1.Job{job("web-pre-start-0-bbbb", "shop", "migration", "web:2")}
		}},
		{"image-not-built", func(w *Wanted, o *Observed) {
			d := deployment("web", "docker.io/library/web:2", 2, "web-env-1")
			d.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsNonRoot: new(true)}
			replace(t, w, "web", d)
			w.Units[index(w, "web")].Guessed = true
		}},
		{"environment", func(w *Wanted, o *Observed) {
			replace(t, w, "web", deployment("web", "docker.io/library/web:1", 2, "web-env-2"))
			w.Units[index(w, "web")].Config = []runtime.Object{
				settings("web-env-2", "shop", "web", map[string]string{"PORT": "4001", "GREETING": "hello"}),
			}
		}},
		{"replicas", func(w *Wanted, o *Observed) {
			replace(t, w, "web", deployment("web", "docker.io/library/web:1", 3, "web-env-1"))
		}},
		{"object-added", func(w *Wanted, o *Observed) {
			replace(t, w, "worker", deployment("worker", "worker:1", 1), service("worker"))
		}},
		{"last-failed", func(w *Wanted, o *Observed) { status(o, "shop-web", "failed") }},
		{"interrupted", func(w *Wanted, o *Observed) { status(o, "shop-db", "pending-upgrade") }},
		{"applied-by-hand", func(w *Wanted, o *Observed) {
			delete(o.Releases, "shop-web")
			o.Workloads[Ref{"Deployment", "web"}] = Workload{Ready: 2, Total: 2, Settled: true, Applied: true}
		}},
		{"half-removed", func(w *Wanted, o *Observed) { status(o, "shop-db", "uninstalling") }},
		{"workload-gone", func(w *Wanted, o *Observed) { delete(o.Workloads, Ref{"Deployment", "db"}) }},
		{"service-gone", func(w *Wanted, o *Observed) {
			replace(t, w, "db", deployment("db", "postgres:18", 1), service("db"))
			install(t, o, w.Units[index(w, "db")], "deployed")
		}},
		{"job-gone", func(w *Wanted, o *Observed) { delete(o.Jobs, "web-pre-start-0-aaaa") }},
		{"not-ready", func(w *Wanted, o *Observed) {
			o.Workloads[Ref{"Deployment", "db"}] = Workload{Ready: 0, Total: 1, Settled: true}
		}},
		{"migration-failed", func(w *Wanted, o *Observed) { o.Jobs["web-pre-start-0-aaaa"] = finished("web", batchv1.JobFailed) }},
		{"migration-running", func(w *Wanted, o *Observed) { o.Jobs["web-pre-start-0-aaaa"] = finished("web", "") }},
		{"orphan", func(w *Wanted, o *Observed) { w.Units = w.Units[:2] }},
		{"not-asked-for", func(w *Wanted, o *Observed) {
			w.Units, w.RemoveOrphans, w.Known = w.Units[:2], true, []string{"web", "db", "worker"}
		}},
		{"command", func(w *Wanted, o *Observed) {
			d := deployment("worker", "worker:1", 1)
			d.Spec.Template.Spec.Containers[0].Args = []string{"work"}
			replace(t, w, "worker", d)
		}},
		{"orphan-removed", func(w *Wanted, o *Observed) { w.Units, w.RemoveOrphans = w.Units[:2], true }},
		{"volume-grows", func(w *Wanted, o *Observed) { w.Volumes = []runtime.Object{claim("db-data", "shop", "2Gi")} }},
		{"volume-shrinks", func(w *Wanted, o *Observed) { w.Volumes = []runtime.Object{claim("db-data", "shop", "512Mi")} }},
		{"prune", func(w *Wanted, o *Observed) {
			o.Config[Ref{"ConfigMap", "web-env-0"}] = Config{Service: "web"}
			o.Config[Ref{"ConfigMap", "seed-env-9"}] = Config{Service: "seed"}
			o.Jobs["web-pre-start-0-0000"] = finished("web", batchv1.JobComplete)
			reading := finished("seed", "") // a job that runs keeps its config
			reading.Labels[kube.ComponentLabel] = "job"
			reading.Spec = job("seed", "shop", "job", "seed:1").Spec
			reading.Spec.Template.Spec.Containers[0].EnvFrom = deployment("x", "x", 1, "seed-env-9").Spec.Template.Spec.Containers[0].EnvFrom
			o.Jobs["seed-x"] = reading
		}},
		{"restart-dependents", func(w *Wanted, o *Observed) {
			replace(t, w, "db", deployment("db", "postgres:19", 1))
			w.Units[index(w, "web")].DependsOn[0].Restart = true
		}},
		{"soft-dependency", func(w *Wanted, o *Observed) {
			w.Units[index(w, "web")].DependsOn[0].Required = false
			*o = Observed{Project: "shop", Namespace: "shop", Exists: true}
		}},
		{"recreate", func(w *Wanted, o *Observed) { w.Recreate = true }},
		{"asks-for-more", func(w *Wanted, o *Observed) {
			privileged(t, w, "web")
			w.Security = kube.Security{Privileged: true, Because: "services.web.privileged"}
		}},
		{"asks-for-less", func(w *Wanted, o *Observed) {
			o.Security = kube.Security{Privileged: true}
			replace(t, w, "web", deployment("web", "docker.io/library/web:2", 2, "web-env-1"))
		}},
		{"asks-for-less-and-an-orphan-may-not", func(w *Wanted, o *Observed) {
			o.Security = kube.Security{Privileged: true}
			w.Units = w.Units[:2]
		}},
		{"level-of-somebody-else", func(w *Wanted, o *Observed) {
			o.SecurityIsOur, o.Security = false, kube.Security{Privileged: true}
			w.Security = kube.Security{Privileged: true}
		}},
		{"no-level-yet", func(w *Wanted, o *Observed) { o.SecuritySet = false }},
		{"no-level-yet-and-more-runs", func(w *Wanted, o *Observed) {
			privileged(t, w, "db")
			install(t, o, w.Units[index(w, "db")], "deployed")
			o.SecuritySet = false
			w.Units = []Unit{w.Units[index(w, "web")]}
			w.Known = []string{"db", "worker"}
		}},
		{"job-service-failed", func(w *Wanted, o *Observed) {
			j := job("init", "shop", "", "init:1")
			w.Units = append(w.Units, unit(t, "init", j))
			install(t, o, w.Units[3], "deployed")
			o.Jobs["init"] = finished("init", batchv1.JobFailed)
		}},
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range planCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, o := installedShop(t)
			c.change(&w, &o)
			plan, err := Compare(w, o)
			if err != nil {
				t.Fatal(err)
			}
			got := plan.String()
			if len(plan.Orphans) > 0 {
				got += "orphans left alone: " + strings.Join(plan.Orphans, ", ") + "\n"
			}
			golden(t, filepath.Join("testdata", "plan", c.name+".txt"), got)
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestRunningJob is a service that runs to its end: it is waited for when another service needs that end.
func TestRunningJob(t *testing.T) {
	t.Parallel()
	for _, condition := range []string{Started, Completed} {
		seed := unit(t, "seed", job("seed", "shop", "", "seed:1"))
		web := unit(t, "web", deployment("web", "web:1", 1))
		web.DependsOn = []Dependency{{Service: "seed", Condition: condition, Required: true}}
		w := Wanted{Project: "shop", Namespace: "shop", Units: []Unit{seed, web}}
		o := Observed{
			Project: "shop", Namespace: "shop", Exists: true, Releases: map[string]Installed{}, Jobs: map[string]*batchv1.Job{"seed": job("seed", "shop", "", "seed:1")},
			Workloads: map[Ref]Workload{{"Deployment", "web"}: {Ready: 1, Total: 1, Settled: true}},
		}
		install(t, &o, seed, "deployed")
		install(t, &o, web, "deployed")
		p, err := Compare(w, o)
		if err != nil {
			t.Fatal(err)
		}
		if p.Changes() != (condition == Completed) {
			t.Errorf("%s: %s", condition, p)
		}
	}
}

func TestCompareRefusesACircle(t *testing.T) {
	t.Parallel()
	w, o := installedShop(t)
	w.Units[index(&w, "db")].DependsOn = []Dependency{{Service: "worker", Required: true}}
	if _, err := Compare(w, o); !errors.Is(err, ErrCycle) {
		t.Errorf("error %v, want ErrCycle", err)
	}
}

func TestCausesKeepSecrets(t *testing.T) {
	t.Parallel()
	w, o := installedShop(t)
	const old, fresh = "correct-horse", "battery-staple"
	web := &w.Units[index(&w, "web")]
	replace(t, &w, "web", deployment("web", "docker.io/library/web:1", 2, "web-secret-env-2"))
	web.Config = append(web.Config, &corev1.Secret{StringData: map[string]string{"PASSWORD": fresh}})
	web.Config[1].(*corev1.Secret).Name = "web-secret-env-2"
	o.Config[Ref{"Secret", "web-env-1"}] = Config{Service: "web", Data: map[string]string{"PASSWORD": old}}
	plan, err := Compare(w, o)
	if err != nil {
		t.Fatal(err)
	}
	text := plan.String()
	if !strings.Contains(text, "environment variable PASSWORD changed") {
		t.Errorf("the plan does not say that PASSWORD changed:\n%s", text)
	}
	for _, secret := range []string{old, fresh} {
		if strings.Contains(text, secret) {
			t.Errorf("the plan tells a secret:\n%s", text)
		}
	}
}

// installedShop is a project and its state just after it was deployed.
func installedShop(t *testing.T) (Wanted, Observed) {
	t.Helper()
	web := unit(t, "web", deployment("web", "docker.io/library/web:1", 2, "web-env-1"))
	web.Config = []runtime.Object{settings("web-env-1", "shop", "web", map[string]string{"PORT": "4000"})}
	web.Migrations = []*batchv1.Job{job("web-pre-start-0-aaaa", "shop", "migration", "web:1")}
	web.DependsOn = []Dependency{{Service: "db", Condition: Healthy, Required: true}}
	worker := unit(t, "worker", deployment("worker", "worker:1", 1))
	worker.DependsOn = []Dependency{{Service: "web", Condition: Started, Required: true}}
	w := Wanted{
		Project: "shop", Namespace: "shop",
		Volumes: []runtime.Object{claim("db-data", "shop", "1Gi")},
		Units:   []Unit{web, unit(t, "db", deployment("db", "postgres:18", 1)), worker},
	}
	o := Observed{
		Project: "shop", Namespace: "shop", Exists: true, Ours: true, SecuritySet: true, SecurityIsOur: true,
		Releases:  map[string]Installed{},
		Volumes:   map[string]resource.Quantity{"db-data": resource.MustParse("1Gi")},
		Config:    map[Ref]Config{{"ConfigMap", "web-env-1"}: {Service: "web", Data: map[string]string{"PORT": "4000"}}},
		Jobs:      map[string]*batchv1.Job{"web-pre-start-0-aaaa": finished("web", batchv1.JobComplete)},
		Workloads: map[Ref]Workload{},
	}
	for _, u := range w.Units {
		install(t, &o, u, "deployed")
	}
	return w, o
}

// install puts a unit into the snapshot as a release of one revision whose workloads are ready.
func install(t *testing.T, o *Observed, u Unit, status string) {
	t.Helper()
	manifest := ""
	for _, object := range u.Objects {
		data, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		manifest += "---\n# Source: x\n" + string(data)
		if ref, err := refOf(object); err == nil && ref.Kind == "Deployment" {
			o.Workloads[ref] = Workload{Ready: 1, Total: 1, Settled: true}
		}
	}
	o.Releases[u.Release] = Installed{
		Name: u.Release, Service: u.Service, Project: "shop", Revision: 1, Status: status, Digest: u.Chart.Digest,
		Manifest: manifest, kept: manifest + strings.Join(requires(&u), " "),
	}
}

func status(o *Observed, release, status string) {
	in := o.Releases[release]
	in.Status = status
	o.Releases[release] = in
}

func index(w *Wanted, service string) int {
	for i, u := range w.Units {
		if u.Service == service {
			return i
		}
	}
	return -1
}

// replace gives a service other objects.
func replace(t *testing.T, w *Wanted, service string, objects ...runtime.Object) {
	t.Helper()
	u := &w.Units[index(w, service)]
	fresh := unit(t, service, objects...)
	u.Chart, u.Objects = fresh.Chart, fresh.Objects
}

// privileged makes the containers of a service so.
func privileged(t *testing.T, w *Wanted, service string) {
	t.Helper()
	d := deployment(service, service+":1", 1)
	d.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
	replace(t, w, service, d)
}

func service(name string) *corev1.Service {
	s := &corev1.Service{}
	s.Kind, s.APIVersion, s.Name = "Service", "v1", name
	return s
}

// finished is a migration Job of a service in the given state; "" is running.
func finished(service string, state batchv1.JobConditionType) *batchv1.Job {
	j := job(service, "shop", "migration", service)
	if state != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: state, Status: corev1.ConditionTrue}}
	}
	return j
}

// TestConfigsOfFiles changes a file that a service mounts: its key in the ConfigMap is no variable.
func TestConfigsOfFiles(t *testing.T) {
	t.Parallel()
	u := &Unit{Service: "web", Config: []runtime.Object{
		settings("web-env-2", "shop", "web", map[string]string{"PORT": "2"}), settings("web-files-0-2", "shop", "web", map[string]string{"000": "new"}),
	}}
	o := Observed{Config: map[Ref]Config{
		{"ConfigMap", "web-env-1"}:     {Service: "web", Data: map[string]string{"PORT": "1"}},
		{"ConfigMap", "web-files-0-1"}: {Service: "web", Data: map[string]string{"000": "old"}},
	}}
	var said []string
	configs(u, Installed{Manifest: "web-env-1 web-files-0-1"}, o, func(text string) { said = append(said, text) })
	if diff := cmp.Diff([]string{"environment variable PORT changed"}, said); diff != "" {
		t.Error(diff)
	}
}

// TestLeaving: a service whose pods are not wanted any more, as one that is provided from elsewhere, loses them when those who
// use it have been rolled.
func TestLeaving(t *testing.T) {
	t.Parallel()
	o := Observed{Project: "shop", Namespace: "shop", Exists: true, Releases: map[string]Installed{}, Workloads: map[Ref]Workload{}}
	db := unit(t, "db", deployment("db", "postgres:18", 1))
	web := unit(t, "web", deployment("web", "web:1", 1))
	web.DependsOn = []Dependency{{Service: "db", Condition: Healthy, Required: true}}
	install(t, &o, db, "deployed")
	install(t, &o, web, "deployed")
	web2 := unit(t, "web", deployment("web", "web:2", 1))
	web2.DependsOn = web.DependsOn
	w := Wanted{Project: "shop", Namespace: "shop", Units: []Unit{unit(t, "db"), web2}}
	p, err := Compare(w, o)
	if err != nil {
		t.Fatal(err)
	}
	const want = `upgrade  web  image changed web:1 → web:2
wait     web                                     after upgrade web
upgrade  db   deployment db is no longer wanted  after wait web
wait     db                                      after upgrade db
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}
