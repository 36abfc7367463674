#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.

debug=/sys/kernel/debug
mount -t debugfs debugfs $debug 2>/dev/null

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

# rate KIND PERCENT: how often what can fail does, in tasks marked for it.
rate() {
	echo "$2" >"$debug/$1/probability"
}

for kind in failslab fail_page_alloc fail_make_request; do
	rate $kind 0
	echo 1 >$debug/$kind/interval
	echo -1 >$debug/$kind/times
	echo 0 >$debug/$kind/verbose
done
for kind in failslab fail_page_alloc; do
	echo Y >$debug/$kind/task-filter
	echo N >$debug/$kind/ignore-gfp-wait
done
echo 0 >$debug/fail_page_alloc/min-order

# round LABEL MODE SEED: work while things fail, then a look from outside.
round() {
	echo "# $1"
	stress faults /mnt /tmp/tables --mode "$2" --workers 2 --seconds "$STRESS_SECONDS" --seed "$3$STRESS_SEED"
}

checked() {
	ok "$1: it unmounts" umount /mnt
	ok "$1: it is consistent and no space is lost" check-image /dev/vdb
	mount -t vexfs /dev/vdb /mnt || exit
	stress "$2" /mnt /tmp/tables
}

mkfs.vexfs -q /dev/vdb && mount -t vexfs /dev/vdb /mnt || exit
stress space /mnt /tmp/space

faults /mnt

round "every allocation of an operation fails once" nth 1
checked "every allocation of an operation fails once" verify
for percent in 1 5 20; do
	rate failslab $percent
	round "one in a hundred small allocations fails, times $percent" random $percent
	rate failslab 0
	checked "small allocations fail, $percent %" verify
	rate fail_page_alloc $percent
	round "one in a hundred pages cannot be had, times $percent" random $percent
	rate fail_page_alloc 0
	checked "pages cannot be had, $percent %" verify
done
stress clear /mnt
umount /mnt
mount -t vexfs /dev/vdb /mnt || exit
stress space /mnt /tmp/space

rm -r /tmp/tables
echo 1 >/sys/block/vdb/make-it-fail
for percent in 1 5 20; do
	# Not the seats' directories and tables, which every round needs.
	[ -e /tmp/tables ] || stress faults /mnt /tmp/tables --mode io --workers 2 --seconds 1 --seed 1
	sync
	rate fail_make_request $percent
	round "one in a hundred requests fails, times $percent" io $percent
	rate fail_make_request 0
	checked "requests fail, $percent %" adopt
done
stress clear /mnt
umount /mnt
mount -t vexfs /dev/vdb /mnt || exit
stress space /mnt /tmp/space
umount /mnt
