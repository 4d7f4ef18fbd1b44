// Package suite has nothing of its own: its module is the one that Kubernetes' end-to-end suite, and the programs of the
// images that it runs, are built from. What they need beside Perch's own dependencies does not become ours this way.
package suite

import _ "k8s.io/kubernetes/test/e2e" // the suite itself, which is the tests of that package
