#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.

# ok NAME COMMAND...: the command must succeed.
ok() {
	name=$1
	shift
	if "$@" >/tmp/output 2>&1; then
		echo "ok $name"
	else
		echo "not ok $name: status $?, $(head -n 20 /tmp/output | tr '\n' ' ')"
	fi
}

mkfs.vexfs -q /dev/vdb && mount -t vexfs /dev/vdb /mnt || exit
stress space /mnt /tmp/space
stress storm /mnt /tmp/tables --victims 6 --bystanders 2 --hog 60 --seconds "$STRESS_SECONDS" --seed "$STRESS_SEED"
stress verify /mnt /tmp/tables
ok "after the storm it unmounts" umount /mnt
ok "nothing is inconsistent and no space is lost" check-image /dev/vdb
mount -t vexfs /dev/vdb /mnt || exit
stress verify /mnt /tmp/tables
stress clear /mnt
ok "it unmounts empty" umount /mnt
ok "empty it is consistent" check-image /dev/vdb
mount -t vexfs /dev/vdb /mnt || exit
stress space /mnt /tmp/space
umount /mnt
