#!/usr/bin/env bash
# Builds kubectl and helm as their own projects ship them, from the modules that go.mod pins. The end-to-end tests use
# them to show that programs which know nothing of Perch get along with its node. A registry and an ingress controller, for
# the tests' remote cluster, are built from modules of their own.
set -euo pipefail

cd "$(dirname "$0")/.."
export CGO_ENABLED=0
tools/build.sh .cache/tools/kubectl k8s.io/kubernetes/cmd/kubectl
tools/build.sh .cache/tools/helm helm.sh/helm/v4/cmd/helm

go=${GO:-go}
tools=$PWD/.cache/tools
for program in registry ingress; do
	"$go" -C test/far/$program build -buildvcs=false -ldflags "-s -w" -o "$tools/$program" .
done
