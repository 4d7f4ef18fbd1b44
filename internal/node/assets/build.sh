#!/usr/bin/env bash
# Builds the programs that perch carries inside itself from the Go modules that go.mod pins, and leaves them
# compressed in files/, where assets.go embeds them. Does nothing when what they are made from did not change.
set -euo pipefail

cd "$(dirname "$0")"
out=files
sums=$out/SHA256SUMS
go=${GO:-go}

programs=(containerd-shim-runc-v2 host-local loopback pause portmap ptp runc)
modules=(github.com/containerd/containerd/v2 github.com/containernetworking/plugins github.com/opencontainers/runc)

# Everything the programs depend on: compiler, pinned versions, this script, our own C source.
key() {
	{
		"$go" env GOVERSION GOARCH
		"$go" list -m -f '{{.Path}} {{.Version}}' "${modules[@]}"
		cat build.sh pause/pause.c
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
for tool in gcc zstd; do
	command -v "$tool" >/dev/null || { echo "assets: $tool is missing: run make deps" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
containerd=$("$go" list -m -f '{{.Version}}' github.com/containerd/containerd/v2)
plugins=github.com/containernetworking/plugins/plugins
cni=$("$go" list -m -f '{{.Version}}' github.com/containernetworking/plugins)

echo "assets: building ${programs[*]} (a minute when the build cache is empty)" >&2
gcc -static -Os -s -Wall -Wextra -Werror -o "$work/pause" pause/pause.c
CGO_ENABLED=0 "$go" build -o "$work/" \
	-ldflags "-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$cni" \
	$plugins/main/ptp $plugins/main/loopback $plugins/ipam/host-local $plugins/meta/portmap
# no_grpc: the shim speaks ttrpc. One shim runs for every pod, so what it does not hold counts many times.
CGO_ENABLED=0 "$go" build -o "$work/" -tags no_grpc \
	-ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$containerd" \
	github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
# Without the seccomp tag every pod would fail: the kubelet asks for the default profile.
CGO_ENABLED=1 "$go" build -o "$work/" -tags 'seccomp netgo osusergo' -ldflags '-s -w -extldflags -static' \
	github.com/opencontainers/runc

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
