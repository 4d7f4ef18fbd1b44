package fit

import (
	"fmt"
	"slices"
	"strings"
)

// judgeNames looks for what the project reads and does not make: Secrets of certificates and registries, config of others,
// accounts, priority classes.
func judgeNames(n Needs, s Seen) Findings {
	all := Findings{}
	for _, one := range n.names {
		if s.names[one] != isAbsent {
			continue
		}
		kind := strings.TrimSuffix(one.resource, "s")
		f := Finding{Level: Missing, What: kind + " " + one.name, Why: fmt.Sprintf("%s needs it, and it is not in namespace %s", one.by, n.Namespace)}
		switch one.resource {
		case "secrets":
			f.Hint = fmt.Sprintf("make it: kubectl create secret generic|tls|docker-registry -n %s %s …", n.Namespace, one.name)
		case "persistentvolumeclaims":
			f.Hint = "make it first, or take external: off the volume in the Compose file"
		default:
			f.Hint = fmt.Sprintf("make it: kubectl create %s -n %s %s …", kind, n.Namespace, one.name)
		}
		all = append(all, f)
	}
	if s.priority == nil {
		return all
	}
	for _, one := range n.priority {
		if s.priority[one.name] {
			continue
		}
		var names []string
		for name := range s.priority {
			if !strings.HasPrefix(name, "system-") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		there := "there is none of yours"
		if len(names) > 0 {
			there = "there are " + strings.Join(names, ", ")
		}
		all = append(all, Finding{
			Level: Missing, What: "priority class " + one.name, Why: fmt.Sprintf("%s asks for it; %s", one.by, there),
			Hint: "name one of them, or have it made by who runs the cluster",
		})
	}
	return all
}
