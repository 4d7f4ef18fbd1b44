package chart

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// workload makes a template of what makes pods, with the values that people look for.
func (x *exporter) workload(u *unit, t tree) {
	values := x.values.at(u.id)
	spec := mapping(t, "spec")
	if n, ok := spec["replicas"]; ok {
		values.set("replicas", n, "")
		spec["replicas"] = raw("{{ .Values." + u.id + ".replicas }}")
	}
	if schedule, ok := spec["schedule"].(string); ok {
		key := freeField(values, "schedule")
		values.set(key, schedule, "When it runs, as cron has it.")
		spec["schedule"] = raw("{{ .Values." + u.id + "." + key + " | quote }}")
		values.set("suspend", false, "true: it is not started.")
		spec["suspend"] = wantedScalar(".Values."+u.id+".suspend", "{{ . }}")
	}
	x.pods(u, podTemplate(t), false)
}

// once is a Job. It cannot be changed, so its name says what it is: other values make a new one, as with us.
func (x *exporter) once(u *unit, t tree) (string, error) {
	x.pods(u, podTemplate(t), false)
	x.instances(t)
	template, err := text(podTemplate(t))
	if err != nil {
		return "", err
	}
	define := x.name + "." + u.id + ".pods"
	put(t, "metadata")["name"] = raw(fmt.Sprintf("%s-{{ include %q . | sha256sum | trunc 10 }}", unhashed(nameOf(t)), define))
	mapping(t, "spec")["template"] = block(func(key string, indent int) (string, error) {
		return lines(indent, key+":") + lines(indent+2, fmt.Sprintf("{{- include %q . | nindent %d }}", define, indent+2)), nil
	})
	out, err := text(t)
	return fmt.Sprintf("{{- define %q -}}\n%s{{- end -}}\n", define, template) + out, err
}

// pods makes a template of a pod template: of a unit, or of a migration of it, which goes where the unit's pods go.
func (x *exporter) pods(u *unit, template tree, hook bool) {
	values, at := x.values.at(u.id), ".Values."+u.id
	spec := mapping(template, "spec")
	x.containers(u, template, hook)
	x.podLabels(u, template)
	annotations := put(template, "metadata", "annotations")
	for _, c := range x.used(template, hook) {
		if !hook {
			annotations["checksum/"+c.name] = raw(fmt.Sprintf("{{ include %q . | sha256sum }}", x.dataName(c)))
		}
	}
	values.set("podAnnotations", tree{}, "")
	values.set("podLabels", tree{}, "")
	annotations[merged] = addedWhen(at + ".podAnnotations")
	if len(annotations) == 1 {
		mapping(template, "metadata")["annotations"] = wanted(at + ".podAnnotations")
	}
	x.claimsOf(spec)
	if !hook { // a migration has the service's
		selector, ok := spec["nodeSelector"].(tree)
		if !ok {
			selector = tree{}
		}
		values.set("nodeSelector", selector, "")
		tolerations, ok := spec["tolerations"].([]any)
		if !ok {
			tolerations = []any{}
		}
		values.set("tolerations", tolerations, "")
		comment := ""
		if _, ok := spec["affinity"]; ok {
			comment = "What is set here replaces what the template has."
		}
		values.set("affinity", tree{}, comment)
	}
	spec["nodeSelector"] = wanted(at + ".nodeSelector")
	spec["tolerations"] = wanted(at + ".tolerations")
	if own, ok := spec["affinity"].(tree); ok {
		x.instances(own)
		spec["affinity"] = instead(at+".affinity", own)
	} else {
		spec["affinity"] = wanted(at + ".affinity")
	}
	x.pullSecrets(spec)
}

func (x *exporter) pullSecrets(spec tree) {
	own, ok := spec["imagePullSecrets"].([]any)
	if top := x.values.field("imagePullSecrets"); ok && len(own) > 0 {
		if there, _ := top.value.([]any); len(there) == 0 {
			top.value = own
		}
	}
	spec["imagePullSecrets"] = wanted(".Values.imagePullSecrets")
}

// podLabels are those that Services and workloads select by, and the others that the pods have.
func (x *exporter) podLabels(u *unit, template tree) {
	labels := put(template, "metadata", "labels")
	if name, ok := labels[labelName].(string); ok && labels[labelInstance] == x.project.Namespace {
		delete(labels, labelName)
		delete(labels, labelInstance)
		labels[merged] = block(func(_ string, indent int) (string, error) {
			a, err := added(fmt.Sprintf(`include "%s.selectorLabels" (list . %q)`, x.name, name))("", indent)
			if err != nil {
				return "", err
			}
			b, err := addedWhen(".Values."+u.id+".podLabels")("", indent)
			return a + b, err
		})
	}
}

// containers put images and resources into values. A container with the image of another one of the unit has it by the
// same value.
func (x *exporter) containers(u *unit, template tree, hook bool) {
	spec := mapping(template, "spec")
	for i, c := range list(spec, "containers") {
		group := u.id
		switch {
		case hook:
			group += ".migration"
		case i > 0:
			group = serviceID(nameOfContainer(c))
		}
		x.image(u, c, group)
		if hook {
			continue // its resources are as they are
		}
		resources, ok := c["resources"].(tree)
		if !ok {
			resources = tree{}
		}
		x.values.at(group).set("resources", resources, "")
		c["resources"] = wanted(".Values." + group + ".resources")
	}
	for _, c := range list(spec, "initContainers") {
		x.image(u, c, u.id+"."+identifier(nameOfContainer(c)))
	}
}

func nameOfContainer(c tree) string { return word(c, "name") }

// image has a container name its image by values.
func (x *exporter) image(u *unit, c tree, group string) {
	ref := word(c, "image")
	at, known := u.images[ref]
	if !known {
		at = group + ".image"
		for n := 2; x.values.at(group).has(strings.TrimPrefix(at, group+".")); n++ {
			at = fmt.Sprintf("%s.image%d", group, n)
		}
		u.images[ref] = at
		repository, tag, digest := split(ref)
		if digest == "" {
			digest = x.project.Digests[ref]
		}
		v := x.values.at(at)
		v.set("repository", repository, "")
		v.set("tag", tag, "")
		v.set("digest", digest, "sha256:…, which counts when it is there: what a tag names may change.")
		v.set("pullPolicy", word(c, "imagePullPolicy"), "")
	}
	c["image"] = raw(fmt.Sprintf(`{{ include "%s.image" .Values.%s | quote }}`, x.name, at))
	c["imagePullPolicy"] = wantedScalar(".Values."+at+".pullPolicy", quoteIt)
}

// split is the name, the tag and the digest of an image, without what it lacks.
func split(ref string) (repository, tag, digest string) {
	parsed, err := reference.Parse(ref)
	if err != nil {
		return ref, "", ""
	}
	if named, ok := parsed.(reference.Named); ok {
		repository = named.Name()
	}
	if tagged, ok := parsed.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	if digested, ok := parsed.(reference.Digested); ok {
		digest = digested.Digest().String()
	}
	return repository, tag, digest
}

// used are the ConfigMaps and Secrets that a pod reads, which it then has by their names in the chart.
func (x *exporter) used(template tree, hook bool) []*config {
	seen := map[*config]bool{}
	references(template, func(kind, _ string, m tree, key string) {
		for _, c := range x.configs {
			if c.id != kind+"/"+word(m, key) {
				continue
			}
			seen[c] = true
			name := c.name
			if hook {
				name = hookName(c)
			}
			m[key] = name
			if c.existing != "" {
				m[key] = raw(fmt.Sprintf("{{ %s | default %q | quote }}", c.existing, name))
			}
			break
		}
	})
	var all []*config
	for _, c := range x.configs {
		if seen[c] {
			all = append(all, c)
		}
	}
	return all
}

// claimsOf names the claims of a pod: the chart's own, or one that is there.
func (x *exporter) claimsOf(spec tree) {
	for _, v := range list(spec, "volumes") {
		claim := mapping(v, "persistentVolumeClaim")
		for _, t := range x.claims {
			if claim != nil && claim["claimName"] == nameOf(t) {
				claim["claimName"] = raw(fmt.Sprintf("{{ .Values.persistence.%s.existingClaim | default %q | quote }}", identifier(nameOf(t)), nameOf(t)))
			}
		}
	}
}

// volumes are the templates of claims.
func (x *exporter) volumes() error {
	for _, t := range x.claims {
		name := nameOf(t)
		at := "persistence." + identifier(name)
		tidy(t)
		x.labels(t)
		spec := mapping(t, "spec")
		values := x.values.at(at)
		values.set("size", word(spec, "resources", "requests", "storage"), "")
		values.set("storageClass", word(spec, "storageClassName"), "Empty: the cluster's default.")
		values.set("accessModes", spec["accessModes"], "")
		values.set("existingClaim", "", "Name of a claim that is there, instead of one of the chart's.")
		values.set("keep", false, "true: helm uninstall leaves the claim and its data.")
		put(spec, "resources", "requests")["storage"] = raw("{{ .Values." + at + ".size | quote }}")
		spec["storageClassName"] = wantedScalar(".Values."+at+".storageClass", quoteIt)
		spec["accessModes"] = given(".Values." + at + ".accessModes")
		kept := func(key string, indent int) (string, error) {
			return lines(indent, "{{- if .Values."+at+".keep }}", key+":") + lines(indent+2, "helm.sh/resource-policy: keep") +
				lines(indent, "{{- end }}"), nil
		}
		annotations := mapping(t, "metadata", "annotations")
		if annotations == nil {
			put(t, "metadata")["annotations"] = block(kept)
		} else {
			annotations["helm.sh/resource-policy"] = block(func(_ string, indent int) (string, error) {
				return lines(indent, "{{- if .Values."+at+".keep }}", "helm.sh/resource-policy: keep", "{{- end }}"), nil
			})
		}
		out, err := text(t)
		if err != nil {
			return err
		}
		x.add("templates/"+strings.ToLower(kindOf(t))+"-"+name+".yaml", "{{- if not .Values."+at+".existingClaim }}\n"+out+"{{- end }}\n")
	}
	return nil
}
