#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The same program on VexFS and on ext4: a test that fails on both is wrong.

# on TYPE DEVICE: runs all tests on a freshly formatted device.
on() {
	mkdir -p "/mnt/$1"
	if ! busybox mount -t "$1" "$2" "/mnt/$1"; then
		echo "not ok mounting $1"
		return
	fi
	chmod 755 "/mnt/$1"
	mkdir "/mnt/$1/t"
	# From the guest's first root: in a chroot, nobody can make a user namespace.
	chroot /proc/1/root /opt/vexfs/bin/posix "/new/mnt/$1/t" --fill --mount-tests || status=1
	busybox umount "/mnt/$1" || echo "not ok unmounting $1"
}

status=0
mkfs.vexfs -q /dev/vdb || exit
on vexfs /dev/vdb
mkfs.ext4 -q -b 4096 /dev/vdc || exit
on ext4 /dev/vdc
exit "$status"
