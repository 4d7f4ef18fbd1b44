package kubernetes

import (
	"context"
	"io"
	"path/filepath"

	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/perch-k8s/perch/internal/node/kubernetes/component"
)

// logs is one file for each component, of a bounded size. What a component logs through its context goes into its own
// file; what it logs through klog's process-wide functions goes into kubernetes-common.log.
type logs struct {
	dir    string
	files  []io.Closer
	global klog.Logger
}

func newLogs(dir string) *logs {
	l := &logs{dir: dir}
	l.global = l.logger("kubernetes-common")
	return l
}

// writer is a component's log file: begun anew at 10 MB, the one before is kept.
func (l *logs) writer(name string) io.Writer {
	w := &lumberjack.Logger{Filename: filepath.Join(l.dir, name+".log"), MaxSize: 10, MaxBackups: 1}
	l.files = append(l.files, w)
	return w
}

func (l *logs) logger(name string) klog.Logger {
	return textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(l.writer(name))))
}

// setGlobal makes kubernetes-common.log the log of everything that has no other.
func (l *logs) setGlobal() { klog.SetLoggerWithOptions(l.global, klog.ContextualLogger(true)) }

// wrap gives each step its log.
func (l *logs) wrap(steps []component.Step) []component.Step {
	for i, s := range steps {
		steps[i].Component = logged{s.Component, l.logger(s.Name())}
	}
	return steps
}

func (l *logs) close() {
	for _, f := range l.files {
		_ = f.Close()
	}
}

// logged is a component with a log of its own in its context.
type logged struct {
	component.Component
	log klog.Logger
}

func (l logged) Init(ctx context.Context) error {
	return l.Component.Init(klog.NewContext(ctx, l.log))
}

func (l logged) Run(ctx context.Context) error {
	return l.Component.Run(klog.NewContext(ctx, l.log))
}
