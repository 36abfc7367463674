#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.
powercut-workload partition /dev/vdb || exit
mkfs.vexfs -q /dev/vdb1 || exit
mkdir /mnt
mount -t vexfs /dev/vdb1 /mnt || exit
if powercut-workload run /mnt /dev/vdb2 "$POWERCUT_SEED" "$POWERCUT_OPERATIONS"; then
	echo "ok a workload of files and rows is acknowledged"
else
	echo "not ok a workload of files and rows is acknowledged"
fi
powercut-workload check /mnt "$POWERCUT_SEED" "$POWERCUT_OPERATIONS" && echo "ok all of it is there before the cut" || echo "not ok all of it is there before the cut"
umount /mnt
