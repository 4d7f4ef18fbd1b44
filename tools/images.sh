#!/usr/bin/env bash
# Base images for the demo and the benchmarks.
#   images.sh build   builds the archives in .cache/images from Debian packages and this machine's Go
#   images.sh load [IMAGE...]   sees to it that the running cluster can use those, or the demo's: does nothing when they
#                     are in its store or a registry has them (IMAGES=pull or auto), else builds and loads them
#                     (IMAGES=build or auto)
set -euo pipefail

cd "$(dirname "$0")/.."
go=${GO:-go}
export CGO_ENABLED=0
perch=${PERCH:-bin/perch}
mode=${IMAGES:-auto}
images=(postgres:15 golang:1.26)                                       # what examples/kube-native is made of
others=(busybox:1.36 nginx:1.22 redis:7 python:3.11 mariadb:10.11) # for the end-to-end tests

build() { "$go" run -buildvcs=false ./test/images -o .cache/images "$@"; }

case ${1:-} in
build) build "${images[@]}" "${others[@]}" ;;
load)
	(($# > 1)) && images=("${@:2}")
	stored=$("$perch" image list -o name)
	needed=()
	for image in "${images[@]}"; do
		grep -Eq "^(docker\.io/)?(library/)?$image\$" <<<"$stored" || needed+=("$image")
	done
	if ((${#needed[@]})) && [[ $mode == auto ]]; then
		mapfile -t needed < <("$go" run -buildvcs=false ./test/pullable "${needed[@]}")
	fi
	if ((${#needed[@]} == 0)) || [[ $mode == pull ]]; then
		exit 0
	fi
	echo "images: building ${needed[*]} from Debian packages" >&2
	build "${needed[@]}" >&2
	for image in "${needed[@]}"; do
		"$perch" image load ".cache/images/${image//[:\/]/-}.tar"
	done
	;;
*)
	echo "usage: tools/images.sh build|load" >&2
	exit 2
	;;
esac
