#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -e
mkfs.vexfs -q /dev/vdb
mkfs.ext4 -q /dev/vdc
mkdir -p /mnt/vexfs /mnt/ext4
busybox mount -t vexfs /dev/vdb /mnt/vexfs
busybox mount -t ext4 /dev/vdc /mnt/ext4
tar -C / -cf /tmp/tree.tar usr/share/perl
guest-bench --archive /tmp/tree.tar vexfs=/mnt/vexfs ext4=/mnt/ext4
busybox umount /mnt/vexfs /mnt/ext4
echo "ok the benchmark ran on both"
