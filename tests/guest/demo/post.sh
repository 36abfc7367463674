#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# On the host, after the guest has gone: the disk it wrote gives the same answers without any kernel module.
set -u
data=$(realpath "$(dirname "$0")/../../data")

"$VEXFS_BIN/vexctl" --image "$VEXFS_OUT/vdb.img" --json search /packages "$data/debian384_query.fvecs" --rows 3 -k 5 |
	sed 's|"/packages"|"/mnt/packages"|' >"$VEXFS_OUT/search.json"
if cmp -s "$VEXFS_OUT/search.json" "$VEXFS_OUT/files/search.json"; then
	echo "ok the disk gives the same answers on the host, without the module"
else
	echo "not ok the disk gives the same answers on the host, without the module"
fi
