#!/usr/bin/env bash
# Builds what perch stands beside in the benchmarks: the same components of the same versions, each a program of its own
# as its project has it, in .cache/tools/peer. And puts beside them what perch carries: runc, shim, CNI plugins, pause.
# Does nothing when what they are made from did not change.
set -euo pipefail

cd "$(dirname "$0")/.."
out=.cache/tools/peer
mkdir -p "$out"
go=${GO:-go}

key=$({ "$go" env GOVERSION GOARCH; cat go.mod tools/bench-peer.sh test/bench/peer/coredns/main.go internal/node/assets/files/SHA256SUMS; } | sha256sum | cut -d' ' -f1)
if [[ -f $out/built && $(<"$out/built") == "$key" ]]; then
	exit 0
fi

for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
	tools/build.sh "$out/$name" "k8s.io/kubernetes/cmd/$name"
done
tools/build.sh "$out/etcd" go.etcd.io/etcd/server/v3
tools/build.sh "$out/containerd" github.com/containerd/containerd/v2/cmd/containerd
tools/build.sh "$out/ctr" github.com/containerd/containerd/v2/cmd/ctr
tools/build.sh "$out/coredns" ./test/bench/peer/coredns
for carried in internal/node/assets/files/*.zst; do
	zstd -q -d -f "$carried" -o "$out/$(basename "$carried" .zst)"
	chmod 755 "$out/$(basename "$carried" .zst)"
done

# The sandbox image of pods, as an archive that Docker would have saved.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$out" --owner=0 --group=0 -cf "$work/layer.tar" pause
digest=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
architecture=$("$go" env GOARCH)
echo "{\"architecture\": \"$architecture\", \"os\": \"linux\", \"config\": {\"Entrypoint\": [\"/pause\"]}, \"rootfs\": {\"type\": \"layers\", \"diff_ids\": [\"sha256:$digest\"]}}" >"$work/config.json"
echo '[{"Config": "config.json", "RepoTags": ["localhost/peer/pause:1"], "Layers": ["layer.tar"]}]' >"$work/manifest.json"
tar -C "$work" -cf "$out/pause.tar" manifest.json config.json layer.tar
echo "$key" >"$out/built"
