package chart

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Overlay is one environment of a kustomization.
type Overlay struct {
	Name         string
	Namespace    string            // "": what kubectl is told
	StorageClass string            // "": the cluster's default
	Replicas     map[string]int    // by service
	Images       map[string]string // other names, by name without tag
	Overrides    []string          // Compose files that lie over the others there, which an overlay cannot tell
}

// Order for those that apply a whole folder: Argo CD goes by waves, and waits for each; kubectl goes by none, and Flux
// replaces a Job that cannot be changed.
const (
	waveAnnotation   = "argocd.argoproj.io/sync-wave"
	argoHook         = "argocd.argoproj.io/hook"
	argoPolicy       = "argocd.argoproj.io/hook-delete-policy"
	fluxForce        = "kustomize.toolkit.fluxcd.io/force"
	migrationRetries = 6 // nobody waits for a database before the Job starts
)

// Kustomize lays out a kustomization: base/ with the objects as they are, a file each, and overlays/NAME for each
// environment. ConfigMaps and Secrets are made by kustomize's generators, which put a hash of the content into their
// names as Perch does.
func Kustomize(p Project, overlays []Overlay) ([]File, error) {
	x := &exporter{project: p, name: chartName(p.Name), values: &entry{}, taken: map[string]bool{}}
	if err := x.read(); err != nil {
		return nil, fmt.Errorf("kustomization %s: %w", x.name, err)
	}
	k := &kustomization{exporter: x, images: map[string]tree{}}
	for _, step := range []func() error{k.objects, k.generators, k.base, k.readme} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("kustomization %s: %w", x.name, err)
		}
	}
	for _, o := range overlays {
		if err := k.overlay(o); err != nil {
			return nil, fmt.Errorf("kustomization %s: overlay %s: %w", x.name, o.Name, err)
		}
	}
	sortFiles(x.files)
	return x.files, nil
}

// kustomization is one in the making.
type kustomization struct {
	*exporter
	resources  []any
	configMaps []any
	secrets    []any
	images     map[string]tree
	count      map[string]int // of versions, by name of the image
	missing    []string       // files that the user writes
}

// objects writes every object that is no config.
func (k *kustomization) objects() error {
	waves := k.waves()
	k.count = k.versions()
	for _, t := range k.claims {
		if err := k.object("volumes", t, k.claimWave(t, waves)); err != nil {
			return err
		}
	}
	for _, u := range k.units {
		wave := waves[u.Service]
		for _, t := range u.migrations {
			k.migration(t)
			if err := k.object(u.Service, t, wave-1); err != nil {
				return err
			}
		}
		for _, t := range u.objects {
			if err := k.object(u.Service, t, wave); err != nil {
				return err
			}
		}
	}
	return nil
}

// waves is when each service comes: after what it depends on, with room for its migration before it.
func (k *kustomization) waves() map[string]int {
	waves := map[string]int{}
	for _, u := range k.ordered() {
		waves[u.Service] = 0
		for _, on := range u.DependsOn {
			if wave, ok := waves[on]; ok {
				waves[u.Service] = max(waves[u.Service], wave+2)
			}
		}
	}
	return waves
}

// claimWave is the wave of the first service that mounts a claim. Where a claim is bound when its first pod comes, one of
// an earlier wave would be waited for in vain.
func (k *kustomization) claimWave(claim tree, waves map[string]int) int {
	first, found := 0, false
	for _, u := range k.units {
		for _, t := range slices.Concat(u.migrations, u.objects) {
			for _, v := range list(mapping(podTemplate(t), "spec"), "volumes") {
				if word(v, "persistentVolumeClaim", "claimName") != nameOf(claim) {
					continue
				}
				wave := waves[u.Service]
				if kindOf(t) == "Job" && slices.ContainsFunc(u.migrations, func(m tree) bool { return nameOf(m) == nameOf(t) }) {
					wave--
				}
				if !found || wave < first {
					first, found = wave, true
				}
			}
		}
	}
	return first
}

// migration is a Job that those who apply it in order run before the service.
func (k *kustomization) migration(t tree) {
	a := put(t, "metadata", "annotations")
	a[argoHook], a[argoPolicy], a[fluxForce] = "Sync", "BeforeHookCreation,HookSucceeded", "enabled"
	put(t, "spec")["backoffLimit"] = migrationRetries
}

// object writes one object. Its config has the names that the generators know.
func (k *kustomization) object(service string, t tree, wave int) error {
	tidy(t)
	if wave != 0 {
		put(t, "metadata", "annotations")[waveAnnotation] = strconv.Itoa(wave)
	}
	if template := podTemplate(t); template != nil {
		for _, c := range k.configs {
			rename(template, c)
		}
		for _, c := range containers(template) {
			k.image(c, k.count)
		}
	}
	text, err := plain(t)
	if err != nil {
		return fmt.Errorf("%s %s: %w", kindOf(t), nameOf(t), err)
	}
	name := path(service, t)
	for n := 2; k.taken["base/"+name]; n++ {
		name = fmt.Sprintf("%s-%d.yaml", strings.TrimSuffix(path(service, t), ".yaml"), n)
	}
	k.add("base/"+name, text)
	k.resources = append(k.resources, name)
	return nil
}

// rename has a pod name config, and the keys of it, as the generators do.
func rename(template tree, c *config) {
	references(template, func(kind, _ string, m tree, key string) {
		if c.id != kind+"/"+word(m, key) {
			return
		}
		m[key] = c.name
		for _, item := range list(m, "items") {
			item["key"] = safeKey(word(item, "key"))
		}
	})
}

var digitsPattern = regexp.MustCompile(`^[0-9]+$`)

// safeKey is a key that kustomize cannot take for a number, as it does with 001.
func safeKey(key string) string {
	if digitsPattern.MatchString(key) {
		return "file-" + key
	}
	return key
}

// image lists an image, so that another tag or digest is one line of the kustomization. Where two versions of one image
// are used, which such a line cannot tell apart, the objects have the digest.
func (k *kustomization) image(c tree, versions map[string]int) {
	ref := word(c, "image")
	repository, tag, digest := split(ref)
	digest = cmp.Or(digest, k.project.Digests[ref])
	if versions[repository] > 1 {
		if known := k.project.Digests[ref]; known != "" {
			c["image"] = ref + "@" + known
		}
		return
	}
	entry := tree{"name": repository}
	if tag != "" {
		entry["newTag"] = tag
	}
	if digest != "" {
		entry["digest"] = digest
	}
	k.images[repository] = entry
}

// versions counts the images of each name.
func (k *kustomization) versions() map[string]int {
	seen, count := map[string]bool{}, map[string]int{}
	for _, u := range k.units {
		for _, t := range slices.Concat(u.migrations, u.objects) {
			for _, c := range containers(podTemplate(t)) {
				if ref := word(c, "image"); !seen[ref] {
					seen[ref] = true
					repository, _, _ := split(ref)
					count[repository]++
				}
			}
		}
	}
	return count
}

// generators make config of the files that are written beside it.
func (k *kustomization) generators() error {
	for _, c := range k.configs {
		generator := tree{"name": c.name}
		options := tree{"immutable": true}
		tidy(c.tree)
		for _, field := range []string{"labels", "annotations"} {
			if m := mapping(c.tree, "metadata", field); len(m) > 0 {
				options[field] = m
			}
		}
		generator["options"] = options
		if kindOf(c.tree) == "Secret" {
			k.secret(c, generator)
			k.secrets = append(k.secrets, generator)
			continue
		}
		if c.env {
			var literals []any
			for _, key := range sortedKeys(c.data) {
				literals = append(literals, key+"="+quoted(string(c.data[key])))
			}
			generator["literals"] = literals
		} else {
			generator["files"] = k.contents("config/", c, true)
		}
		k.configMaps = append(k.configMaps, generator)
	}
	return nil
}

// quoted keeps kustomize from taking quotes that are part of a value away: it takes one pair.
func quoted(value string) string {
	if len(value) > 1 && value[0] == value[len(value)-1] && (value[0] == '"' || value[0] == '\'') {
		return `"` + value + `"`
	}
	return value
}

// contents are files with the content of c, as KEY=FILE. Without content, an example says which file is to be written.
func (k *kustomization) contents(folder string, c *config, write bool) []any {
	var all []any
	for _, key := range sortedKeys(c.data) {
		name := strings.TrimPrefix(cmp.Or(c.files[key], "files/"+c.name+"/"+key), "files/")
		file := folder + name
		all = append(all, safeKey(key)+"="+file)
		switch {
		case write || len(c.data[key]) == 0:
			k.files = append(k.files, File{Name: "base/" + file, Data: c.data[key]})
		default:
			k.missing = append(k.missing, "base/"+file)
		}
	}
	return all
}

// secret is made of a file of variables where all of them are of one line, else of a file each. The user writes these
// files, unless the values were asked for; no repository gets them.
func (k *kustomization) secret(c *config, generator tree) {
	generator["type"] = cmp.Or(word(c.tree, "type"), "Opaque")
	oneLine := func(value []byte) bool { return utf8.Valid(value) && !strings.ContainsAny(string(value), "\r\n") }
	if !c.env || slices.ContainsFunc(sortedKeys(c.data), func(key string) bool { return !oneLine(c.data[key]) }) {
		generator["files"] = k.contents("secrets/", c, k.project.Secrets)
		return
	}
	name := "secrets/" + c.name + ".env"
	generator["envs"] = []any{name}
	var file, example strings.Builder
	for _, key := range sortedKeys(c.data) {
		fmt.Fprintf(&file, "%s=%s\n", key, c.data[key])
		fmt.Fprintf(&example, "%s=\n", key)
	}
	if k.project.Secrets {
		k.add("base/"+name, file.String())
		return
	}
	k.missing = append(k.missing, "base/"+name)
	k.add("base/"+name+".example", example.String())
}

// base is the kustomization of all objects.
func (k *kustomization) base() error {
	t := tree{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": k.resources}
	for field, all := range map[string][]any{"configMapGenerator": k.configMaps, "secretGenerator": k.secrets, "images": k.imageList()} {
		if len(all) > 0 {
			t[field] = all
		}
	}
	text, err := plain(t)
	if err != nil {
		return err
	}
	k.add("base/kustomization.yaml", text)
	if len(k.secrets) > 0 {
		k.add("base/secrets/.gitignore", "# What is secret is for no repository.\n*\n!.gitignore\n!*.example\n")
	}
	return nil
}

func (k *kustomization) imageList() []any {
	var all []any
	for _, name := range sortedKeys(k.images) {
		all = append(all, k.images[name])
	}
	return all
}

// overlay is one environment over the base.
func (k *kustomization) overlay(o Overlay) error {
	t := tree{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": []any{"../../base"}}
	if o.Namespace != "" {
		t["namespace"] = o.Namespace
	}
	var replicas []any
	for _, service := range sortedKeys(o.Replicas) {
		for _, u := range k.units {
			for _, w := range u.objects {
				if u.Service == service && (kindOf(w) == "Deployment" || kindOf(w) == "StatefulSet") {
					replicas = append(replicas, tree{"name": nameOf(w), "count": o.Replicas[service]})
				}
			}
		}
	}
	if len(replicas) > 0 {
		t["replicas"] = replicas
	}
	var images []any
	for _, name := range sortedKeys(o.Images) {
		images = append(images, tree{"name": name, "newName": o.Images[name]})
	}
	if len(images) > 0 {
		t["images"] = images
	}
	if o.StorageClass != "" && len(k.claims) > 0 {
		t["patches"] = []any{tree{
			"target": tree{"kind": "PersistentVolumeClaim"},
			"patch":  "- op: add\n  path: /spec/storageClassName\n  value: " + o.StorageClass + "\n",
		}}
	}
	text, err := plain(t)
	if err != nil {
		return err
	}
	if len(o.Overrides) > 0 {
		text = fmt.Sprintf("# Not in here is what %s say of this environment. perch config --target %s --format kustomize has it.\n",
			strings.Join(o.Overrides, ", "), o.Name) + text
	}
	if !filepath.IsLocal(o.Name) {
		return fmt.Errorf("%q is no name for a folder", o.Name)
	}
	k.add("overlays/"+o.Name+"/kustomization.yaml", text)
	return nil
}

// readme says how to apply it.
func (k *kustomization) readme() error {
	f := k.facts()
	f.Secrets = nil
	if !k.project.Secrets {
		f.Secrets = k.missing
	}
	f.Migrations = slices.ContainsFunc(k.units, func(u *unit) bool { return len(u.migrations) > 0 })
	return k.fromText("kustomize.md", "README.md", f)
}
