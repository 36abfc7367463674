#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.

# Dirty data stays so until the filesystem itself writes it back.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs

for kind in $(echo "$STRESS_KINDS" | tr , " "); do
	mkfs.vexfs -q -f /dev/vdb && mount -t vexfs /dev/vdb /mnt || exit
	stress fill /mnt --kind "$kind"
	umount /mnt || exit
	if check-image /dev/vdb; then echo "ok $kind: it is consistent"; else echo "not ok $kind: it is consistent"; fi
done
