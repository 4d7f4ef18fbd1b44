#!/usr/bin/env bash
# What has to pass before a change goes in. Runs every step and reports every failure at the end.
set -uo pipefail

cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0
export GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"
failures=()

step() { # step NAME COMMAND...
	local name=$1 started=$SECONDS
	shift
	echo "== $name"
	if "$@"; then
		echo "== $name: passed after $((SECONDS - started)) s"
	else
		echo "== $name: FAILED after $((SECONDS - started)) s"
		failures+=("$name")
	fi
}

# Packages with tests, split by what the race detector would have to compile again: with Kubernetes, BuildKit, Helm,
# CoreDNS or containerd that takes longer than all tests together. The end-to-end tests are not here, nor is anything else in test/
# that needs the node.
packages() { # packages light|heavy
	local heavy='k8s\.io/kubernetes/|github\.com/moby/buildkit/|helm\.sh/helm/|github\.com/containerd/containerd/v2/|github\.com/coredns/coredns/'
	local -a match=(-E)
	[[ $1 == light ]] && match=(-vE)
	"$go" list -test -f '{{.ImportPath}} {{join .Deps " "}} ' ./cmd/... ./internal/... ./test/... |
		grep -E '^[^ ]+\.test ' | grep -vE '^[^ ]+/test/(e2e|corpus|vm)' | grep "${match[@]}" " ($heavy)" | cut -d' ' -f1 | sed 's/\.test$//'
}

unit() { # unit light|heavy FLAGS...
	local -a list
	mapfile -t list < <(packages "$1")
	((${#list[@]})) || return 0
	"$go" test -timeout 20m "${@:2}" "${list[@]}"
}

# The corpus of Compose files is in none of them: its table is to be seen.
corpus() { "$go" test -count=1 -v ./test/corpus | grep -vE '^ *(=== |--- (PASS|SKIP))'; }

unit_race() { CGO_ENABLED=1 unit light -race; }

example() { (cd examples/kube-native && CGO_ENABLED=1 "$go" test -race -timeout 10m ./...); }

ingress() { "$go" -C test/far/ingress test ./...; }

# What speaks to the kernel differs between processors. All of perch for another one would take 8 minutes.
arm64() { GOARCH=arm64 "$go" build ./internal/node/{assets,network,sandbox,systemd}; }

scripts() {
	local script status=0
	for script in tools/*.sh .ci/run internal/node/assets/build.sh; do
		bash -n "$script" || status=1
		[[ -x $script ]] || { echo "$script: not executable, as make runs it: chmod +x $script"; status=1; }
	done
	return $status
}

step build "$go" build ./...
step "build for arm64 of what is near the kernel" arm64
step scripts scripts
step format tools/lint.sh fmt-check
# Generated pages (docs/reference) are compared by tests of the packages that write them.
step "unit tests" unit heavy
step "unit tests with the race detector" unit_race
step corpus corpus
step "the example's tests" example
step "the tests' ingress controller" ingress
step lint tools/lint.sh

if ((${#failures[@]})); then
	printf 'check: %d failed:' "${#failures[@]}"
	printf ' %s;' "${failures[@]}"
	echo
	exit 1
fi
echo "check: all passed"
