// Package chart lays Kubernetes objects out as files: as small Helm charts without values for package release (New), and
// as a chart or a kustomization for a person who takes the application away (Export, Kustomize). It is pure but for Write,
// and knows files, not the Helm SDK.
package chart

// Chart is one Helm chart as files. The same objects give the same bytes.
type Chart struct {
	Name    string
	Version string // SemVer; the digest is in its build part
	Digest  string // sha256 of all files but Chart.yaml, in hexadecimal
	Files   []File // sorted by name; Chart.yaml is among them
}

// File is one file of a chart.
type File struct {
	Name string // slash-separated, relative to the chart
	Data []byte
}
