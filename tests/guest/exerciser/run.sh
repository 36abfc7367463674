#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf. The modes run side by side.

modes="buffered mapped direct mixed"
mkfs.vexfs -q /dev/vdb && mount -t vexfs -o commit=1 /dev/vdb /mnt || exit
for seed in $(echo "$STRESS_SEEDS" | tr , ' '); do
	for mode in $modes; do
		stress exercise "/mnt/$mode" "/tmp/$mode" --mode "$mode" --operations "$STRESS_OPERATIONS" --seed "$seed" &
	done
	wait
	umount /mnt || echo "not ok it unmounts"
	if check-image /dev/vdb; then echo "ok it is consistent"; else echo "not ok it is consistent"; fi
	mount -t vexfs -o commit=1 /dev/vdb /mnt || exit
	for mode in $modes; do
		if cmp "/mnt/$mode" "/tmp/$mode"; then
			echo "ok $mode, seed $seed: the file is the same after mounting again"
		else
			echo "not ok $mode, seed $seed: the file is the same after mounting again"
		fi
	done
	rm /mnt/*
done
umount /mnt
