#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.

# Dirty data stays so until the filesystem itself writes it back, however much of it there is.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs
echo 90 >/proc/sys/vm/dirty_ratio
echo 80 >/proc/sys/vm/dirty_background_ratio

for kind in $(echo "$STRESS_KINDS" | tr , " "); do
	mkfs.vexfs -q -f /dev/vdb && mount -t vexfs /dev/vdb /mnt || exit
	stress fill /mnt --kind "$kind"
	umount /mnt || exit
	if check-image /dev/vdb; then echo "ok $kind: it is consistent"; else echo "not ok $kind: it is consistent"; fi
done
