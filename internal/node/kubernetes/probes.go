package kubernetes

import (
	"errors"
	"fmt"
	"reflect"
	"time"
	"unsafe"

	pkgkubelet "k8s.io/kubernetes/pkg/kubelet"
)

// probesAtOnce keeps the kubelet from waiting, in its first seconds, for a random part of a probe's period before it asks
// for the first time: ten seconds by Kubernetes' default, thirty by Compose's, and a machine with one user has no crowd to
// spread. A pod that starts again with its node would be ready so much later.
//
// There is no setting for it. The kubelet compares the period with the time since it started, and by the same moment it
// tells, by the calendar, which containers are older than itself and stay ready. So what is changed is that moment's
// reading of the stopwatch alone (docs/decisions/0030).
func probesAtOnce(k *pkgkubelet.Kubelet) error {
	manager := reflect.ValueOf(k).Elem().FieldByName("probeManager")
	if !manager.IsValid() {
		return errors.New("the kubelet has no probe manager where it is looked for")
	}
	return longRunning(manager.Elem())
}

// longRunning sets back the stopwatch of a probe manager's start. It says so when a manager is not what it knows.
func longRunning(manager reflect.Value) error {
	if manager.Kind() != reflect.Pointer || manager.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("the probe manager is a %s", manager.Kind())
	}
	start := manager.Elem().FieldByName("start")
	if !start.IsValid() || start.Type() != reflect.TypeFor[time.Time]() {
		return fmt.Errorf("%s keeps no start", manager.Type())
	}
	stopwatch := start.FieldByName("ext")
	if !stopwatch.IsValid() || stopwatch.Kind() != reflect.Int64 {
		return errors.New("time.Time has no stopwatch where it is looked for")
	}
	const long = 24 * time.Hour
	*(*int64)(unsafe.Pointer(stopwatch.UnsafeAddr())) -= int64(long)
	return nil
}
