#!/usr/bin/env bash
# Runs golangci-lint, built from the version that tools/go.mod pins; with `fmt` it formats the tree, with `fmt-check`
# it only says which files are not formatted.
set -euo pipefail

cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0 # the cache of the ordinary build serves the linter's loading of packages
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"
lint=.cache/tools/golangci-lint

linter() {
	local wanted
	wanted=$("$go" env GOVERSION)-$(sha256sum tools/go.mod | cut -c1-16)
	[[ -x $lint && $(cat $lint.built 2>/dev/null) == "$wanted" ]] && return
	echo "lint: building golangci-lint (some 4 minutes the first time)" >&2
	mkdir -p "$(dirname "$lint")"
	(cd tools && "$go" build -ldflags '-s -w' -o "../$lint" github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
	echo "$wanted" >$lint.built
}

files() { git ls-files --cached --others --exclude-standard '*.go'; }

case ${1:-run} in
fmt) files | xargs -r gofmt -l -w ;;
fmt-check)
	unformatted=$(files | while read -r f; do [[ -f $f ]] && gofmt -l "$f"; done)
	if [[ -n $unformatted ]]; then
		printf 'not formatted, run make fmt:\n%s\n' "$unformatted" >&2
		exit 1
	fi
	;;
run)
	linter
	# Two packages at once: type information of Kubernetes is big, and memory is what ends first.
	"$lint" run --concurrency 2 "${@:2}"
	;;
*)
	echo "usage: tools/lint.sh [run|fmt|fmt-check]" >&2
	exit 2
	;;
esac
