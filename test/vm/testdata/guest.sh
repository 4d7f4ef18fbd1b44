#!/bin/bash
# What the virtual machine does, as root, after it has booted with vmtest=road, after-cut or legacy on the kernel's command
# line. The host reads what it says:
#   step NAME, then pass NAME or fail NAME    one obligation, with what its commands printed in between
#   acknowledged configmap|line N             a write that a power cut must not take away
#   found configmap|line N                    a write that is there after it
#   cut                                       now take the power away
#   done
set -u
export HOME=/root LC_ALL=C
cd "$(dirname "$0")" || exit
scope=perch-perch.scope
page=http://127.0.0.1:8080
api=http://127.0.0.1:8001/api/v1/namespaces/default/configmaps

# step SENTENCE COMMAND...: an obligation. It has failed with the first command in it that fails.
step() {
	local name=$1 code
	shift
	echo "step $name"
	# A shell of its own: -e means nothing in one whose code is looked at. A pipe: what is no terminal gets plain lines.
	bash -euo pipefail ./guest.sh "$@" 2>&1 | cat
	code=${PIPESTATUS[0]}
	if ((code)); then echo "fail $name"; else echo "pass $name"; fi
	return $code
}

# eventually SECONDS COMMAND...: waits for a state.
eventually() {
	local until=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < until)) || { echo "after waiting: $*"; return 1; }
		sleep 0.3
	done
}

has() { # has FILE TEXT: says what it has when it has not
	grep -q -- "$2" "$1" || { echo "no \"$2\" in $1:"; cat "$1"; return 1; }
}

absent() { [[ -z $1 ]] || { echo "left: $1"; return 1; }; }

# --- what the node is on this machine

unified() { [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; }

# own is the node's control group, in the hierarchy that accounts for memory.
own() {
	local root=/sys/fs/cgroup
	unified || root=$root/memory
	echo $root/system.slice/$scope
}

pids() { pgrep -f '^/[^ ]+ node (supervisor|init|containerd|kubernetes)' | sort -n | xargs; }

# limits are the limits on memory of all that is in the node's control group, sorted: "PATH BYTES".
limits() { (cd "$(own)" && grep -r . --include=memory.max --include=memory.limit_in_bytes . | sort); }

# traces is what a node leaves on a machine, and what may not differ when it has gone.
traces() {
	set +e # not finding anything is a failure to some of these
	find /sys/fs/cgroup -name '*perch*' -o -name 'kubepods*' -o -name buildkit
	ls -d /var/lib/perch* /run/perch* /root/.kube/config 2>/dev/null # kubectl's own cache, beside it, stays
	grep perch /proc/self/mountinfo
	nft list tables
	ip -brief link | cut -d' ' -f1
	systemctl list-units --all --plain --no-legend 'perch*'
	pgrep -af 'perch( |$)'
	sysctl net.ipv4.ip_forward kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes \
		vm.overcommit_memory vm.panic_on_oom
}

# --- obligations

refuses_others() {
	local code=0
	runuser -u dev -- perch cluster start >/tmp/refused 2>&1 || code=$?
	cat /tmp/refused
	[[ $code == 1 ]]
	has /tmp/refused 'error: .*root'
	has /tmp/refused 'hint: .*sudo'
	absent "$(ls -d /var/lib/perch 2>/dev/null)"
}

# A person logs in, starts the cluster with sudo, and logs out. logind then ends what is left of the session.
starts_in_a_session() {
	local session
	systemd-run --quiet --wait --pipe --collect -p PAMName=login -p User=dev \
		sh -c 'cat /proc/self/cgroup; exec sudo perch cluster start' >/tmp/session
	cat /tmp/session
	has /tmp/session 'session-.*\.scope'
	session=$(grep -o 'session-[^/]*\.scope' /tmp/session | head -1)
	eventually 60 sh -c "! systemctl -q is-active $session"
	perch cluster status
	[[ $(pids | wc -w) -ge 4 ]]
}

starts() { perch cluster start; }

is_delegated() {
	local pid
	systemctl show $scope -p Delegate,ControlGroup,ActiveState | tee /tmp/scope
	has /tmp/scope Delegate=yes
	has /tmp/scope ActiveState=active
	for pid in $(pids); do
		# In version 1 there are hierarchies that systemd leaves to others.
		echo "$pid: $(xargs </proc/$pid/cgroup)"
		if unified; then
			grep -q "^0::/system.slice/$scope/" /proc/$pid/cgroup
		else
			grep -qE ":memory:/system.slice/$scope" /proc/$pid/cgroup
			grep -qE ":name=systemd:/system.slice/$scope" /proc/$pid/cgroup
			grep -qE ":cpuset:/perch/perch" /proc/$pid/cgroup
		fi
	done
	if unified; then
		absent "$(ls -d /sys/fs/cgroup/perch 2>/dev/null)"
	fi
}

is_ready() {
	perch kubectl get nodes | tee /tmp/nodes
	grep -qE '^perch +Ready' /tmp/nodes
}

runs_the_app() {
	perch image load busybox-1.36.tar
	cp -r app /root/app
	cd /root/app
	perch up --detach
	answers
	curl -sf --max-time 20 "$page/cgi-bin/add?first"
	perch kubectl create configmap first --from-literal=a=b
}

answers() { eventually 120 curl -sf --max-time 20 $page/ | grep hello; }

# The limit of the Compose file is in force, and in the node's control group.
limits_the_app() {
	limits >/tmp/limits
	has /tmp/limits 'kubepods/.*67108864'
}

# Where the machine allows it, the kernel prefers to end pods, not the node.
scores() {
	local kubernetes httpd
	kubernetes=$(pgrep -f '^/[^ ]+ node kubernetes')
	httpd=$(pgrep -f '^httpd -f')
	grep . /proc/$kubernetes/oom_score_adj /proc/$httpd/oom_score_adj
	[[ $(cat /proc/$kubernetes/oom_score_adj) == -999 ]]
	[[ $(cat /proc/$httpd/oom_score_adj) -gt -999 ]]
}

# systemd-resolved answers on 127.0.0.53, which is another address inside a pod. It knows the names of /etc/hosts.
resolves_as_the_host() {
	has /etc/resolv.conf 'nameserver 127.0.0.53'
	cd /root/app
	perch exec web nslookup printer.test >/tmp/lookup || cat /tmp/lookup # there is no IPv6 address
	has /tmp/lookup 192.0.2.7
}

survives_reloads() {
	local before
	before="$(pids) $(limits)"
	systemctl daemon-reload
	systemctl daemon-reexec
	systemctl daemon-reload
	[[ "$(pids) $(limits)" == "$before" ]] || { echo "was: $before"; echo "is: $(pids) $(limits)"; return 1; }
	is_delegated
	answers
}

# --- the clock

# servers are the processes of the app, which no clock may end or double.
servers() { pgrep -f '^httpd -f' | sort -n | xargs; }

waits_for_its_time() {
	perch kubectl create cronjob nightly --image=busybox:1.36 --schedule="0 $(date -d '+12 hours' +%-H) * * *" -- true
	perch kubectl get jobs --no-headers -o name | tee /tmp/jobs
	absent "$(cat /tmp/jobs)"
}

# asks_on asks the app again and again, in the background, and notes what it got.
asks_on() {
	while :; do
		curl -sf -o /dev/null --max-time 30 $page/ && echo answered || echo refused
		sleep 0.5
	done >/tmp/asked &
	asking=$!
}

was_answered() {
	has /tmp/asked answered
	grep -c answered /tmp/asked
	absent "$(grep refused /tmp/asked)"
}

# reports: the node's lease was renewed by the clock of now.
reports() {
	local renewed age
	renewed=$(perch kubectl get lease perch -n kube-node-lease -o 'jsonpath={.spec.renewTime}') || return 1
	age=$(($(date +%s) - $(date -d "$renewed" +%s)))
	((age > -5 && age < 45)) || { echo "renewed $age s ago"; return 1; }
}

# is_as_before SERVERS: all is well, and nothing was restarted.
is_as_before() {
	eventually 60 reports
	is_ready
	answers
	(cd /root/app && perch up --detach)
	[[ "$(servers)" == "$1" ]] || { echo "was: $1"; echo "is: $(servers)"; return 1; }
}

# started_once: the CronJob has started one Job, however the clock went.
started_once() { [[ $(perch kubectl get jobs -o name | grep -c nightly) == 1 ]]; }

# lets_a_pod_in: the API server knows the pod by the token that it has.
lets_a_pod_in() {
	local server
	perch cluster kubeconfig >/tmp/kubeconfig
	server=$(sed -n 's/^ *server: //p' /tmp/kubeconfig)
	sed -n 's/^ *certificate-authority-data: //p' /tmp/kubeconfig | base64 -d >/tmp/ca.crt
	curl -sS -f -o /dev/null --max-time 20 --cacert /tmp/ca.crt "$server/api" \
		-H "Authorization: Bearer $(perch kubectl exec tokens -- cat /var/run/secrets/kubernetes.io/serviceaccount/token)"
}

goes_a_day_ahead() {
	local before
	before=$(servers)
	date -s '+1 day'
	is_as_before "$before"
	eventually 60 started_once
	perch kubectl run tokens --image=busybox:1.36 --command -- sleep 100000
	perch kubectl wait pod/tokens --for=condition=Ready --timeout=120s
	lets_a_pod_in
}

# What was made by the clock that was ahead works on: the pod's token, and the CronJob, which counts on from now.
is_set_right() {
	local before last
	before=$(servers)
	date -s '-1 day'
	is_as_before "$before"
	lets_a_pod_in
	started_once
	last=$(perch kubectl get cronjob nightly -o 'jsonpath={.status.lastScheduleTime}')
	[[ $(date -d "$last" +%s) -le $(date +%s) ]] || { echo "it counts on from $last"; return 1; }
}

# The machine sleeps for some seconds, and then for a night, as far as it can tell.
sleeps() {
	local before
	before=$(servers)
	echo +5 >/sys/class/rtc/rtc0/wakealarm
	echo mem >/sys/power/state
	date -s '+8 hours'
	is_as_before "$before"
	date -s '-8 hours'
}

stops() {
	perch cluster stop
	leaves_files_only
}

leaves_files_only() {
	diff <(traces_but_files </tmp/before) <(traces | traces_but_files)
}

traces_but_files() { grep -vE '^(/var/lib/perch|/root/.kube)'; }

has_its_data() {
	perch cluster start
	answers
	perch kubectl get configmap first
	curl -sf --max-time 20 $page/cgi-bin/add?again
	has "$(data)/lines" first
	has "$(data)/ends" asked # and not killed
}

data() { echo /var/lib/perch/perch/volumes/pvc-*; }

# The supervisor is killed: what it had in the control groups must not be in the way.
starts_after_a_kill() {
	kill -KILL "$(pgrep -f '^/[^ ]+ node supervisor')"
	perch cluster start
	answers
	is_delegated
}

# As at shutdown, systemd wants the scope to end: containers are asked, and the node is stopped as a whole.
ends_with_its_scope() {
	rm "$(data)/ends"
	systemctl stop $scope
	perch cluster status && return 1
	has "$(data)/ends" asked
	leaves_files_only
}

leaves_nothing() {
	perch cluster delete --yes
	diff <(traces_but_files </tmp/before) <(traces)
}

# --- the power cut

# Writes until the power goes. What was acknowledged is told, and by then on the disk, though the kernel writes nothing there
# by itself.
writers() {
	sysctl -q vm.dirty_writeback_centisecs=0
	perch kubectl proxy --port=8001 >/dev/null &
	eventually 60 curl -sf -o /dev/null --max-time 10 $api
	for ((i = 1; ; i++)); do
		curl -sf -o /dev/null --max-time 20 --json '{"metadata":{"name":"written-'$i'"}}' $api && echo "acknowledged configmap $i"
	done &
	for ((i = 1; ; i++)); do
		curl -sf -o /dev/null --max-time 20 "$page/cgi-bin/add?written-$i" && echo "acknowledged line $i"
	done &
}

# An app whose image was built a moment before the power goes.
builds_late() {
	cp -r late /root/late
	cd /root/late
	perch up --detach
}

keeps_what_it_acknowledged() {
	perch cluster start
	answers
	perch kubectl get configmaps -o name | sed -n 's|^configmap/written-|found configmap |p'
	sed -n 's/^written-/found line /p' "$(data)/lines"
}

keeps_the_late_image() {
	local i
	eventually 120 curl -sf -o /dev/null --max-time 20 http://127.0.0.1:8081/1.html
	for i in 1 2 3 4 5 6 7 8 9; do
		curl -sf --max-time 20 http://127.0.0.1:8081/$i.html | grep "page $i"
	done
}

# --- scenarios

road() {
	step 'another user is told to use sudo' refuses_others
	step 'the cluster outlives the session that started it' starts_in_a_session || return
	step 'the node lives in a delegated control group' is_delegated
	step 'the node is ready' is_ready
	step 'up runs an app that answers' runs_the_app || return
	step 'limits of the app are in force' limits_the_app
	step 'the kernel would end pods before the node' scores
	step 'names resolve in a pod as on the host' resolves_as_the_host
	step 'systemd reloads without disturbing it' survives_reloads
	step 'a CronJob waits for its time' waits_for_its_time
	asks_on
	step 'a clock that goes a day ahead disturbs nothing' goes_a_day_ahead
	step 'nor does it when it is set right' is_set_right
	step 'nor does sleep' sleeps
	kill $asking
	step 'the app answered meanwhile' was_answered
	step 'stop leaves files only' stops
	step 'start brings everything back' has_its_data
	step 'start works after a kill' starts_after_a_kill || return
	writers
	step 'an app is built while others write' builds_late
	echo cut
	wait
}

after_cut() {
	step 'what was acknowledged is there after a power cut' keeps_what_it_acknowledged
	step 'so is an image that was built a moment before' keeps_the_late_image
	step 'the end of the scope is an orderly stop' ends_with_its_scope
	step 'delete leaves nothing' leaves_nothing
}

legacy() {
	rm /etc/hosts # which a minimal Debian has not
	step 'the cluster starts' starts || return
	step 'the node lives in a delegated control group' is_delegated
	step 'up runs an app that answers' runs_the_app || return
	step 'limits of the app are in force' limits_the_app
	step 'systemd reloads without disturbing it' survives_reloads
	step 'stop leaves files only' stops
	step 'delete leaves nothing' leaves_nothing
}

if (($#)); then
	"$@"
	exit
fi
traces >/tmp/before
case $(cat /proc/cmdline) in
*vmtest=road*) road ;;
*vmtest=after-cut*) after_cut ;;
*vmtest=legacy*) legacy ;;
esac
echo done
