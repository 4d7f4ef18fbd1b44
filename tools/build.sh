#!/usr/bin/env bash
# Builds bin/perch, or with arguments (OUTPUT PACKAGE) another program with the same flags. Says how far it is, since
# with an empty build cache it compiles Kubernetes. GOARCH=arm64 builds bin/perch-linux-arm64.
set -euo pipefail

cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0
arch=$("$go" env GOARCH)
suffix=-linux-$arch
[[ $arch == "$("$go" env GOHOSTARCH)" ]] && suffix=
output=${1:-bin/perch$suffix}
package=${2:-./cmd/perch}

# Reads `go build -v`: one line for each package compiled, and whatever goes wrong.
progress() {
	local line count=0
	while IFS= read -r line; do
		if [[ $line =~ ^[A-Za-z0-9._~/-]+$ && ! $line =~ ^go: ]]; then
			((++count % 200)) || echo "build: $count packages compiled"
		else
			echo "$line"
		fi
	done
}

echo "build: $output (some 8 minutes on 2 cores when Go's build cache is empty)" >&2
started=$SECONDS
mkdir -p "$(dirname "$output")"
# The programs and tests of this tree share one build cache: see the head of the Makefile before adding a flag.
"$go" build -v -buildvcs=false -ldflags "$(tools/ldflags.sh)" -o "$output" "$package" 2>&1 | progress >&2
echo "build: $output is there, $(du -h "$output" | cut -f1), after $((SECONDS - started)) s" >&2
