package corpus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

// result is what became of one Compose file.
type result struct {
	name    string // as nginx-golang-mysql
	project *compose.Project
	output  render.Output
	objects []runtime.Object // all of output, in an order in which they can be applied
	refused error
	took    time.Duration
}

// problems are the reasons of a refusal: one for each key.
func (r result) problems() []string {
	if r.refused == nil {
		return nil
	}
	all, ok := errors.AsType[compose.Problems](r.refused)
	if !ok {
		return []string{r.refused.Error()}
	}
	var out []string
	for _, p := range all {
		out = append(out, strings.TrimSuffix(p.String()+" | "+p.Hint, " | "))
	}
	return out
}

func (r result) warnings() []string {
	if r.project == nil {
		return nil
	}
	var out []string
	for _, w := range r.project.Warnings {
		out = append(out, strings.TrimSuffix(w.String()+" | "+w.Hint, " | "))
	}
	return out
}

// source is a folder with a Compose file.
type source struct {
	name, dir string
	project   string            // -p
	profiles  []string          // --profile
	env       map[string]string // of the user's shell
	embedded  bool
}

// convert does what `perch config` does where no cluster runs, but for the images: what the corpus' images say of
// themselves is known from facts, so that no registry is asked.
func convert(ctx context.Context, s source) result {
	started := time.Now()
	r := result{name: s.name}
	r.refused = r.convert(ctx, s)
	r.took = time.Since(started)
	return r
}

func (r *result) convert(ctx context.Context, s source) (err error) {
	r.project, err = compose.Load(ctx, compose.Options{
		WorkingDir: s.dir, ProjectName: s.project, Profiles: s.profiles, Environment: s.env, Embedded: s.embedded,
	})
	if err != nil {
		return err
	}
	target := render.Target{Namespace: r.project.Namespace, Embedded: s.embedded, LoadBalancer: true}
	r.output, err = render.Objects(r.project, imagesOf(r.project), target)
	if err != nil {
		return err
	}
	r.objects = objects(r.output)
	return nil
}

// objects are all objects of an output but the namespace.
func objects(out render.Output) []runtime.Object {
	all := slices.Clone(out.Volumes)
	for _, u := range out.Units {
		all = append(all, u.Config...)
		for _, job := range u.Migrations {
			all = append(all, job)
		}
		all = append(all, u.Objects...)
	}
	for _, name := range sortedKeys(out.Jobs) {
		all = append(append(all, out.JobUse[name]...), out.Jobs[name])
	}
	return unique(all)
}

// unique drops what several units share: config that has the name of its content.
func unique(all []runtime.Object) []runtime.Object {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(o runtime.Object) bool {
		m, ok := o.(metav1.Object)
		if !ok {
			return false
		}
		key := o.GetObjectKind().GroupVersionKind().String() + " " + m.GetName()
		was := seen[key]
		seen[key] = true
		return was
	})
}

// awesome are the 39 files of the corpus, by name.
func awesome(t testing.TB) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir("testdata/awesome-compose", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasPrefix(d.Name(), "compose.y") {
			return err
		}
		dir, err := filepath.Abs(filepath.Dir(path))
		all = append(all, source{name: filepath.Base(dir), dir: dir, embedded: true, env: map[string]string{"HOME": "/home/somebody"}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b source) int { return strings.Compare(a.name, b.name) })
	if len(all) != 39 {
		t.Fatalf("there are %d files, wanted 39", len(all))
	}
	return all
}

// table is one line a file.
func table(title string, results []result, accepted map[string]int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-32s %8s %8s %8s %8s  %s\n", title, "SERVICES", "OBJECTS", "WARNINGS", "REFUSALS", "ACCEPTED")
	var took time.Duration
	rendered := 0
	for _, r := range results {
		services, verdict := 0, "-"
		if r.project != nil {
			services = len(r.project.Project.Services)
		}
		if r.refused == nil {
			rendered++
			verdict = fmt.Sprintf("%d of %d", accepted[r.name], len(r.objects))
		}
		took += r.took
		fmt.Fprintf(&b, "%-32s %8d %8d %8d %8d  %s\n", r.name, services, len(r.objects), len(r.warnings()), len(r.problems()), verdict)
	}
	fmt.Fprintf(&b, "%d files: %d rendered, %d refused; converted one after another in %s\n",
		len(results), rendered, len(results)-rendered, took.Round(time.Millisecond))
	return b.String()
}

// report prints the table whatever flags go test has, but with -v only does go test show it for a test that passed.
func report(t *testing.T, text string) {
	t.Helper()
	if _, err := os.Stdout.WriteString("\n" + text + "\n"); err != nil {
		t.Fatal(err)
	}
}

// secretText is a Secret's data, whichever of its two fields has it.
func secretText(s *corev1.Secret) map[string]string {
	out := map[string]string{}
	for k, v := range s.Data {
		out[k] = string(v)
	}
	for k, v := range s.StringData {
		out[k] = v
	}
	return out
}
