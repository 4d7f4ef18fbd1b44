#!/usr/bin/env bash
# Prints the linker flags of perch, and of the plain kubectl and helm: each part reports the version of the module it
# was built from. Kubernetes would call itself v0.0.0 otherwise, and its components check each other's version.
set -euo pipefail

go=${GO:-go}

version() { "$go" list -m -f '{{.Version}}' "$1"; }

perch_version() {
	git describe --tags --match 'v*' --dirty 2>/dev/null && return
	local commit dirty=
	commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || { echo v0.0.0-dev; return; }
	git diff --quiet HEAD -- 2>/dev/null || dirty=.dirty
	echo "v0.0.0-dev+$commit$dirty"
}

kubernetes=$(version k8s.io/kubernetes)
date=$("$go" list -m -f '{{with .Time}}{{.Format "2006-01-02T15:04:05Z"}}{{end}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${kubernetes#v}"

flags=(-s -w
	-X "main.version=$(perch_version)"
	-X "helm.sh/helm/v4/internal/version.version=$(version helm.sh/helm/v4)"
	-X "github.com/containerd/containerd/v2/version.Version=$(version github.com/containerd/containerd/v2)"
	-X "github.com/moby/buildkit/version.Version=$(version github.com/moby/buildkit)"
)
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=(
		-X "$package.gitVersion=$kubernetes"
		-X "$package.gitMajor=$major"
		-X "$package.gitMinor=$minor"
		-X "$package.gitCommit="
		-X "$package.gitTreeState=clean"
		-X "$package.buildDate=${date:-1970-01-01T00:00:00Z}"
	)
done
echo "${flags[*]}"
