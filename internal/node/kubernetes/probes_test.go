package kubernetes

import (
	"reflect"
	"testing"
	"time"
	"unsafe"

	pkgkubelet "k8s.io/kubernetes/pkg/kubelet"
	"k8s.io/kubernetes/pkg/kubelet/prober"
)

// TestProbesAtOnce wants a probe manager that takes itself for old by the stopwatch, which is what it waits by, and for new
// by the calendar, by which it tells containers of before its start.
func TestProbesAtOnce(t *testing.T) {
	t.Parallel()
	if _, ok := reflect.TypeFor[pkgkubelet.Kubelet]().FieldByName("probeManager"); !ok {
		t.Error("the kubelet has no probe manager where it is looked for")
	}
	began := time.Now()
	manager := reflect.ValueOf(prober.NewManager(nil, nil, nil, nil, nil, nil))
	if err := longRunning(manager); err != nil {
		t.Fatal(err)
	}
	start := *(*time.Time)(unsafe.Pointer(manager.Elem().FieldByName("start").UnsafeAddr()))
	if since := time.Since(start); since < time.Hour {
		t.Errorf("it has run for %s: probes would wait", since)
	}
	container := began.Add(-time.Minute).Round(0) // as the runtime tells it, without a stopwatch
	if !container.Before(start.Add(-10 * time.Second)) {
		t.Errorf("a container of before its start is taken for a new one: %s, %s", container, start)
	}
	if container = began.Round(0); container.Before(start.Add(-10 * time.Second)) {
		t.Errorf("a new container is taken for one of before its start: %s, %s", container, start)
	}
}

func TestLongRunningRefuses(t *testing.T) {
	t.Parallel()
	for _, strange := range []any{3, &struct{ began time.Time }{}, &struct{ start int }{}} {
		if err := longRunning(reflect.ValueOf(strange)); err == nil {
			t.Errorf("%T is taken for a probe manager", strange)
		}
	}
}
