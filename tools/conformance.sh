#!/usr/bin/env bash
# Runs Kubernetes' own conformance tests on bin/perch's node, in a cluster of its own called "conformance": docs/conformance.md.
# QUICK=1 runs the part for CI, RUN=regexp tests by name, MISSING=1 those that have not passed yet; PROCS is how many at
# once, LIMIT when to stop; RECORD=1 writes what came of them into the repository; KEEP=1 keeps the cluster.
set -euo pipefail

cd "$(dirname "$0")/.."
if [[ $(id -u) != 0 ]]; then
	echo "conformance: the node needs root; run: sudo env \"PATH=\$PATH\" make conformance" >&2
	exit 1
fi
export CGO_ENABLED=0
go=${GO:-go}
tools=$PWD/.cache/tools
suite=test/conformance/suite # a module of its own
registries=test/conformance/registries.yaml
images=(agnhost busybox etcd glibc-dns-testing nginx nonewprivs nonroot pause sample-apiserver)
[[ ${QUICK:-} ]] || images+=(kitten nautilus) # pictures that the quick part does not ask for

echo "conformance: building the suite (some 3 minutes the first time)" >&2
flags=$(tools/ldflags.sh)
mkdir -p "$tools"
"$go" -C $suite test -c -buildvcs=false -ldflags "$flags" -o "$tools/e2e.test" k8s.io/kubernetes/test/e2e
"$go" -C $suite build -buildvcs=false -o "$tools/ginkgo" github.com/onsi/ginkgo/v2/ginkgo
"$go" build -buildvcs=false -o "$tools/conformance" ./test/conformance

listed=$(KUBE_TEST_REPO_LIST=$registries "$tools/e2e.test" --list-images) # with the tags that this suite asks for
names=$(IFS='|' && echo "${images[*]}")
mapfile -t wanted < <(grep -E "^conformance\.test/($names):" <<<"$listed")
"$go" run -buildvcs=false ./test/images -o .cache/images "${wanted[@]}"

export PERCH_CLUSTER=conformance PERCH_STATE_DIR=${STATE:-/var/tmp/perch-conformance}
mkdir -p "$PERCH_STATE_DIR"
export KUBECONFIG=$PERCH_STATE_DIR/kubeconfig
end() {
	if [[ ${KEEP:-} ]]; then
		echo "conformance: the cluster is kept: PERCH_STATE_DIR=$PERCH_STATE_DIR bin/perch cluster delete --cluster $PERCH_CLUSTER" >&2
	else
		bin/perch cluster delete --yes && rm -rf "$PERCH_STATE_DIR"
	fi
}
trap end EXIT
bin/perch cluster start
for image in "${wanted[@]}"; do
	bin/perch image load ".cache/images/${image//[:\/]/-}.tar"
done
"$tools/conformance" ${QUICK:+-quick -attempts 2} ${RUN:+-run "$RUN"} ${MISSING:+-missing} ${RECORD:+-record} \
	${PROCS:+-procs "$PROCS"} ${LIMIT:+-limit "$LIMIT"}
