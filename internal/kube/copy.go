package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/perch-k8s/perch/internal/fault"
)

// CopyOptions say what is changed in the files of a running container.
type CopyOptions struct {
	Namespace string // "" is the client's
	Pod       string
	Container string
	Remove    []string  // absolute paths that are removed first, with all that is in them
	Archive   io.Reader // a tar of what is put in place, from the root on; nil: nothing
}

// copyScript reads paths to remove, one a line up to an empty one, and then an archive. read takes its input byte by byte
// (POSIX asks for that), so that what follows is left for tar. Paths with line breaks are arguments, since lines cannot hold
// them. As root, files become root's as with docker cp (-o); else they become those of the container's user. The container's
// working folder is emptied and not removed, since nothing could be executed in the container after that.
const copyScript = `archive=$1; shift
gone() {
	case $PWD in
	"$1") rm -rf -- ..?* .[!.]* * ;;
	"$1"/*) rm -rf -- "$1" && mkdir -p -- "$PWD" && cd -- "$PWD" ;;
	*) rm -rf -- "$1" ;;
	esac
}
for path; do gone "$path" || exit 1; done
while IFS= read -r path && [ -n "$path" ]; do gone "$path" || exit 1; done
[ "$archive" = no ] || tar -xopf - -C / || exit
cat >/dev/null`

// Copy removes and writes files in a container, by one execution of sh with rm and tar, which the container must have. It
// acts as the container's user. What kept it from doing so is in the error, with a hint.
func (c *Client) Copy(ctx context.Context, o CopyOptions) error {
	command := []string{"sh", "-c", copyScript, "perch", "no"}
	var lines strings.Builder
	for _, path := range o.Remove {
		if strings.Contains(path, "\n") {
			command = append(command, path)
			continue
		}
		lines.WriteString(path + "\n")
	}
	lines.WriteString("\n")
	var in io.Reader = strings.NewReader(lines.String())
	if o.Archive != nil {
		command[4] = "yes"
		in = io.MultiReader(in, o.Archive)
	}
	said := &bytes.Buffer{}
	code, err := c.Exec(ctx, ExecOptions{
		Namespace: o.Namespace, Pod: o.Pod, Container: o.Container, Command: command, Stdin: in, Stderr: said,
	})
	switch {
	case code == 0 && err == nil:
		return nil
	case code == notFound && err != nil:
		return fault.New(fault.Other, copyHint, "pod %s: there is no shell in the container to copy files with", o.Pod)
	case err != nil:
		return err
	}
	return copyFault(o.Pod, code, said.String())
}

const copyHint = "let the rule have action sync+restart, which puts files into a layer of the image, or rebuild"

// copyFault explains what sh, rm and tar said.
func copyFault(pod string, code int, said string) error {
	said = strings.TrimSpace(said)
	first, _, _ := strings.Cut(said, "\n")
	switch {
	case code == notFound:
		return fault.New(fault.Other, copyHint, "pod %s: there is no tar in the container to copy files with", pod)
	case strings.Contains(said, "Read-only file system"):
		return fault.New(fault.Other, copyHint, "pod %s: the container's files are read-only: %s", pod, first)
	case strings.Contains(said, "Permission denied"), strings.Contains(said, "Operation not permitted"), strings.Contains(said, "Cannot open"), strings.Contains(said, "can't open"):
		return fault.New(fault.Other, "let the image give the target to its user, as COPY --chown does; or "+copyHint,
			"pod %s: the container's user may not write there: %s", pod, first)
	}
	return fault.New(fault.Other, "", "pod %s: copying files ended with exit code %d: %s", pod, code, first)
}

// FollowPods gives the pods of a namespace ("" is the client's) that match a label selector to changed, sorted by name, at
// once and after each change, until ctx is done, which is no error. The pods must not be changed.
func (c *Client) FollowPods(ctx context.Context, namespace, selector string, changed func(pods []*corev1.Pod)) error {
	namespace = orElse(namespace, c.Namespace)
	var m *mirror[corev1.Pod]
	m = newMirror(podSource(c.Interface.CoreV1().Pods(namespace), selector), func() {
		pods, _ := m.snapshot()
		changed(pods)
	})
	if err := m.run(ctx); err != nil {
		return c.Explain(fmt.Errorf("pods in namespace %s: %w", namespace, err))
	}
	return nil
}
