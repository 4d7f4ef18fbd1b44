#!/usr/bin/env bash
# up.sh PROGRAMS DIR: Kubernetes as a script brings it up whose components are programs of their own, each started when
# what it asks first answers. To be the first process of namespaces of its own (see ../peer.go); everything ends with it.
# DIR, which must be empty, keeps all state and logs; DIR/up is there when everything was started.
#
# The settings are the programs' own wherever the machine lets it be. Users are known by tokens, since certificates for
# each would be made before the clock starts anyway; all but etcd, which listens on loopback, is TLS.
set -euo pipefail

bin=$1 dir=$2
ip=10.98.0.2 pods=10.98.64.0/18 services=10.97.0.0/16 dns=10.97.0.10 node=peer group=/perch-bench-peer
export PATH=$bin:$PATH HOME=/root TMPDIR=$dir/tmp
# Control groups of its own, in each hierarchy; ../peer.go removes them.
tops=(/sys/fs/cgroup/*/)
if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then
	tops=(/sys/fs/cgroup)
fi
for top in "${tops[@]}"; do
	mkdir -p "${top%/}$group"
done

# A room of its own: nothing is written outside of DIR and memory, and the machine's kernel keeps its settings.
mount --make-rprivate /
mount --make-rshared /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir /run/keep
mount --bind "$dir" /run/keep
for folder in /var/lib /var/log; do
	mount -t tmpfs tmpfs "$folder"
done
mkdir -p "$dir"
mount --bind /run/keep "$dir"
mkdir -p "$dir"/{tmp,log,sysctl,cni,etcd,kubelet,containerd,pod-logs}
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
	file=$dir/sysctl/$(basename "${setting%=*}")
	echo "${setting#*=}" >"$file"
	mount --bind "$file" "/proc/sys/${setting%=*}"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
ip link add node0 type veth peer name far0 # not every kernel has dummy interfaces
ip link set far0 up
ip address add "$ip/24" dev node0
ip link set node0 up
ip route add default dev node0
echo "nameserver $ip" >"$dir/resolv.conf"

# One key for the server and one for tokens of service accounts; a token for each user.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=kube-apiserver \
	-addext "subjectAltName=IP:$ip,IP:127.0.0.1,IP:${services%.*.*}.0.1,DNS:kubernetes.default.svc" -keyout "$dir/server.key" -out "$dir/server.crt" 2>/dev/null
openssl ecparam -name prime256v1 -genkey -noout -out "$dir/accounts.key"
cat >"$dir/tokens" <<-END
	admin,admin,1,system:masters
	controllers,system:kube-controller-manager,2
	scheduler,system:kube-scheduler,3
	kubelet,system:node:$node,4,system:nodes
	proxy,system:kube-proxy,5
END
for user in admin controllers scheduler kubelet proxy; do
	cat >"$dir/$user.conf" <<-END
		apiVersion: v1
		kind: Config
		current-context: peer
		contexts: [{name: peer, context: {cluster: peer, user: $user}}]
		clusters: [{name: peer, cluster: {server: "https://$ip:6443", certificate-authority: $dir/server.crt}}]
		users: [{name: $user, user: {token: $user}}]
	END
done

cat >"$dir/containerd.toml" <<-END
	version = 3
	root = "$dir/containerd"
	state = "/run/containerd"
	[plugins.'io.containerd.cri.v1.images'.pinned_images]
	  sandbox = "localhost/peer/pause:1"
	[plugins.'io.containerd.cri.v1.runtime']
	  restrict_oom_score_adj = true
	  [plugins.'io.containerd.cri.v1.runtime'.cni]
	    bin_dirs = ["$bin"]
	    conf_dir = "$dir/cni"
	  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
	    runtime_type = "io.containerd.runc.v2"
	    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
	      BinaryName = "$bin/runc"
END
cat >"$dir/cni/10-peer.conflist" <<-END
	{"cniVersion": "1.0.0", "name": "peer", "plugins": [
	  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni/networks", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	  {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}]}
END
cat >"$dir/kubelet.yaml" <<-END
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
	authorization: {mode: AlwaysAllow}
	cgroupDriver: cgroupfs
	cgroupRoot: $group
	clusterDNS: [$dns]
	clusterDomain: cluster.local
	containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
	enforceNodeAllocatable: []
	evictionHard: {memory.available: 100Mi}
	failCgroupV1: false
	failSwapOn: false
	maxPods: 250
	podLogsDir: $dir/pod-logs
	resolvConf: $dir/resolv.conf
	volumePluginDir: $dir/kubelet/plugins
END
cat >"$dir/Corefile" <<-END
	cluster.local in-addr.arpa ip6.arpa {
	  errors
	  kubernetes cluster.local in-addr.arpa ip6.arpa {
	    kubeconfig $dir/admin.conf
	    pods insecure
	    fallthrough in-addr.arpa ip6.arpa
	  }
	}
END
cat >"$dir/dns.yaml" <<-END
	apiVersion: v1
	kind: Service
	metadata: {name: kube-dns, namespace: kube-system}
	spec: {clusterIP: $dns, ports: [{name: dns, protocol: UDP, port: 53}, {name: dns-tcp, protocol: TCP, port: 53}]}
	---
	apiVersion: discovery.k8s.io/v1
	kind: EndpointSlice
	metadata: {name: kube-dns, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
	addressType: IPv4
	endpoints: [{addresses: ["$ip"], conditions: {ready: true}}]
	ports: [{name: dns, protocol: UDP, port: 53}, {name: dns-tcp, protocol: TCP, port: 53}]
END

run() { # run PROGRAM ARGUMENT...: beside the others, with a log of its own
	"$bin/$1" "${@:2}" >"$dir/log/$1.log" 2>&1 &
}
until_done() { # until_done COMMAND...: again and again until it works
	until "$@" >/dev/null 2>&1; do sleep 0.02; done
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

run etcd --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
run containerd --config "$dir/containerd.toml"
until_done listens 2379
run kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$ip" --cert-dir="$dir/tmp" \
	--tls-cert-file="$dir/server.crt" --tls-private-key-file="$dir/server.key" --token-auth-file="$dir/tokens" \
	--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged --service-cluster-ip-range="$services" \
	--service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$dir/accounts.key" \
	--service-account-signing-key-file="$dir/accounts.key" --kubelet-preferred-address-types=InternalIP
until_done ctr --address /run/containerd/containerd.sock --namespace k8s.io images import "$bin/pause.tar"
until_done curl --fail --silent --cacert "$dir/server.crt" --header "Authorization: Bearer admin" "https://$ip:6443/readyz"
run kube-controller-manager --kubeconfig="$dir/controllers.conf" --use-service-account-credentials --leader-elect=false \
	--service-account-private-key-file="$dir/accounts.key" --root-ca-file="$dir/server.crt" \
	--flex-volume-plugin-dir="$dir/kubelet/plugins"
run kube-scheduler --kubeconfig="$dir/scheduler.conf" --leader-elect=false
run kubelet --kubeconfig="$dir/kubelet.conf" --config="$dir/kubelet.yaml" --root-dir="$dir/kubelet" --cert-dir="$dir/kubelet/pki" \
	--hostname-override="$node" --node-ip="$ip"
run kube-proxy --kubeconfig="$dir/proxy.conf" --proxy-mode=nftables --cluster-cidr="$pods" --hostname-override="$node" \
	--conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s
run coredns -conf "$dir/Corefile"
until_done kubectl --kubeconfig "$dir/admin.conf" apply -f "$dir/dns.yaml"

touch "$dir/up"
code=0
wait -n || code=$?
echo "a component ended with code $code; the last lines of all:" >&2
tail -n 3 "$dir"/log/*.log >&2
exit 1
