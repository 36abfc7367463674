#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Real programs on VexFS. Few processes and small sizes: both are slow where the CPU is emulated.

export HOME=/tmp GIT_CONFIG_NOSYSTEM=1
mnt=/mnt/vexfs
mkdir -p $mnt

# check NAME COMMAND...: reports whether a command succeeds, and shows what it printed when it does not.
check() {
	name=$1
	shift
	if "$@" >/tmp/output 2>&1; then
		echo "ok $name"
	else
		echo "not ok $name: status $?"
		sed 's/^/    /' /tmp/output | tail -n 20
	fi
}

remount() {
	umount $mnt && mount -t vexfs /dev/vdb $mnt
}

tar_tree() {
	tar -C /opt/vexfs/files -cf /tmp/tree.tar rust docs &&
		mkdir $mnt/tree && tar -C $mnt/tree -xpf /tmp/tree.tar && tar -C $mnt/tree -df /tmp/tree.tar
}

# In a shell of its own: a current folder below the mount point would keep it busy.
git_work() (
	cd $mnt &&
		git init -q origin && cd origin && git config user.email t@t && git config user.name t &&
		cp -r ../tree/rust . && git add -A && git commit -qm one &&
		cp -r ../tree/docs . && rm -r rust/host && git add -A && git commit -qm two &&
		git clone -q --no-hardlinks $mnt/origin $mnt/clone && cd $mnt/clone &&
		git fsck --full --strict && git gc -q && git fsck --full --strict && git checkout -q HEAD~1 &&
		test -d rust/host && git diff --quiet && git status --porcelain | { ! grep -q .; }
)

git_again() (
	cd $mnt/clone && git fsck --full --strict && git diff --quiet
)

# sqlite_work JOURNAL_MODE
sqlite_work() {
	sqlite3 "$mnt/$1.db" <<-SQL
		PRAGMA journal_mode=$1;
		PRAGMA synchronous=FULL;
		CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB);
		CREATE INDEX i ON t(a);
		BEGIN;
		WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x < 3000)
		INSERT INTO t SELECT x, hex(x * 7919), zeroblob(x % 500) FROM n;
		COMMIT;
		UPDATE t SET a = a || 'updated' WHERE id % 3 = 0;
		DELETE FROM t WHERE id % 5 = 0;
		VACUUM;
	SQL
}

# sqlite_check JOURNAL_MODE
sqlite_check() {
	[ "$(sqlite3 "$mnt/$1.db" 'PRAGMA integrity_check; SELECT count(*), sum(length(a)), sum(length(b)) FROM t;' | tr '\n' ' ')" = "$2" ]
}

# fio_job NAME OPTION...
fio_job() {
	job=$1
	shift
	fio --name="$job" --directory=$mnt --size=24M --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
		--randseed=1 --allrandrepeat=1 --invalidate=1 --minimal "$@"
}

mkfs.vexfs -q -L tools /dev/vdb || exit
mount -t vexfs /dev/vdb $mnt || exit
check "tar unpacks a source tree, and compares it without a difference" tar_tree
check "git commits, clones, collects garbage and finds nothing wrong" git_work
check "sqlite works with a rollback journal" sqlite_work delete
check "sqlite works with a write-ahead log" sqlite_work wal
want=$(sqlite3 $mnt/delete.db 'PRAGMA integrity_check; SELECT count(*), sum(length(a)), sum(length(b)) FROM t;' | tr '\n' ' ')
case $want in ok*) echo "ok sqlite's integrity check passes" ;; *) echo "not ok sqlite's integrity check passes: $want" ;; esac
check "fio verifies buffered random writes" fio_job buffered --rw=randwrite --bs=4k --ioengine=psync --end_fsync=1
check "fio verifies mixed sizes and fsyncs" fio_job mixed --rw=randrw --bsrange=1k-64k --ioengine=psync --fsync=64
check "fio verifies shared mappings" fio_job mapped --rw=randwrite --bs=4k --ioengine=mmap --size=12M
check "fio verifies direct random writes" fio_job direct --rw=randwrite --bs=4k --direct=1 --ioengine=psync
check "fio verifies direct sequential writes" fio_job sequential --rw=write --bs=256k --direct=1 --ioengine=libaio --iodepth=8
check "fio verifies io_uring" fio_job uring --rw=randwrite --bs=16k --direct=1 --ioengine=io_uring --iodepth=8
rm -f $mnt/buffered* $mnt/mixed* $mnt/mapped* $mnt/direct* $mnt/sequential* $mnt/uring*
check "it unmounts and mounts again" remount
check "the tree is the same after mounting again" tar -C $mnt/tree -df /tmp/tree.tar
check "git finds nothing wrong after mounting again" git_again
check "sqlite finds the same rows after mounting again (rollback journal)" sqlite_check delete "$want"
check "sqlite finds the same rows after mounting again (write-ahead log)" sqlite_check wal "$want"
check "all of it can be removed" rm -rf $mnt/tree $mnt/origin $mnt/clone $mnt/delete.db $mnt/wal.db
check "it unmounts" umount $mnt
exit 0
