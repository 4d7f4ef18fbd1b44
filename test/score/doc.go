// Package score holds what kube-score, a linter for Kubernetes objects by others, says of what a Compose file becomes:
// where the file gives enough, nothing. It is built from tools/go.mod; there is no other code here.
package score
