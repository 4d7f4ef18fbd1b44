package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Used is what pods have, or would have when the objects that it was told of are there again.
type Used struct {
	images map[string]bool
	claims map[string]bool // NAMESPACE/NAME
	sets   map[string]bool // NAMESPACE/TEMPLATE-STATEFULSET-, behind which a number follows
}

// Add reads an object of any kind, as JSON has it: whatever in it looks like a pod counts.
func (u *Used) Add(namespace string, object map[string]any) {
	if u.images == nil {
		u.images, u.claims, u.sets = map[string]bool{}, map[string]bool{}, map[string]bool{}
	}
	if kind, _ := object["kind"].(string); kind == "StatefulSet" {
		u.addTemplates(namespace, object)
	}
	u.walk(namespace, object)
}

func (u *Used) walk(namespace string, o any) {
	switch o := o.(type) {
	case []any:
		for _, one := range o {
			u.walk(namespace, one)
		}
	case map[string]any:
		for key, value := range o {
			switch key {
			case "containers", "initContainers", "ephemeralContainers":
				list, _ := value.([]any)
				for _, c := range list {
					if image, _ := c.(map[string]any)["image"].(string); image != "" {
						u.images[image] = true
					}
				}
			case "persistentVolumeClaim":
				claim, _ := value.(map[string]any)
				if name, _ := claim["claimName"].(string); name != "" {
					u.claims[namespace+"/"+name] = true
				}
			default:
				u.walk(namespace, value)
			}
		}
	}
}

func (u *Used) addTemplates(namespace string, set map[string]any) {
	name := func(o any) string {
		object, _ := o.(map[string]any)
		meta, _ := object["metadata"].(map[string]any)
		text, _ := meta["name"].(string)
		return text
	}
	spec, _ := set["spec"].(map[string]any)
	list, _ := spec["volumeClaimTemplates"].([]any)
	for _, template := range list {
		u.sets[namespace+"/"+name(template)+"-"+name(set)+"-"] = true
	}
}

// Images are the names of images as pods have them, sorted.
func (u *Used) Images() []string { return slices.Sorted(maps.Keys(u.images)) }

// Claim tells whether a pod has the claim, or would have.
func (u *Used) Claim(namespace, name string) bool {
	key := namespace + "/" + name
	head := strings.TrimRight(key, "0123456789")
	return u.claims[key] || head != key && u.sets[head]
}

// AddLive adds what the cluster's objects name, of all namespaces: pods, and what would make some.
func (c *Client) AddLive(ctx context.Context, u *Used) error {
	kinds := []schema.GroupVersionResource{
		{Version: "v1", Resource: "pods"},
		{Version: "v1", Resource: "replicationcontrollers"},
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "apps", Version: "v1", Resource: "replicasets"},
		{Group: "apps", Version: "v1", Resource: "statefulsets"},
		{Group: "apps", Version: "v1", Resource: "daemonsets"},
		{Group: "batch", Version: "v1", Resource: "jobs"},
		{Group: "batch", Version: "v1", Resource: "cronjobs"},
	}
	objects := make([][]map[string]any, len(kinds))
	g, ctx := errgroup.WithContext(ctx)
	for i, kind := range kinds {
		g.Go(func() error {
			list, err := c.Dynamic.Resource(kind).List(ctx, metav1.ListOptions{})
			if err != nil {
				return fmt.Errorf("%s: %w", kind.Resource, err)
			}
			for _, o := range list.Items {
				objects[i] = append(objects[i], o.Object)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return c.Explain(err)
	}
	for _, o := range slices.Concat(objects...) {
		meta, _ := o["metadata"].(map[string]any)
		namespace, _ := meta["namespace"].(string)
		u.Add(namespace, o)
	}
	return nil
}

// Volume is a claim and the volume that it has.
type Volume struct {
	Namespace string
	Claim     string
	Project   string // "" when it is not Perch's
	Name      string // of the PersistentVolume; "" when it has none
	Owned     bool   // it goes with another object
}

// Volumes are the claims of all namespaces, sorted by namespace and name.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	list, err := c.Interface.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, c.Explain(fmt.Errorf("volumes: %w", err))
	}
	all := make([]Volume, 0, len(list.Items))
	for _, claim := range list.Items {
		all = append(all, Volume{
			Namespace: claim.Namespace, Claim: claim.Name, Project: claim.Labels[ProjectLabel], Name: claim.Spec.VolumeName,
			Owned: len(claim.OwnerReferences) > 0,
		})
	}
	return all, nil
}

// RemoveVolume deletes a claim and waits until its volume is gone too, with the data.
func (c *Client) RemoveVolume(ctx context.Context, v Volume) error {
	meta := metav1.ObjectMeta{Name: v.Claim, Namespace: v.Namespace}
	if err := c.DeleteAndWait(ctx, &corev1.PersistentVolumeClaim{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}, ObjectMeta: meta}); err != nil {
		return c.Explain(err)
	}
	if v.Name == "" {
		return nil
	}
	s := sourceOf(c.Interface.CoreV1().PersistentVolumes(), func(l *corev1.PersistentVolumeList) []corev1.PersistentVolume { return l.Items },
		func(o *corev1.PersistentVolume) metav1.Object { return o })
	s.fields = named(v.Name)
	return c.Explain(waitUntil(ctx, s, func(volumes []*corev1.PersistentVolume) bool { return len(volumes) == 0 }))
}
