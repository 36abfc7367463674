#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.

mkdir -p /mnt/vexfs
mkfs.vexfs -q /dev/vdb && mount -t vexfs -o commit=1 /dev/vdb /mnt/vexfs || exit
stress space /mnt/vexfs /tmp/space
mkdir /mnt/vexfs/t
count=$(stress-ng --class filesystem? 2>/dev/null | tr ' ' '\n' | grep -c .)
each=$((STRESS_SECONDS / (count > 0 ? count : 50)))
[ "$each" -ge 1 ] || each=1
stress-ng --class filesystem --sequential "$STRESS_WORKERS" --timeout "$each" --verify --temp-path /mnt/vexfs/t --metrics-brief \
	--no-rand-seed --oomable >"$OUT/stress-ng" 2>&1
status=$?
# 0: all passed; 4: some are not for this machine.
if [ $status = 0 ] || [ $status = 4 ]; then
	echo "ok stress-ng's filesystem class"
else
	echo "not ok stress-ng's filesystem class: status $status"
fi
grep -E 'passed:|failed:|skipped:|fail:' "$OUT/stress-ng" | sed 's/^/# /'
rm -rf /mnt/vexfs/t
stress space /mnt/vexfs /tmp/space
umount /mnt/vexfs || exit
if check-image /dev/vdb; then echo "ok it is consistent"; else echo "not ok it is consistent"; fi
