package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Usage is what a pod uses and what it was given. Zero requests and limits are none.
type Usage struct {
	Service       string  `json:"service"`
	Pod           string  `json:"pod"`
	CPU           float64 `json:"cpu"` // cores, over the last seconds
	CPURequest    float64 `json:"cpuRequest"`
	CPULimit      float64 `json:"cpuLimit"`
	Memory        int64   `json:"memory"` // working set, bytes: what counts against the limit
	MemoryRequest int64   `json:"memoryRequest"`
	MemoryLimit   int64   `json:"memoryLimit"`
}

// podUsage is what is measured of one pod.
type podUsage struct {
	cpu    float64
	memory int64
}

// Stats measures the running pods of a namespace ("" is the client's) that match a label selector, sorted by service and
// name. The kubelets are asked through the API server; where that is not allowed, the metrics API.
func (c *Client) Stats(ctx context.Context, namespace, selector string) ([]Usage, error) {
	namespace = orElse(namespace, c.Namespace)
	list, err := c.Interface.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, c.Explain(fmt.Errorf("pods in namespace %s: %w", namespace, err))
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
	measured, err := c.askKubelets(ctx, pods)
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		measured, err = c.askMetrics(ctx, namespace)
	}
	if err != nil {
		return nil, c.Explain(err)
	}
	all := make([]Usage, 0, len(pods))
	for i := range pods {
		u := given(&pods[i])
		used := measured[pods[i].Namespace+"/"+pods[i].Name]
		u.CPU, u.Memory = used.cpu, used.memory
		all = append(all, u)
	}
	slices.SortStableFunc(all, func(a, b Usage) int {
		return strings.Compare(a.Service+"\x00"+a.Pod, b.Service+"\x00"+b.Pod)
	})
	return all, nil
}

// given is a pod's requests and limits: those of all its containers, and no limit when one of them has none.
func given(p *corev1.Pod) Usage {
	line := podLine(p)
	u := Usage{Service: line.Service, Pod: line.Name}
	sum := func(name corev1.ResourceName, of func(corev1.Container) corev1.ResourceList, all bool) resource.Quantity {
		var total resource.Quantity
		for _, c := range p.Spec.Containers {
			q, has := of(c)[name]
			if !has && all {
				return resource.Quantity{}
			}
			total.Add(q)
		}
		return total
	}
	requests := func(c corev1.Container) corev1.ResourceList { return c.Resources.Requests }
	limits := func(c corev1.Container) corev1.ResourceList { return c.Resources.Limits }
	cpu, most := sum(corev1.ResourceCPU, requests, false), sum(corev1.ResourceCPU, limits, true)
	u.CPURequest, u.CPULimit = cpu.AsApproximateFloat64(), most.AsApproximateFloat64()
	memory, top := sum(corev1.ResourceMemory, requests, false), sum(corev1.ResourceMemory, limits, true)
	u.MemoryRequest, u.MemoryLimit = memory.Value(), top.Value()
	return u
}

// summary is the part of a kubelet's /stats/summary that we read.
type summary struct {
	Pods []struct {
		PodRef     struct{ Name, Namespace string }
		Containers []struct {
			CPU    struct{ UsageNanoCores float64 }
			Memory struct{ WorkingSetBytes int64 }
		}
	}
}

func (c *Client) askKubelets(ctx context.Context, pods []corev1.Pod) (map[string]podUsage, error) {
	all := map[string]podUsage{}
	var mu sync.Mutex
	asked := map[string]bool{}
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range pods {
		node := p.Spec.NodeName
		if asked[node] {
			continue
		}
		asked[node] = true
		g.Go(func() error {
			data, err := c.Interface.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").
				Suffix("stats", "summary").DoRaw(ctx)
			if err != nil {
				return fmt.Errorf("usage of node %s: %w", node, err)
			}
			var s summary
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("usage of node %s: %w", node, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range s.Pods {
				var u podUsage
				for _, container := range p.Containers {
					u.cpu += container.CPU.UsageNanoCores / 1e9
					u.memory += container.Memory.WorkingSetBytes
				}
				all[p.PodRef.Namespace+"/"+p.PodRef.Name] = u
			}
			return nil
		})
	}
	return all, g.Wait()
}

// metricsList is a PodMetricsList of metrics.k8s.io/v1beta1.
type metricsList struct {
	Items []struct {
		Metadata   metav1.ObjectMeta
		Containers []struct{ Usage corev1.ResourceList }
	}
}

func (c *Client) askMetrics(ctx context.Context, namespace string) (map[string]podUsage, error) {
	data, err := c.Interface.CoreV1().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/namespaces", namespace, "pods").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("usage of pods in namespace %s: neither the nodes nor metrics.k8s.io tell it: %w", namespace, err)
	}
	return readMetrics(data)
}

func readMetrics(data []byte) (map[string]podUsage, error) {
	var list metricsList
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("metrics.k8s.io: %w", err)
	}
	all := map[string]podUsage{}
	for _, item := range list.Items {
		var u podUsage
		for _, container := range item.Containers {
			u.cpu += container.Usage.Cpu().AsApproximateFloat64()
			u.memory += container.Usage.Memory().Value()
		}
		all[item.Metadata.Namespace+"/"+item.Metadata.Name] = u
	}
	return all, nil
}
