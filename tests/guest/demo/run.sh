#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The guest side of `make demo`: format, load, mount, copy, verify, insert, search, and all of it again after
# unmounting. Lines that begin with "ok" or "not ok" are counted; the others are for a person. Few processes:
# starting one is slow where the CPU is emulated.

export NO_COLOR=1
disk=/dev/vdb
sums=/tmp/sums
collection=/mnt/packages

step() {
	printf '\n=== %s\n' "$*"
}

# Shows a command, then runs it.
run() {
	printf '$ %s\n' "$*"
	"$@"
}

# Stops the demo when its command fails.
must() {
	run "$@" || {
		echo "not ok demo: '$*' failed"
		exit 1
	}
}

# Reports whether a command succeeds: check NAME COMMAND...
check() {
	name=$1
	shift
	if "$@"; then
		echo "ok $name"
	else
		echo "not ok $name"
	fi
}

verify() (
	cd /mnt && sha256sum -c -s "$sums"
)

search() {
	vexctl search "$collection" data/debian384_query.fvecs --rows 3 -k 5 "$@"
}

step "An empty disk becomes a filesystem"
must mkfs.vexfs -L demo $disk

step "The module, on a stock kernel"
printf 'kernel %s\n' "$(uname -r)"
must insmod /opt/vexfs/vexfs.ko
dmesg | grep vexfs: | sed 's/^\[[^]]*\] //'
must mount -t vexfs $disk /mnt

step "Files: a source tree, copied and verified by checksum"
find rust -type f -exec sha256sum {} + >$sums
must cp -r rust /mnt/
files=$(wc -l <$sums)
check "$files files are what they were" verify

step "Vectors: a collection of package descriptions"
must vexctl collection create $collection --dim 384 --metric cosine
must vexctl insert $collection data/debian384_base.fvecs --metadata data/debian384_base.jsonl --first-id 0
must vexctl collection info $collection

step "Search: three texts, their five nearest packages"
printf '$ vexctl search %s debian384_query.fvecs --rows 3 -k 5 --labels debian384_query.jsonl --fields package,synopsis\n\n' $collection
check "three searches by text" search --labels data/debian384_query.jsonl --fields package,synopsis
search --json >/tmp/before || echo "not ok search with --json"

step "Unmount, mount again: all is there"
must umount /mnt
must mount -t vexfs $disk /mnt
check "$files files are what they were, read from the disk" verify
search --json >/tmp/after || echo "not ok search with --json"
check "the searches find the same rows" cmp -s /tmp/before /tmp/after
[ -z "${OUT:-}" ] || cp /tmp/after "$OUT/search.json"
run ls -la /mnt
run df -h /mnt
run vexctl collection list /mnt
run vexctl status /mnt
must umount /mnt
