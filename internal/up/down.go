package up

import (
	"context"

	"github.com/perch-k8s/perch/internal/compose"
	"github.com/perch-k8s/perch/internal/kube"
	"github.com/perch-k8s/perch/internal/progress"
	"github.com/perch-k8s/perch/internal/release"
)

// DownOptions say what is taken down.
type DownOptions struct {
	Options
	Volumes bool // the data too
}

// Down removes what Up installed. Volumes are kept unless they are asked for. A project name given by flag is enough: the
// Compose file may be gone.
func Down(ctx context.Context, o DownOptions, r progress.Reporter) error {
	project, namespace := o.Compose.ProjectName, compose.Name(o.Compose.ProjectName)
	if project == "" || len(o.Compose.Files) > 0 {
		loaded, err := compose.Load(ctx, o.Compose)
		if err != nil {
			return err
		}
		project, namespace = loaded.Name, loaded.Namespace
	}
	if o.Kube.Namespace != "" {
		namespace = o.Kube.Namespace
	}
	if err := o.needRunning(ctx); err != nil {
		return err
	}
	client, err := kube.Load(o.Kube)
	if err != nil {
		return err
	}
	return release.Remove(ctx, client, project, namespace, release.RemoveOptions{Volumes: o.Volumes, Timeout: o.Timeout, LockWait: o.LockWait}, r)
}
