#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The answers of the kernel are those that the same disk gives to the same code in a process on the host, which
# tools/vexctl/tests compares with answers computed elsewhere.
set -u
data=$(realpath "$(dirname "$0")/../../data")

same() {
	file=$1
	shift
	"$VEXFS_BIN/vexctl" --image "$VEXFS_OUT/vdb.img" --json "$@" |
		sed 's|"collection":"/packages"|"collection":"/mnt/packages"|' >"$VEXFS_OUT/$file"
	if cmp "$VEXFS_OUT/$file" "$VEXFS_OUT/files/$file"; then
		echo "ok the kernel's $file is that of the host"
	else
		echo "not ok the kernel's $file is that of the host"
	fi
}

same search.json search /packages "$data/debian384_query.fvecs" -k 10 --vectors
same radius.json search /packages "$data/debian384_query.fvecs" -k 100 --radius 0.4
same get.json get /packages 0 1999 1000 --vectors
