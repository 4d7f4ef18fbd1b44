package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/perch-k8s/perch/internal/compose"
)

// lifecycle gives a container what happens after it started and before it is stopped: post_start, pre_stop, the moment in
// which it still serves, and a stop signal that is not the image's own. It returns the config objects that this needs.
func (w workload) lifecycle(c *corev1.Container, r runs, shared, drains bool) []runtime.Object {
	var hidden hiddenEnv
	for _, h := range slices.Concat(w.service.PostStart, w.service.PreStop) {
		for _, name := range sortedKeys(h.Environment) {
			if !shellName(name) {
				w.note(r, "pre_stop", "variable %q of a hook is left out: the shell has no such names", name)
			}
		}
	}
	life := &corev1.Lifecycle{}
	if command := hookCommand(w.service.PostStart, "post_start", r, &hidden, ""); command != nil {
		life.PostStart = &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: escapeAll(command)}}
	}
	after := ""
	if drains && r.hasShell() {
		after = fmt.Sprintf("sleep %d", drainSeconds)
	}
	stop := ""
	if signal := w.stopSignal(r); signal != "" && w.target.Embedded && strings.Trim(signal, "0123456789") != "" {
		life.StopSignal = new(corev1.Signal("SIG" + signal))
	} else if signal != "" {
		stop = w.stopCommand(r, signal, shared)
	}
	if stop != "" {
		after = strings.TrimPrefix(after+"; "+stop, "; ")
	}
	command := hookCommand(w.service.PreStop, "pre_stop", r, &hidden, after)
	switch {
	case command != nil:
		life.PreStop = &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: escapeAll(command)}}
		if drains && !r.hasShell() {
			w.note(r, "pre_stop", "the container does not serve on while others still send to it, as the image has no /bin/sh to wait with")
		}
	case stop != "":
		life.PreStop = &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: escapeAll([]string{"/bin/sh", "-c", after})}}
	case drains:
		life.PreStop = &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: drainSeconds}}
	}
	if life.PostStart != nil || life.PreStop != nil || life.StopSignal != nil {
		c.Lifecycle = life
	}
	return w.hide(c, r, hidden)
}

// hasShell tells whether a shell can be counted on: the image has one, or nobody could look.
func (r runs) hasShell() bool { return r.image.Shell || r.image.Config == nil }

// stopSignal is stop_signal when it is another than the image's own, which the runtime sends by itself.
func (w workload) stopSignal(r runs) string {
	signal := signalName(r.spec.StopSignal)
	if signal == imageSignal(r.image) {
		return ""
	}
	return signal
}

func imageSignal(i Image) string {
	if i.Config == nil || i.Config.StopSignal == "" {
		return "TERM"
	}
	return signalName(i.Config.StopSignal)
}

// stopCommand sends a signal to the container's first process and waits until it has ended: for clusters whose Kubernetes
// does not know lifecycle.stopSignal, which 1.37 has off by default.
func (w workload) stopCommand(r runs, signal string, shared bool) string {
	if !r.image.Shell || shared {
		w.note(r, "stop_signal", "Kubernetes sends SIG%s: for another signal the image needs /bin/sh, and the container its own first process",
			imageSignal(r.image))
		return ""
	}
	return fmt.Sprintf("kill -%s 1; while kill -0 1 2>/dev/null; do sleep 1; done", signal)
}

// signalName is a signal as kill takes it: QUIT for SIGQUIT, a number as it is.
func signalName(text string) string {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if name == "15" {
		return "TERM"
	}
	if strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-") != "" {
		return ""
	}
	return name
}

// hiddenEnv are variables of hooks that no object but a Secret may show, by the name that the container has them under.
type hiddenEnv map[string]string

// hookCommand runs hooks one after the other, and then something more. nil when there is no hook. A single command that
// asks for nothing else needs no shell.
func hookCommand(hooks []types.ServiceHook, kind string, r runs, hidden *hiddenEnv, after string) []string {
	if len(hooks) == 0 {
		return nil
	}
	if h := hooks[0]; len(hooks) == 1 && after == "" && h.WorkingDir == "" && len(h.Environment) == 0 {
		return h.Command
	}
	var lines []string
	for i, h := range hooks {
		line := ""
		for _, name := range sortedKeys(h.Environment) {
			value := h.Environment[name]
			switch {
			case value == nil || !shellName(name):
			case r.extension.Sensitive(name, *value):
				alias := strings.ToUpper(fmt.Sprintf("PERCH_%s_%d_", kind, i)) + name
				if *hidden == nil {
					*hidden = hiddenEnv{}
				}
				(*hidden)[alias] = *value
				line += fmt.Sprintf("%s=\"$%s\" ", name, alias)
			default:
				line += name + "=" + quote(*value) + " "
			}
		}
		for n, word := range h.Command {
			if n > 0 {
				line += " "
			}
			line += quote(word)
		}
		if h.WorkingDir != "" {
			line = "cd " + quote(h.WorkingDir) + " && " + line
		}
		lines = append(lines, "("+line+")")
	}
	script := strings.Join(lines, " && ")
	if after != "" {
		script += "; " + after
	}
	return []string{"/bin/sh", "-c", script}
}

// shellName tells whether a shell can have a variable of that name.
func shellName(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" && name != "" && (name[0] < '0' || name[0] > '9')
}

// quote makes one word of the shell.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// hide gives a container the variables that its hooks take from a Secret.
func (w workload) hide(c *corev1.Container, r runs, hidden hiddenEnv) []runtime.Object {
	if len(hidden) == 0 {
		return nil
	}
	data := map[string][]byte{}
	for name, value := range hidden {
		data[name] = []byte(value)
	}
	s := w.secret(compose.Name(r.of)+"-hook-env", r.of, data)
	c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{
		SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.Name}},
	})
	return []runtime.Object{s}
}
