#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -e
mkfs.vexfs -q /dev/vdb
mkfs.ext4 -q /dev/vdc
mkfs.xfs -q /dev/vdd
mkdir -p /mnt/vexfs /mnt/ext4 /mnt/xfs
busybox mount -t vexfs /dev/vdb /mnt/vexfs
busybox mount -t ext4 /dev/vdc /mnt/ext4
busybox mount -t xfs /dev/vdd /mnt/xfs
tar -C / -cf /tmp/tree.tar usr/share/perl
guest-bench --archive /tmp/tree.tar vexfs=/mnt/vexfs ext4=/mnt/ext4 xfs=/mnt/xfs
busybox umount /mnt/vexfs /mnt/ext4 /mnt/xfs
echo "ok the benchmark ran on all three"
