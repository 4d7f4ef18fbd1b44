package roles

import (
	"io"
	"log"

	"github.com/sirupsen/logrus"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"
)

// boundLog makes libraries log into a file that is begun anew at 10 MB, with the one before kept: the supervisor may run
// for months while something fails every second. The file is the process's standard error too, on which only the end of
// the process is told.
func boundLog(file string) io.Closer {
	w := &lumberjack.Logger{Filename: file, MaxSize: 10, MaxBackups: 1}
	klog.LogToStderr(false)
	klog.SetOutput(w)
	logrus.SetOutput(w)
	log.SetOutput(w)
	return w
}
