package render_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/render"
)

const oneOffFile = `name: demo
services:
  web:
    image: web
    command: [serve, "$$(date)"]
    user: "1000"
    environment: {MODE: production, API_TOKEN: secret}
    ports: ["8080:80"]
    healthcheck: {test: [CMD, "true"]}
    post_start: [{command: [echo, up]}]
    configs: [settings]
    volumes: [data:/data]
    networks: [front]
    labels: {team: blue}
    deploy: {replicas: 3, resources: {limits: {memory: 64M}}}
  other:
    image: other
    networks: [back]
configs: {settings: {content: "a=b"}}
volumes: {data: {}}
networks: {front: {}, back: {}}
`

func oneOff(t *testing.T, o render.Overrides, image render.Image) render.OneOff {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(oneOffFile), 0o600); err != nil {
		t.Fatal(err)
	}
	project, err := compose.Load(t.Context(), compose.Options{WorkingDir: dir, Embedded: true})
	if err != nil {
		t.Fatal(err)
	}
	if project, err = render.Overridden(project, "web", o); err != nil {
		t.Fatal(err)
	}
	target := render.Target{Namespace: "demo", Embedded: true, LoadBalancer: true}
	one, err := render.MakeOneOff(project, map[string]render.Image{"web": image}, target, "web", "abcde")
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func webImage() render.Image {
	return render.Image{Ref: "web:1", Shell: true, Config: &ocispec.ImageConfig{Entrypoint: []string{"/start"}, Cmd: []string{"default"}}}
}

// TestOneOff sees that a service that is run once has what the service has, and nothing by which it would be taken for it.
func TestOneOff(t *testing.T) {
	t.Parallel()
	one := oneOff(t, render.Overrides{Environment: map[string]string{"EXTRA": "1"}}, webImage())
	template := one.Job.Spec.Template
	c := template.Spec.Containers[0]
	if one.Job.Name != "web-run-abcde" || template.Spec.RestartPolicy != corev1.RestartPolicyNever || *one.Job.Spec.BackoffLimit != 0 {
		t.Errorf("job %s, restart %s", one.Job.Name, template.Spec.RestartPolicy)
	}
	labels := map[string]string{
		"app.kubernetes.io/name": "web-run", "app.kubernetes.io/instance": "demo", "app.kubernetes.io/part-of": "demo",
		"perch.dev/project": "demo", "perch.dev/component": "run", "perch.dev/network.front": "true", "team": "blue",
	}
	if diff := cmp.Diff(labels, template.Labels); diff != "" {
		t.Errorf("labels: -want +got:\n%s", diff)
	}
	if len(c.Ports) > 0 || c.ReadinessProbe != nil || c.LivenessProbe != nil || c.StartupProbe != nil || c.Lifecycle != nil {
		t.Errorf("it has ports, probes or hooks: %v", c)
	}
	if *c.SecurityContext.RunAsUser != 1000 || c.Resources.Limits.Memory().Value() != 64<<20 || !c.Stdin {
		t.Errorf("user, memory or input are not the service's: %v", c)
	}

	// What it reads is its own, by names that it alone has.
	kinds := map[string]string{}
	for _, o := range one.Config {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			kinds["configmap "+o.Name] = keys(o.Data, o.BinaryData)
		case *corev1.Secret:
			kinds["secret "+o.Name] = keys(o.StringData, o.Data)
			if o.Labels["perch.dev/component"] != "run" {
				t.Errorf("secret %s is taken for config: %v", o.Name, o.Labels)
			}
		}
	}
	var env []string
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			env = append(env, kinds["configmap "+from.ConfigMapRef.Name])
		}
		if from.SecretRef != nil {
			env = append(env, kinds["secret "+from.SecretRef.Name])
		}
	}
	if diff := cmp.Diff([]string{"MODE", "API_TOKEN EXTRA"}, env); diff != "" {
		t.Errorf("variables: -want +got:\n%s", diff)
	}
	mounted := ""
	for _, v := range template.Spec.Volumes {
		switch {
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				mounted += " " + kinds["configmap "+source.ConfigMap.Name]
			}
		case v.PersistentVolumeClaim != nil:
			mounted += " claim " + v.PersistentVolumeClaim.ClaimName
		}
	}
	if mounted != " settings claim data" {
		t.Errorf("mounted are%s, of %v", mounted, kinds)
	}
}

func keys[A, B any](one map[string]A, other map[string]B) string {
	all := map[string]bool{}
	for key := range one {
		all[key] = true
	}
	for key := range other {
		all[key] = true
	}
	var names []string
	for _, name := range []string{"MODE", "API_TOKEN", "EXTRA"} {
		if all[name] {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(all) > 0 {
		return "settings"
	}
	return strings.Join(names, " ")
}

// TestOneOffCommand says what runs: the file's word, or that of the command line; and the image's, where its shell waits.
func TestOneOffCommand(t *testing.T) {
	t.Parallel()
	shellless := webImage()
	shellless.Shell = false
	for _, c := range []struct {
		name  string
		o     render.Overrides
		image render.Image
		want  []string
		shell bool
	}{
		{"the service's own", render.Overrides{}, webImage(), []string{"/start", "serve", "$$(date)"}, true},
		{"another command", render.Overrides{Command: []string{"ls", "$(x)", "a b"}}, webImage(), []string{"/start", "ls", "$$(x)", "a b"}, true},
		{"another entrypoint drops the command", render.Overrides{Entrypoint: new("sh -c 'a b'")}, webImage(), []string{"sh", "-c", "a b"}, true},
		{"both", render.Overrides{Entrypoint: new("sh"), Command: []string{"-x"}}, webImage(), []string{"sh", "-x"}, true},
		{"nothing is known of the image", render.Overrides{Command: []string{"ls"}}, render.Image{Ref: "web:1", Shell: true}, []string{"ls"}, false},
		{"an image without a shell", render.Overrides{Command: []string{"ls"}}, shellless, []string{"ls"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			one := oneOff(t, c.o, c.image)
			container := one.Job.Spec.Template.Spec.Containers[0]
			if diff := cmp.Diff(c.want, append(container.Command, container.Args...)); diff != "" || one.Shell != c.shell {
				t.Errorf("shell %t, -want +got:\n%s", one.Shell, diff)
			}
		})
	}
}
