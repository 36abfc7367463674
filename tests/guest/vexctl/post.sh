#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The answers of the kernel are those that the same disk gives to the same code in a process on the host, which
# tools/vexctl/tests compares with answers computed elsewhere.
set -u
data=$(realpath "$(dirname "$0")/../../data")

# Distances are left out: their last digits may differ between the CPU of the guest and that of the host. So is the number
# of compared rows: the disk has an index now, which most of the guest's answers were given without.
answers() {
	sed -E 's|"collection":"[^"]*"||; s|"distance":[^,]*,||g; s|,?"scanned":[0-9]*||'
}

same() {
	file=$1
	shift
	"$VEXFS_BIN/vexctl" --image "$VEXFS_OUT/vdb.img" --json "$@" | answers >"$VEXFS_OUT/host.$file"
	answers <"$VEXFS_OUT/files/$file" >"$VEXFS_OUT/guest.$file"
	if [ -s "$VEXFS_OUT/host.$file" ] && cmp "$VEXFS_OUT/host.$file" "$VEXFS_OUT/guest.$file"; then
		echo "ok the kernel's $file is that of the host"
	else
		echo "not ok the kernel's $file is that of the host"
	fi
}

same search.json search /packages "$data/debian384_query.fvecs" -k 10 --vectors --exact
same radius.json search /packages "$data/debian384_query.fvecs" -k 100 --radius 0.4 --exact
same filter.json search /packages "$data/debian384_query.fvecs" -k 10 --filter '{"section": ["mail", "net", "comm"], "size": {"gte": 10000}}' --exact
same exact.json search /packages "$data/debian384_query.fvecs" -k 10 --exact
same get.json get /packages 0 1999 1000 --vectors
