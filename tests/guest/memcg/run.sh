#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# See suite.conf.

group=/sys/fs/cgroup
mkdir -p $group
mount -t cgroup2 cgroup2 $group 2>/dev/null
echo +memory >$group/cgroup.subtree_control || exit

# inside NAME COMMAND...: runs a command in a cgroup of its own; it must succeed, and nothing may be killed for want of memory.
inside() {
	name=$1
	shift
	mkdir "$group/small"
	echo "$STRESS_LIMIT" >$group/small/memory.max
	if (echo 0 >$group/small/cgroup.procs && exec "$@" >/tmp/inside); then
		echo "ok $name"
	else
		echo "not ok $name: status $?"
	fi
	echo "# $(tr '\n' ' ' <$group/small/memory.events) peak $(cat $group/small/memory.peak)"
	if grep -q '^oom_kill 0$' $group/small/memory.events; then
		echo "ok $name: nothing is killed"
	else
		echo "not ok $name: nothing is killed"
		# What the memory was used for.
		dmesg | sed -n 's/.*Memory cgroup stats/stats/;/^stats/,/Tasks state/p' | sed 's/^\[[^]]*\] //' | grep -v ' 0$' |
			tr '\n' ' ' | sed 's/^/# /'
		echo
	fi
	rmdir $group/small
}

remount() {
	umount /mnt && mount -t vexfs /dev/vdb /mnt
}

mkfs.vexfs -q /dev/vdb && mount -t vexfs /dev/vdb /mnt || exit
mkdir /mnt/from /mnt/to
stress many /mnt/from --files "$STRESS_FILES"
remount || exit
inside "find looks at every inode" find /mnt/from -type f -mmin -1000000
if [ "$(wc -l </tmp/inside)" = "$STRESS_FILES" ]; then echo "ok find sees every file"; else echo "not ok find sees every file: $(wc -l </tmp/inside)"; fi
remount || exit
inside "tar reads every file" sh -c 'tar -C /mnt/from -cf - . | wc -c'
remount || exit
# What is written inside the cgroup is its own, dirty or not.
inside "tar writes every file" sh -c 'tar -C /mnt/from -cf - . | tar -C /mnt/to -xf -'
remount || exit
stress alike /mnt/from /mnt/to
inside "rm removes every file" rm -r /mnt/from /mnt/to
umount /mnt || exit
if check-image /dev/vdb; then echo "ok it is consistent"; else echo "not ok it is consistent"; fi
