#!/usr/bin/env bash
# Builds the programs that perch carries inside itself from the Go modules that go.mod pins, and leaves them
# compressed in files/ARCHITECTURE, where files_ARCHITECTURE.go embeds them. Does nothing when what they are made from did
# not change. GOARCH=arm64 builds them for another processor, with Debian's C compiler for it.
set -euo pipefail

cd "$(dirname "$0")"
go=${GO:-go}
arch=$("$go" env GOARCH)
out=files/$arch
sums=$out/SHA256SUMS

case $arch in
amd64) compiler=x86_64-linux-gnu-gcc machine='Advanced Micro Devices X86-64' ;;
arm64) compiler=aarch64-linux-gnu-gcc machine=AArch64 ;;
*)
	echo "assets: perch is not built for $arch: choose GOARCH=amd64 or arm64" >&2
	exit 1
	;;
esac
if [[ $arch == "$("$go" env GOHOSTARCH)" ]]; then
	compiler=gcc
else
	export PKG_CONFIG_LIBDIR=/usr/lib/${compiler%-gcc}/pkgconfig # where it is told how runc is linked
fi

programs=(containerd-shim-runc-v2 host-local loopback nodad pause portmap ptp runc)
modules=(github.com/containerd/containerd/v2 github.com/containernetworking/plugins github.com/opencontainers/runc)

# Everything the programs depend on: compiler, pinned versions, this script, our own C source.
key() {
	{
		"$go" env GOVERSION GOARCH
		"$go" list -m -f '{{.Path}} {{.Version}}' "${modules[@]}"
		cat build.sh pause/pause.c nodad/nodad.c
	} | sha256sum | cut -d' ' -f1
}

complete() {
	local name
	[[ -f $sums && $(head -n 1 "$sums") == "# $1" ]] || return 1
	for name in "${programs[@]}"; do
		[[ -f $out/$name.zst ]] || return 1
	done
}

wanted=$(key)
if complete "$wanted"; then
	exit 0
fi
for tool in "$compiler" readelf zstd; do
	command -v "$tool" >/dev/null || { echo "assets: $tool is missing: run make deps, with ARCH=$arch when this machine has another processor" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
containerd=$("$go" list -m -f '{{.Version}}' github.com/containerd/containerd/v2)
plugins=github.com/containernetworking/plugins/plugins
cni=$("$go" list -m -f '{{.Version}}' github.com/containernetworking/plugins)

echo "assets: building ${programs[*]} for $arch (a minute when the build cache is empty)" >&2
for name in pause nodad; do
	"$compiler" -static -Os -s -Wall -Wextra -Werror -o "$work/$name" "$name/$name.c"
done
CGO_ENABLED=0 "$go" build -o "$work/" \
	-ldflags "-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$cni" \
	$plugins/main/ptp $plugins/main/loopback $plugins/ipam/host-local $plugins/meta/portmap
# no_grpc: the shim speaks ttrpc. One shim runs for every pod, so what it does not hold counts many times.
CGO_ENABLED=0 "$go" build -o "$work/" -tags no_grpc \
	-ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$containerd" \
	github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
# Without the seccomp tag every pod would fail: the kubelet asks for the default profile.
CGO_ENABLED=1 CC=$compiler "$go" build -o "$work/" -tags 'seccomp netgo osusergo' -ldflags '-s -w -extldflags -static' \
	github.com/opencontainers/runc

# A wrong compiler or a library of another processor is to be told here, not by a node that makes no pod.
for name in "${programs[@]}"; do
	readelf -h "$work/$name" | grep -q "Machine: *$machine\$" || { echo "assets: $name is not a program for $arch" >&2; exit 1; }
done

rm -f "$sums"
for name in "${programs[@]}"; do
	zstd -q -f -19 "$work/$name" -o "$work/$name.zst"
	mv "$work/$name.zst" "$out/$name.zst"
done
{
	echo "# $wanted"
	(cd "$work" && sha256sum "${programs[@]}")
} >"$work/sums"
mv "$work/sums" "$sums"
echo "assets: $(du -ch $out/*.zst | tail -n 1 | cut -f1) in $out" >&2
