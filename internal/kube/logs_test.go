package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWantsPod: services are chosen by their name, charts of others by their release.
func TestWantsPod(t *testing.T) {
	t.Parallel()
	pod := func(name, instance string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{nameLabel: name, InstanceLabel: instance}}}
	}
	web, worker, chart := pod("web", "shop"), pod("worker", "shop"), pod("postgresql", "shop-db")
	for _, c := range []struct {
		options            LogOptions
		web, worker, chart bool
	}{
		{LogOptions{}, true, true, true},
		{LogOptions{Services: []string{"web"}}, true, false, false},
		{LogOptions{Releases: []string{"shop-db"}}, false, false, true},
		{LogOptions{Services: []string{"web"}, Releases: []string{"shop-db"}}, true, false, true},
	} {
		if c.options.wantsPod(web) != c.web || c.options.wantsPod(worker) != c.worker || c.options.wantsPod(chart) != c.chart {
			t.Errorf("%+v: %t %t %t", c.options, c.options.wantsPod(web), c.options.wantsPod(worker), c.options.wantsPod(chart))
		}
	}
	selector, err := LogOptions{Selector: Instances("shop", "shop-db"), Services: []string{"web"}, Releases: []string{"shop-db"}}.selector()
	if err != nil || selector != "app.kubernetes.io/instance in (shop,shop-db)" {
		t.Errorf("selector %q, %v", selector, err)
	}
}
