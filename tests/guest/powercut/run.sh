#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The seed and the number of operations are also in post.sh.
powercut-workload partition /dev/vdb || exit
mkfs.vexfs -q /dev/vdb1 || exit
mkdir /mnt
mount -t vexfs /dev/vdb1 /mnt || exit
if powercut-workload run /mnt /dev/vdb2 20261 300; then
	echo "ok a workload of files and rows is acknowledged"
else
	echo "not ok a workload of files and rows is acknowledged"
fi
powercut-workload check /mnt 20261 300 && echo "ok all of it is there before the cut" || echo "not ok all of it is there before the cut"
umount /mnt
