#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf. Each part leaves /mnt unmounted.

# ok NAME COMMAND...: the command must succeed.
ok() {
	name=$1
	shift
	if "$@" >/tmp/output 2>&1; then
		echo "ok $name"
	else
		echo "not ok $name: status $?, $(tr '\n' ' ' </tmp/output)"
	fi
}

# no NAME COMMAND...: the command must fail.
no() {
	name=$1
	shift
	if "$@" >/tmp/output 2>&1; then
		echo "not ok $name: it succeeded"
	else
		echo "ok $name"
	fi
}

shows() {
	grep -q "^[^ ]* /mnt vexfs $1" /proc/mounts
}

foreign_disks() {
	for content in zero urandom; do
		dd "if=/dev/$content" of=/dev/vdc bs=64k count=16 2>/dev/null
		no "a disk of $content does not mount" mount -t vexfs /dev/vdc /mnt
	done
	no "an unknown value of errors= is refused" mount -t vexfs -o errors=shrug /dev/vdb /mnt
	no "commit= takes numbers only" mount -t vexfs -o commit=soon /dev/vdb /mnt
	no "commit= has a limit" mount -t vexfs -o commit=99999 /dev/vdb /mnt
}

options() {
	mount -t vexfs -o errors=panic,commit=7 /dev/vdb /mnt || return
	ok "options are shown" shows 'rw,relatime,errors=panic,commit=7 '
	mount -o remount,errors=remount-ro,commit=0 /mnt
	ok "a remount changes them" shows 'rw,relatime 0 0'
	ok "there are statistics" grep -q '^committed_txg ' /proc/vexfs/vdb/stats
	umount /mnt
	no "statistics go with the mount" test -e /proc/fs/vexfs/vdb
}

# The inodes of a mount are freed after a grace period, which a module that goes waits for.
unloading() {
	mount -t vexfs /dev/vdb /mnt && (cd /mnt && seq 2000 | xargs touch) && umount /mnt || return
	for _ in 1 2 3 4 5 6 7 8; do
		mount -t vexfs /dev/vdb /mnt && ls -l /mnt >/dev/null && umount /mnt && rmmod vexfs &&
			insmod /opt/vexfs/vexfs.ko || return
	done
	mount -t vexfs /dev/vdb /mnt && (cd /mnt && seq 2000 | xargs rm) && umount /mnt
}

unlinked_files() {
	mount -t vexfs /dev/vdb /mnt || return
	exec 7<>/mnt/unlinked
	rm /mnt/unlinked
	no "an unlinked file in use keeps the mount writable" mount -o remount,ro /mnt
	exec 7>&-
	ok "once it is closed the mount becomes read-only" mount -o remount,ro /mnt
	no "a read-only mount takes no changes" touch /mnt/new
	ok "and writable again" mount -o remount,rw /mnt
	exec 7<>/mnt/unlinked
	rm /mnt/unlinked
	echo u >/proc/sysrq-trigger
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		shows ro && break
		sleep 1
	done
	no "after a forced remount an unlinked file in use keeps it read-only" mount -o remount,rw /mnt
	exec 7>&-
	ok "once it is closed the mount becomes writable" mount -o remount,rw /mnt
	exec 7<>/mnt/lazy
	rm /mnt/lazy
	umount -l /mnt
	echo text >&7
	exec 7>&-
	ok "a lazily unmounted disk mounts again" mount -t vexfs /dev/vdb /mnt
	umount /mnt
	ok "and is consistent" check-image /dev/vdb
}

frozen() {
	mount -t vexfs /dev/vdb /mnt || return
	mkdir /mnt/frozen
	echo kept >/mnt/frozen/file
	mkfifo /tmp/opened /tmp/close
	{
		exec 7<>/mnt/held
		rm /mnt/held
		echo >/tmp/opened
		read -r _ </tmp/close
		# Closing deletes the file, which has to wait for the thaw.
		exec 7>&-
	} &
	read -r _ </tmp/opened
	fsfreeze --freeze /mnt
	echo >/tmp/close
	cp /dev/vdb /tmp/copy
	fsfreeze --unfreeze /mnt
	wait
	umount /mnt
	ok "a copy made while frozen is consistent" check-image /tmp/copy
	loop=$(losetup -f)
	losetup "$loop" /tmp/copy
	ok "it mounts" mount -t vexfs "$loop" /mnt
	ok "and has what was written before" grep -q kept /mnt/frozen/file
	umount /mnt
	losetup -d "$loop"
	rm /tmp/copy
}

# What fsync promised is in the log only until the next commit. A copy made meanwhile is what a power cut leaves.
logged() {
	mount -t vexfs -o commit=3600 /dev/vdb /mnt || return
	sync
	echo kept | dd of=/mnt/logged conv=fsync 2>/dev/null
	ok "fsync goes through the log" grep -q '^log_batches [1-9]' /proc/fs/vexfs/vdb/stats
	cp /dev/vdb /tmp/copy
	umount /mnt
	sum=$(sha256sum </tmp/copy)
	loop=$(losetup -f)
	losetup "$loop" /tmp/copy
	no "norecovery is for read-only mounts" mount -t vexfs -o norecovery "$loop" /mnt
	ok "norecovery mounts" mount -t vexfs -o ro,norecovery "$loop" /mnt
	ok "and is shown" shows 'ro,.*norecovery'
	no "it does not have what is in the log" test -e /mnt/logged
	no "it cannot be made writable" mount -o remount,rw /mnt
	umount /mnt
	ok "a read-only mount" mount -t vexfs -o ro "$loop" /mnt
	ok "has what is in the log" grep -q kept /mnt/logged
	no "norecovery is for new mounts" mount -o remount,ro,norecovery /mnt
	umount /mnt
	losetup -d "$loop"
	ok "neither writes" test "$sum" = "$(sha256sum </tmp/copy)"
	losetup "$loop" /tmp/copy
	mount -t vexfs -o ro "$loop" /mnt
	ok "it becomes writable" mount -o remount,rw /mnt
	ok "and has it then, too" grep -q kept /mnt/logged
	umount /mnt
	ok "and is consistent" check-image "$loop"
	losetup -d "$loop"
	rm /tmp/copy
}

# on_failing_disk: mounts a disk that will fail its next write at /mnt.
on_failing_disk() {
	mkdir -p /failing
	mount -t tmpfs -o size=8M tmpfs /failing
	truncate -s 64M /failing/image
	mkfs.vexfs -q /failing/image
	loop=$(losetup -f)
	losetup "$loop" /failing/image
	mount -t vexfs -o commit=3600 "$loop" /mnt
	mkdir /mnt/directory
	echo old >/mnt/file
	sync
	# No room is left for the image to grow.
	dd if=/dev/zero of=/failing/fill bs=64k 2>/dev/null
}

failing_disk() {
	on_failing_disk
	mkdir /mnt/lost
	ok "a commit that fails is reported, by every sync" mounts syncfs /mnt/directory 3
	ok "the mount shows it" shows 'rw,.*emergency_ro'
	ok "what is there can be read" grep -q old /mnt/file
	no "nothing can be created" touch /mnt/new
	no "nothing can be written" sh -c 'echo new >>/mnt/file'
	no "nothing can be removed" rm /mnt/file
	no "nothing can be renamed" mv /mnt/file /mnt/directory
	ok "it can be remounted read-only" mount -o remount,ro /mnt
	ok "and unmounted" umount /mnt
	rm /failing/fill
	ok "the disk is consistent" check-image "$loop"
	mount -t vexfs "$loop" /mnt
	ok "with what was synced" grep -q old /mnt/file
	no "and without what was not" test -e /mnt/lost
	umount /mnt
	losetup -d "$loop"
	umount /failing
}

damaged_disk() {
	mount -t vexfs /dev/vdb /mnt || return
	mkdir /mnt/many
	for i in $(seq 1 2000); do
		: >"/mnt/many/file$i"
	done
	umount /mnt
	cp /dev/vdb /tmp/damaged
	loop=$(losetup -f)
	losetup "$loop" /tmp/damaged
	mount -t vexfs "$loop" /mnt
	exec 4</mnt/many/file20 5</mnt/many/file1000 6</mnt/many/file1900
	# Everything behind the group table but the first nodes.
	dd if=/dev/zero of=/tmp/damaged bs=4096 seek=1300 count=600 conv=notrunc 2>/dev/null
	echo 3 >/proc/sys/vm/drop_caches
	ls -lR /mnt >/dev/null 2>&1
	no "damage that is met by reading stops nothing" shows 'rw,.*emergency_ro'
	ok "it is counted" grep -q 'damage_met [1-9]' "/proc/fs/vexfs/$(basename "$loop")/stats"
	for fd in 4 5 6; do
		chmod 600 /proc/self/fd/$fd 2>/dev/null
	done
	exec 4<&- 5<&- 6<&-
	ok "damage that is met by a change stops changes" shows 'rw,.*emergency_ro'
	no "nothing can be created beside it" touch /mnt/many/new
	ok "it unmounts" umount /mnt
	no "the damaged disk fails the check" check-image "$loop"
	losetup -d "$loop"
	rm /tmp/damaged
}

disk_goes_away() {
	# Only virtio's disks can be taken away.
	[ -e /sys/bus/virtio/drivers/virtio_blk ] || return 0
	mkfs.vexfs -q -f /dev/vdc && mount -t vexfs /dev/vdc /mnt || return
	exec 7>/mnt/held
	device=$(basename "$(readlink -f /sys/block/vdc/device)")
	echo "$device" >/sys/bus/virtio/drivers/virtio_blk/unbind
	no "a removed disk takes no changes" touch /mnt/new
	no "not even to open files" sh -c 'echo text >&7'
	exec 7>&-
	ok "it unmounts" umount /mnt
}

everything_at_once() {
	mkfs.vexfs -q -f /dev/vdb && mount -t vexfs -o commit=1 /dev/vdb /mnt || return
	mounts stress /mnt 6 15
	ok "after it the disk unmounts" umount /mnt
	ok "and is consistent" check-image /dev/vdb
	mount -t vexfs -o commit=1 /dev/vdb /mnt || return
	mounts stress /mnt 4 8 freeze
	for _ in 1 2 3 4 5; do
		ok "remount" mount -o remount,ro /mnt
		ok "and back" mount -o remount,rw /mnt
	done
	ok "after it the disk unmounts again" umount /mnt
	ok "and is consistent again" check-image /dev/vdb
}

mkfs.vexfs -q /dev/vdb || exit
foreign_disks
options
ok "the module can go right after a mount, and come back" unloading
unlinked_files
frozen
logged
failing_disk
damaged_disk
everything_at_once
disk_goes_away
