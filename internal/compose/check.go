package compose

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
)

// checkProject checks the merged project: what becomes of each attribute, what its parts say about each other, and what
// they need from outside.
func (r *reading) checkProject() {
	r.judge()
	r.services()
	r.binds()
	r.ports()
	r.volumeObjects()
	r.environments()
	r.fileObjects()
	r.names() // looks for users of names in all of the above
	r.extensions()
	r.elsewhere()
	r.readableByAll()
}

func (r *reading) checkSize(size string, path []string) {
	if size == "" {
		return
	}
	if q, err := resource.ParseQuantity(size); err != nil || q.Sign() <= 0 {
		r.problem(r.files.find(path...), fmt.Sprintf("%s%q is not a size", subject(path), size), "as in 5Gi or 500Mi")
	}
}
