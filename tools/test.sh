#!/usr/bin/env bash
# All tests. Everything is run even when something fails, and the exit code says whether all of it passed.
set -uo pipefail

cd "$(dirname "$0")/.."
status=0
internal/node/assets/build.sh && tools/build.sh || exit 1
tools/check.sh || status=1
if [[ $(id -u) != 0 ]]; then
	echo "test: the end-to-end tests and virtual machines are left out: the node needs root; run: sudo env \"PATH=\$PATH\" make e2e" >&2
else
	if tools/plain-tools.sh; then
		tools/e2e.sh || status=1
		QUICK=1 tools/conformance.sh || status=1
	else
		status=1
	fi
	tools/vmtest.sh || status=1
fi
exit $status
