#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the C suite; what it filled in before unmounting must be there afterwards.
mkfs.vexfs -q /dev/vdb && mount -t vexfs /dev/vdb /mnt || exit
collections input /mnt
collections lifecycle /mnt
collections permissions /mnt
collections together /mnt
collections fill /mnt
collections indexes /mnt
umount /mnt || exit
mount -t vexfs /dev/vdb /mnt || exit
collections verify /mnt
collections indexed /mnt
umount /mnt || exit
# After a shutdown without any flush, what SYNC acknowledged is there.
mount -t vexfs /dev/vdb /mnt || exit
collections sync /mnt
umount /mnt || exit
mount -t vexfs /dev/vdb /mnt || exit
collections synced /mnt
umount /mnt
