# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Shared by the scripts of this folder; sourced, not run. Two User Mode Linux kernels, each a process of the host:
#   fast   built by gcc, as quick as the machine
#   san    built by clang with every check there is
#
# In the cache: uml-<kernel>-<release>-<sum>/ with source/ (hard links to the stock kernel's source, patched) and out/ (the
# build tree; out/linux is the kernel). The sum is that of the configuration and the patch in this folder.

uml=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/qemu/lib.sh
. "$uml/../qemu/lib.sh"

# Arguments of make for a kernel, in the prepared root.
uml_make() {
	case $1 in
	fast) echo ARCH=um CC=gcc-14 ;;
	san) echo ARCH=um LLVM=-19 ;;
	*) die "unknown kernel $1: fast or san" ;;
	esac
}

# uml_dir KERNEL: where that kernel is, or will be.
uml_dir() {
	local stock sum
	stock=$(need_kernel)
	sum=$(cat "$uml/config.common" "$uml/config.$1" "$uml/kernel.patch" | cksum | cut -d' ' -f1)
	echo "$cache/uml-$1-$(cat "$stock/release")-$sum"
}

# The prepared kernel, or a line that says how to get one.
need_uml() {
	local dir
	uml_make "$1" >/dev/null
	dir=$(uml_dir "$1")
	[ -d "$dir" ] || die "no $1 kernel prepared; run: scripts/uml/prepare $1"
	echo "$dir"
}
