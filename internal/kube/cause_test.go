package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestTroubleWithEvents(t *testing.T) {
	t.Parallel()
	about := func(kind, reason, message string) corev1.Event {
		return corev1.Event{
			InvolvedObject: corev1.ObjectReference{Name: "web-1", FieldPath: "spec.containers{web}"}, Type: kind, Reason: reason, Message: message,
		}
	}
	crash := trouble{cause: CauseCrash, container: "web", text: "container web crashes: it exited with code 137 (restarts: 2)"}
	cases := map[string]struct {
		trouble     trouble
		events      []corev1.Event
		text, event string
	}{
		"nothing more": {crash, nil, crash.text, ""},
		"back-off": {
			crash, []corev1.Event{about("Normal", "Pulled", "x"), about("Warning", "BackOff", "Back-off restarting failed container web in pod web-1_ns(uid)")},
			crash.text, "BackOff: back-off restarting failed container web",
		},
		"the text is the event": {
			trouble{cause: CauseMount, text: `secret "x" not found`}, []corev1.Event{about("Warning", "FailedMount", `secret "x" not found`)},
			`secret "x" not found`, "",
		},
		"killed by the liveness probe": {
			crash, []corev1.Event{
				about("Warning", "Unhealthy", "Liveness probe failed: still dead\n"), about("Normal", "Killing", "Container web failed liveness probe, will be restarted"),
				about("Warning", "BackOff", "Back-off restarting failed container web in pod web-1_ns(uid)"),
			},
			"container web is restarted again and again: liveness probe failed: still dead", "",
		},
		"crashed by itself beside a failing probe": {
			crash, []corev1.Event{about("Warning", "Unhealthy", "Liveness probe failed: connection refused")},
			crash.text, "Unhealthy: liveness probe failed: connection refused",
		},
		"another container was killed": {
			trouble{cause: CauseCrash, container: "side", text: "container side crashes"},
			[]corev1.Event{about("Normal", "Killing", "Container web failed liveness probe, will be restarted")},
			"container side crashes", "",
		},
	}
	for name, c := range cases {
		got := c.trouble.with(c.events)
		if got.text != c.text || got.event != c.event {
			t.Errorf("%s: %q, event %q", name, got.text, got.event)
		}
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	w := &wait{namespace: "shop", hint: "perch logs web"}
	for want, about := range map[string]trouble{
		"create secret generic token -n shop":          {cause: CauseMount, text: `MountVolume.SetUp failed for volume "secrets" : secret "token" not found`},
		"create configmap settings -n shop":            {cause: CauseConfig, text: `container web: configmap "settings" not found`},
		"get persistentvolumeclaims -n shop":           {cause: CauseMount, text: `persistentvolumeclaim "data" not found`},
		"deploy.resources.reservations":                {cause: CauseUnschedulable, text: "no node takes it: 1 Insufficient cpu"},
		"describe pod -n shop web-1":                   {cause: CauseUnschedulable, pod: "web-1", text: "no node takes it: 1 had a taint"},
		"command:":                                     {cause: CauseConfig, text: "container web could not be started: no such file"},
		"limits.memory":                                {cause: CauseMemory},
		`restart: "no"`:                                {cause: CauseEnded, text: "container web ends again and again: it exited with code 0 (restarts: 1)"},
		"perch logs web":                               {cause: CauseCrash, text: "container web crashes: it exited with code 3"},
		"describe resourcequota,limitrange -n shop":    {cause: CauseRefused, text: "its pods are refused: exceeded quota: none"},
		"get namespace shop --show-labels":             {cause: CauseRefused, text: `its pods are refused: violates PodSecurity "restricted:latest"`},
		"perch kubectl events -n shop --types=Warning": {cause: CauseRefused, text: "its pods are refused: admission webhook denied the request"},
	} {
		if got := w.hintFor(about); !strings.Contains(got, want) {
			t.Errorf("%s %q: hint %q, want %q in it", about.cause, about.text, got, want)
		}
	}
	refused := "pod web-1: readiness probe failed: dial tcp 10.42.0.7:8080: connect: connection refused"
	if got := w.noteHint(refused); !strings.Contains(got, "does it listen on port 8080") {
		t.Errorf("hint %q", got)
	}
}
