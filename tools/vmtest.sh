#!/usr/bin/env bash
# Runs bin/perch in virtual machines with systemd, as users have them: test/vm. RUN=Name chooses one. The base disk is made
# from Debian packages once, and again when this file changes; perch and what it runs are put onto a second one each time.
set -euo pipefail

cd "$(dirname "$0")/.."
if [[ $(id -u) != 0 ]]; then
	echo "vmtest: the disk is made by root; run: sudo env \"PATH=\$PATH\" make vmtest" >&2
	exit 1
fi
tools/deps.sh vm
export CGO_ENABLED=0 VMTEST_DIR=$PWD/.cache/vm
PATH=$PATH:/usr/sbin:/sbin # where mke2fs is
packages=systemd,systemd-sysv,systemd-resolved,udev,dbus,libpam-systemd,sudo,linux-image-cloud-amd64
packages+=,nftables,kmod,iproute2,procps,curl

# What makes a Debian a machine of this test: a user, a network, a name that only the machine's own resolver knows,
# logins that end all that they started, and the unit that runs the test.
furnish() { # furnish ROOT
	local root=$1
	chroot "$root" useradd --create-home --shell /bin/bash dev
	echo 'dev ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/dev"
	echo vmtest >"$root/etc/hostname"
	printf '127.0.0.1 localhost vmtest\n192.0.2.7 printer.test\n' >"$root/etc/hosts"
	printf '/dev/vda / ext4 defaults 0 1\n/dev/vdb /mnt ext4 ro 0 0\n' >"$root/etc/fstab"
	printf '[Match]\nName=en*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/20-wired.network"
	mkdir -p "$root/etc/systemd/logind.conf.d"
	printf '[Login]\nKillUserProcesses=yes\n' >"$root/etc/systemd/logind.conf.d/kill.conf"
	ln -s /mnt/perch "$root/usr/local/bin/perch"
	cat >"$root/etc/systemd/system/vmtest.service" <<-END
		[Unit]
		After=network.target dbus.service systemd-logind.service systemd-resolved.service
		RequiresMountsFor=/mnt
		SuccessAction=poweroff
		FailureAction=poweroff
		[Service]
		Type=oneshot
		ExecStart=/mnt/guest.sh
		StandardOutput=file:/dev/ttyS1
		StandardError=file:/dev/ttyS1
		[Install]
		WantedBy=multi-user.target
	END
	chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved vmtest
}

base() {
	local recipe tree=$VMTEST_DIR/tree
	recipe=$(sha256sum "${BASH_SOURCE[0]}")
	[[ $(cat "$VMTEST_DIR/recipe" 2>/dev/null) == "$recipe" ]] && return
	echo "vmtest: making the base disk from Debian packages (a minute)" >&2
	rm -rf "$VMTEST_DIR"
	mkdir -p "$VMTEST_DIR"
	if ! mmdebstrap --quiet --variant=apt --include="$packages" bookworm "$tree" </dev/null >"$VMTEST_DIR/base.log" 2>&1; then
		tail -n 20 "$VMTEST_DIR/base.log" >&2
		return 1
	fi
	furnish "$tree"
	cp "$tree"/boot/vmlinuz-* "$VMTEST_DIR/vmlinuz"
	cp "$tree"/boot/initrd.img-* "$VMTEST_DIR/initrd"
	truncate -s 4G "$VMTEST_DIR/base.img"
	mke2fs -q -t ext4 -d "$tree" "$VMTEST_DIR/base.img"
	rm -rf "$tree"
	echo "$recipe" >"$VMTEST_DIR/recipe"
}

payload() {
	local folder=$VMTEST_DIR/payload
	rm -rf "$folder" "$VMTEST_DIR/payload.img"
	cp -r test/vm/testdata "$folder"
	"${GO:-go}" run -buildvcs=false ./test/images -o .cache/images busybox:1.36 >&2
	cp bin/perch .cache/images/busybox-1.36.tar "$folder"
	truncate -s 600M "$VMTEST_DIR/payload.img"
	mke2fs -q -t ext4 -d "$folder" "$VMTEST_DIR/payload.img"
	rm -rf "$folder"
}

base
payload
exec "${GO:-go}" test -buildvcs=false -count=1 -timeout 60m -v ${RUN:+-run "$RUN"} ./test/vm
