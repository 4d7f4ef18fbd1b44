#!/usr/bin/env bash
# Measures perch on this machine, in a cluster of its own called "bench"; ROUNDS is how often (5), ONLY names the steps
# that are wanted ("start,images,rollouts under load"). Leaves .cache/bench.json and prints a table.
set -euo pipefail

cd "$(dirname "$0")/.."
if [[ $(id -u) != 0 ]]; then
	echo "bench: the node needs root; run: sudo env \"PATH=\$PATH\" make bench" >&2
	exit 1
fi
export CGO_ENABLED=0
mkdir -p .cache/tools
# What it stands beside takes minutes to link, and is of no use to a run that does not ask for it.
if [[ -z ${ONLY:-} || $ONLY == *apart* ]]; then
	tools/bench-peer.sh
fi
"${GO:-go}" build -buildvcs=false -o .cache/tools/bench ./test/bench
exec .cache/tools/bench -perch bin/perch -example examples/kube-native -images tools/images.sh \
	-rounds "${ROUNDS:-5}" -only "${ONLY:-}" -json .cache/bench.json
