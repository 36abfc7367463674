#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Twice the same: on the disks as they are, and on disks whose flush takes a millisecond, as that of a good SSD does.
# BENCH_ONLY (groups of workloads, see guest-bench), BENCH_SCALE (percent) and BENCH_ROUNDS are settings.
set -e
mkdir -p /mnt/vexfs /mnt/ext4 /mnt/xfs
tar -C / -cf /tmp/tree.tar usr/share/perl

# compare NAME TITLE VEXFS EXT4 XFS: formats the three devices and measures on them.
compare() {
	mkfs.vexfs -q -f "$3"
	mkfs.ext4 -q -F "$4"
	mkfs.xfs -q -f "$5"
	busybox mount -t vexfs "$3" /mnt/vexfs
	busybox mount -t ext4 "$4" /mnt/ext4
	busybox mount -t xfs "$5" /mnt/xfs
	guest-bench --title "$2" --out "$OUT/$1" --archive /tmp/tree.tar --rounds "${BENCH_ROUNDS:-3}" \
		--scale "${BENCH_SCALE:-100}" ${BENCH_ONLY:+--only "$BENCH_ONLY"} \
		vexfs=/mnt/vexfs ext4=/mnt/ext4 xfs=/mnt/xfs
	busybox umount /mnt/vexfs /mnt/ext4 /mnt/xfs
	echo "ok $1"
}

compare files "File operations" /dev/vdb /dev/vdc /dev/vdd

# They know no FUA: a write with it takes a flush, too.
echo 1000 >/sys/module/ubd/parameters/flush_us
compare files-flush-1ms "File operations, a flush takes 1 ms" /dev/vdb /dev/vdc /dev/vdd
