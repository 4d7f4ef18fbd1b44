#!/usr/bin/env bash
# Looks for what building, running and testing need beside Go, with the argument vm for what virtual machines need, and
# with GOARCH of another processor for what building for it needs.
# Installs it with apt when run by root on Debian or Ubuntu; otherwise says what to install.
set -euo pipefail

go=${GO:-go}
PATH=$PATH:/usr/sbin:/sbin # where nft is, for users whose own path has them not

command -v "$go" >/dev/null || {
	echo "deps: no $go: install Go 1.26 or newer from go.dev/dl, or put it on the PATH" >&2
	exit 1
}

missing=()
need() { # need PACKAGE COMMAND...: the package is missing when the command fails
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || missing+=("$package")
}

static_library() { # static_library NAME [COMPILER]
	[[ $("${2:-gcc}" -print-file-name="$1") == /* ]]
}

need gcc command -v gcc
need libc6-dev static_library libc.a
need libseccomp-dev static_library libseccomp.a
need pkg-config command -v pkg-config
need git command -v git
need curl command -v curl
need zstd command -v zstd
need nftables command -v nft
need iproute2 command -v ip
need procps command -v ps
need util-linux command -v nsenter
need ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
if [[ ${1:-} == vm ]]; then
	need qemu-system-x86 command -v qemu-system-x86_64
	need qemu-utils command -v qemu-img
	need mmdebstrap command -v mmdebstrap
	need e2fsprogs command -v mke2fs
fi
if [[ ${1:-} == e2e ]]; then # the road by hand opens a session with it
	need postgresql-client command -v psql
fi
foreign= # Debian's name of the other processor
case $("$go" env GOARCH),$("$go" env GOHOSTARCH) in
arm64,amd64) foreign=arm64 package=gcc-aarch64-linux-gnu compiler=aarch64-linux-gnu-gcc ;;
amd64,arm64) foreign=amd64 package=gcc-x86-64-linux-gnu compiler=x86_64-linux-gnu-gcc ;;
esac
if [[ $foreign ]]; then
	need "$package" command -v "$compiler"
	need "libc6-dev-$foreign-cross" static_library libc.a "$compiler"
	need "libseccomp-dev:$foreign" static_library libseccomp.a "$compiler"
fi
if command -v dpkg >/dev/null; then
	need debian-archive-keyring test -s /usr/share/keyrings/debian-archive-keyring.gpg
fi

if ((${#missing[@]} == 0)); then
	exit 0
fi
commands=("apt-get update" "apt-get install --yes --no-install-recommends ${missing[*]}")
if [[ ${missing[*]} == *:* ]]; then # dpkg has to be told that packages of another processor may come
	commands=("dpkg --add-architecture $foreign" "${commands[@]}")
fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "deps: missing on this machine: ${missing[*]}" >&2
	printf 'deps: on Debian, run: sudo %s\n' "${commands[@]}" >&2
	exit 1
fi

echo "deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for command in "${commands[@]}"; do
	# Split on purpose: package names hold no blanks.
	# shellcheck disable=SC2086
	if ! $command >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		echo "deps: $command failed" >&2
		exit 1
	fi
done
