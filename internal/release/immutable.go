package release

import (
	"reflect"
	"strings"
)

// fixed are the fields that the API server does not let an update change, by kind, among those that our charts set.
// A StatefulSet may change its template, replicas and a few more (apps/v1 validation); a Service that has an address
// keeps it, and one without (None) gets none.
func fixed() map[string][]string {
	return map[string][]string{
		"Service":     {"spec.clusterIP"},
		"StatefulSet": {"spec.serviceName", "spec.podManagementPolicy", "spec.selector", "spec.volumeClaimTemplates"},
	}
}

// immutable is the objects of the installed release that must be deleted before the upgrade, because they change in a
// field that is fixed.
func immutable(u *Unit, in Installed) []Ref {
	before := documents(in.Manifest)
	var refs []Ref
	for _, object := range u.Objects {
		ref, now, err := tree(object)
		if err != nil || before[ref] == nil {
			continue
		}
		for _, path := range fixed()[ref.Kind] {
			if was, is := field(before[ref], path), field(now, path); !reflect.DeepEqual(was, is) && !(empty(was) && empty(is)) {
				refs = append(refs, ref)
				break
			}
		}
	}
	return refs
}

// field is the value at a path of names, nil when there is none.
func field(tree map[string]any, path string) any {
	var at any = tree
	for name := range strings.SplitSeq(path, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[name]
	}
	return at
}
