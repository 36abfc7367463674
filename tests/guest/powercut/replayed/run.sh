#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each disk's serial number is "cutNUMBER-ACKNOWLEDGED".
mkdir /mnt
for disk in /sys/block/vd*; do
	serial=$(cat "$disk/serial")
	case $serial in cut*) ;; *) continue ;; esac
	name="a disk cut after operation ${serial#*-} mounts with everything acknowledged"
	if mount -t vexfs "/dev/${disk##*/}" /mnt && powercut-workload check /mnt "$POWERCUT_SEED" "${serial#*-}"; then
		echo "ok $name"
	else
		echo "not ok $name"
	fi
	umount /mnt
done
