#!/usr/bin/env bash
# Starts and stops a cluster with an app N times (1000), deletes it after every tenth and makes another, and fails when
# something is left behind or piles up. A cycle takes some 7 s.
set -euo pipefail

cd "$(dirname "$0")/.."
if [[ $(id -u) != 0 ]]; then
	echo "cycles: the node needs root; run: sudo env \"PATH=\$PATH\" make cycles" >&2
	exit 1
fi
tools/deps.sh e2e
export CGO_ENABLED=0 PERCH_E2E_CYCLES="${N:-1000}"
exec "${GO:-go}" test -buildvcs=false -count=1 -timeout 0 -v -run '^TestCycles$' ./test/e2e/...
