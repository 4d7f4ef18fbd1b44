#!/usr/bin/env bash
# End-to-end tests: bin/perch as a user runs it, on the real node. RUN=Name chooses scenarios.
set -euo pipefail

cd "$(dirname "$0")/.."
if [[ $(id -u) != 0 ]]; then
	echo "e2e: the node needs root; run: sudo env \"PATH=\$PATH\" make e2e" >&2
	exit 1
fi
export CGO_ENABLED=0
"${GO:-go}" test -buildvcs=false -count=1 -timeout 60m -parallel 4 -v ${RUN:+-run "$RUN"} ./test/e2e/...
