#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Cuts the power of the recorded disk at every flush and at random moments in between, and checks each result in this
# process; then mounts a sample of the results on the stock kernel.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
length=$(stat -c %s "$VEXFS_OUT/vdb.img")
rm -rf "$VEXFS_OUT/cuts"
mkdir "$VEXFS_OUT/cuts"
"$VEXFS_BIN/powercut" "$VEXFS_OUT/vdb.log" --disk "$length" --seed "${POWERCUT_SEED:-20261}" \
	--torn "${POWERCUT_TORN:-200}" --least "${POWERCUT_LEAST:-200}" --export "$VEXFS_OUT/cuts" --samples 5
export VEXFS_CUTS=$VEXFS_OUT/cuts
export VEXFS_OUT=$VEXFS_OUT/replayed
"$here/../../../scripts/qemu/guest" "$here/replayed"
