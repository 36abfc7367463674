#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the C suite. Some parts need a disk that stops answering: a loop device whose file is on another filesystem, /under,
# which they freeze.

# clean NAME DEVICE: /mnt unmounts and the disk passes the check.
clean() {
	if umount /mnt && check-image "$2" >/tmp/output 2>&1; then
		echo "ok after $1 the disk is consistent"
	else
		echo "not ok after $1 the disk is consistent: $(tr '\n' ' ' </tmp/output)"
	fi
}

mkfs.vexfs -q /dev/vdb || exit
mount -t vexfs -o commit=3600 /dev/vdb /mnt || exit
vfs handles /mnt
vfs notify /mnt
vfs sandbox /mnt
clean "handles, notifications and sandboxes" /dev/vdb

mount -t vexfs -o sync,commit=3600 /dev/vdb /mnt || exit
vfs sync /mnt
umount /mnt || exit
mount -t vexfs -o commit=3600 /dev/vdb /mnt || exit
vfs synced /mnt
vfs builds /mnt
clean "builds" /dev/vdb

mount -t vexfs -o commit=1 /dev/vdb /mnt || exit
vfs direct /mnt
clean "direct writes" /dev/vdb

mount -t vexfs -o commit=3600 /dev/vdb /mnt || exit
vfs scattered /mnt
umount /mnt || exit
mount -t vexfs -o commit=3600 /dev/vdb /mnt || exit
vfs scattered-found /mnt
clean "scattered blocks" /dev/vdb

# With a group of tasks that gets no memory.
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
echo +memory >/sys/fs/cgroup/cgroup.subtree_control || exit
mount -t vexfs -o commit=3600 /dev/vdb /mnt || exit
vfs filled /mnt
umount /mnt || exit
mount -t vexfs -o commit=3600 /dev/vdb /mnt || exit
vfs starved /mnt
clean "a sync without memory" /dev/vdb

mkdir -p /under
mkfs.vexfs -q /dev/vdc || exit
mount -t vexfs /dev/vdc /under || exit
truncate -s 64M /under/image
mkfs.vexfs -q /under/image || exit
loop=$(losetup -f)
losetup "$loop" /under/image
mount -t vexfs -o commit=3600 "$loop" /mnt || exit
vfs full /mnt
vfs stuck /mnt
vfs shutdown /mnt
umount /mnt || exit
mount -t vexfs -o commit=3600 "$loop" /mnt || exit
vfs shut /mnt
clean "a disk that did not answer" "$loop"
losetup -d "$loop"
umount /under
