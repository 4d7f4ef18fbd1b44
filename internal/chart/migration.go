package chart

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Hooks. Helm runs those of an event by weight, one after another.
const (
	hookAnnotation   = "helm.sh/hook"
	weightAnnotation = "helm.sh/hook-weight"
	policyAnnotation = "helm.sh/hook-delete-policy"

	configWeight = -5
	// A hook is none of what helm uninstall removes: it goes when it has done its work, or when the next one comes.
	hookPolicy = "before-hook-creation,hook-succeeded"
	// failedJob is for how many seconds a migration that failed is there to be looked at.
	failedJob = 24 * 60 * 60
)

// hookName is the name of the copy of a ConfigMap or Secret that migrations read.
func hookName(c *config) string { return c.name + "-hook" }

// asHook marks an object as part of the migrations.
func asHook(t tree, weight int) {
	a := put(t, "metadata", "annotations")
	a[hookAnnotation] = raw("{{ .Values.migrations.hook }}")
	a[weightAnnotation] = strconv.Itoa(weight)
	a[policyAnnotation] = hookPolicy
}

// migrations are Jobs that run once at an install or upgrade. An upgrade waits for them before it changes anything, and
// fails with them. At an install, what they migrate may be part of the chart: they begin when it is there, and are tried
// again while it starts.
func (x *exporter) migrations() error {
	weight, read, before := 0, map[*config]bool{}, true
	for _, u := range x.ordered() {
		for _, t := range u.migrations {
			before = before && len(u.DependsOn) == 0 && standsAlone(t)
			x.values.set("migrations", nil, "Jobs that prepare the data for a new version: before an upgrade, and at an install.").set("enabled", true, "")
			tidy(t)
			x.labels(t)
			for _, c := range x.used(podTemplate(t), true) {
				read[c] = true
			}
			x.pods(u, podTemplate(t), true)
			asHook(t, weight)
			weight++
			spec := mapping(t, "spec")
			spec["backoffLimit"] = raw("{{ ternary 6 0 .Release.IsInstall }}")
			spec["ttlSecondsAfterFinished"] = json.Number(strconv.Itoa(failedJob))
			put(t, "metadata")["name"] = unhashed(nameOf(t))
			x.instances(t)
			out, err := text(t)
			if err != nil {
				return fmt.Errorf("%s %s: %w", kindOf(t), nameOf(t), err)
			}
			x.add("templates/"+path(u.Service, t), "{{- if .Values.migrations.enabled }}\n"+out+"{{- end }}\n")
		}
	}
	if weight == 0 {
		return nil
	}
	x.hook(before)
	for _, c := range x.configs {
		if !read[c] {
			continue
		}
		out, err := x.configText(c, true)
		if err != nil {
			return err
		}
		x.add("templates/hooks/"+hookName(c)+".yaml", "{{- if .Values.migrations.enabled }}\n"+out+"{{- end }}\n")
	}
	return nil
}

// hook is the value that says when migrations run.
func (x *exporter) hook(before bool) {
	hook, comment := "post-install,pre-upgrade", "What they migrate is in this chart, so an install begins with it. Where it stands elsewhere: pre-install,pre-upgrade."
	if before {
		hook, comment = "pre-install,pre-upgrade", "Nothing of this chart is needed for them. Else it would be post-install,pre-upgrade."
	}
	x.values.field("migrations").set("hook", hook, comment)
}

// standsAlone tells whether a Job needs nothing that the chart itself has but its config.
func standsAlone(t tree) bool {
	spec := mapping(podTemplate(t), "spec")
	for _, v := range list(spec, "volumes") {
		if mapping(v, "persistentVolumeClaim") != nil {
			return false
		}
	}
	account := word(spec, "serviceAccountName")
	return account == "" || account == "default"
}

// ordered are the units, each after what it depends on.
func (x *exporter) ordered() []*unit {
	var all []*unit
	seen := map[string]bool{}
	var visit func(u *unit)
	visit = func(u *unit) {
		if seen[u.Service] {
			return
		}
		seen[u.Service] = true
		for _, on := range u.DependsOn {
			for _, other := range x.units {
				if other.Service == on {
					visit(other)
				}
			}
		}
		all = append(all, u)
	}
	for _, u := range x.units {
		visit(u)
	}
	return all
}
