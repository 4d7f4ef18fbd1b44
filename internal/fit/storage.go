package fit

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// The annotations that make a StorageClass the default one; the second is of old.
const (
	defaultStorage    = "storageclass.kubernetes.io/is-default-class"
	defaultStorageOld = "storageclass.beta.kubernetes.io/is-default-class"
)

// addClaims reads the volumes that an object makes.
func (n *Needs) addClaims(o runtime.Object, by string) {
	switch o := o.(type) {
	case *corev1.PersistentVolumeClaim:
		n.claims = append(n.claims, claim{by: by, name: o.Name, class: o.Spec.StorageClassName, size: o.Spec.Resources.Requests, count: 1})
	case *appsv1.StatefulSet:
		for _, t := range o.Spec.VolumeClaimTemplates {
			n.claims = append(n.claims, claim{
				by: by + ", volume " + t.Name, class: t.Spec.StorageClassName, size: t.Spec.Resources.Requests, count: int64(count(o.Spec.Replicas)),
			})
		}
	}
}

// count is a number of replicas as Kubernetes has it when nothing is said.
func count(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// made tells whether a claim is there already; then nobody asks its class any more.
func (c claim) made(s Seen) bool { return c.name != "" && s.claims[c.name] }

// judgeStorage looks for the storage class of each claim that is to be made.
func judgeStorage(n Needs, s Seen) Findings {
	all := Findings{}
	for _, c := range n.claims {
		if f, ok := s.storageFor(c); ok && !c.made(s) {
			all = append(all, f)
		}
	}
	return all
}

func (s Seen) storageFor(c claim) (Finding, bool) {
	if c.class != nil && *c.class == "" {
		return Finding{}, false // it wants a volume that somebody makes by hand
	}
	if s.storage == nil {
		return Finding{Level: Unknown, What: "storage class " + classOf(c), Why: "this account may not list storage classes; " + c.by + " needs it"}, true
	}
	var names []string
	for _, class := range s.storage {
		names = append(names, class.Name)
	}
	slices.Sort(names)
	there := "there is none"
	hint := "have one made by who runs the cluster"
	if len(names) > 0 {
		there = "there are " + strings.Join(names, ", ")
		hint = "name one of them: storage_class of the target, under x-perch.targets"
	}
	if c.class != nil {
		return Finding{Level: Missing, What: "storage class " + *c.class, Why: fmt.Sprintf("%s asks for it; %s", c.by, there), Hint: hint}, !slices.Contains(names, *c.class)
	}
	if slices.ContainsFunc(s.storage, isDefault) {
		return Finding{}, false
	}
	return Finding{Level: Missing, What: "a default storage class", Why: fmt.Sprintf("%s names none; %s, and none is the default", c.by, there), Hint: hint}, true
}

func classOf(c claim) string {
	if c.class == nil {
		return "(default)"
	}
	return *c.class
}

func isDefault(c storagev1.StorageClass) bool {
	return c.Annotations[defaultStorage] == "true" || c.Annotations[defaultStorageOld] == "true"
}
