#!/usr/bin/env bash
# The main job, from nothing to rows in a browser: a Kubernetes on this machine, the example's images, its database,
# migrations, three replicas, seeded rows. Every step leaves alone what is there already, so it can be run again.
set -euo pipefail

cd "$(dirname "$0")/.."
if [[ $(id -u) != 0 ]]; then
	echo "demo: the node needs root, for namespaces and mounts; run: sudo env \"PATH=\$PATH\" make demo" >&2
	exit 1
fi
perch=$PWD/bin/perch
export PERCH=$perch
url=http://127.0.0.1:4000/

"$perch" cluster start
tools/images.sh load
cd examples/kube-native
"$perch" up --detach
"$perch" run seed

echo
echo "The page is at $url; each request is answered by one of three pods:"
for _ in 1 2 3; do
	curl -s "$url" | grep -o 'id="pod">[^<]*' | cut -d'>' -f2
done
cat <<END

  curl -s $url            rows from PostgreSQL
  bin/perch kubectl get pods -A            a real Kubernetes; your own kubectl and helm see it as context "perch"
  cd examples/kube-native                  change a line, then: ../../bin/perch up -d
  bin/perch cluster delete                 removes all of it
END
