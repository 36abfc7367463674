#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.

consistent() {
	if check-image /dev/vdb; then echo "ok $1"; else echo "not ok $1"; fi
}

mkfs.vexfs -q /dev/vdb && mount -t vexfs -o commit=1 /dev/vdb /mnt || exit
stress space /mnt /tmp/space
stress mix /mnt --workers 8 --seconds "$STRESS_SECONDS" --seed "$STRESS_SEED"
umount /mnt || exit
consistent "what they leave is consistent"
mount -t vexfs /dev/vdb /mnt || exit
stress clear /mnt
stress space /mnt /tmp/space
umount /mnt || exit
consistent "emptied it is consistent"
