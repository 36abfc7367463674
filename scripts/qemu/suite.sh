# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # some of it is for, and from, the script that sources this
#
# Runs a guest suite (tests/guest/README.md) in any kernel; sourced by scripts/qemu/guest and scripts/uml/guest, which say
# how by these variables and functions:
#   kernel           its name, for messages and for the suite
#   guest_modules    a folder with the kernel's modules.builtin and modules.dep
#   base_modules     modules that every suite needs; image_modules those that root=image needs besides
#   build_module     prints the path of a vexfs.ko for the kernel
#   place_disk FILE SIZE   makes room for a disk of SIZE bytes that will be made at FILE
#   boot_guest DISK...     boots $VEXFS_OUT/initrd with the disks in order, each FILE,serial=NAME[,ro][,log=FILE], and prints
#                          the console
#   clean_up         at the end, whatever it is
# suite FOLDER then runs it; its exit status is 0 when there is no not ok.

export VEXFS_OUT VEXFS_BIN

# Complaints of the kernel, in words of the checks that the two kinds of kernel have.
complaints='WARNING:|BUG:|Oops|general protection|rcu: INFO|rcu_.*stall|[Bb]usy inodes|leak|KFENCE|UBSAN|refcount_t|lockup|blocked for more than'
complaints+='|Objects remaining|Redzone|Poison overwritten|VFS: .*inode|vexfs: .*(corrupt|damaged|failed)'
complaints+='|KASAN|ODEBUG|possible circular|possible recursive|inconsistent lock state|bad unlock balance|locks? held when|INFO: task'
complaints+='|sleeping function called|scheduling while atomic|suspicious RCU|DEBUG_LOCKS_WARN_ON|MAX_LOCK|INFO: lockdep is turned off|list_(add|del) corruption'
# That an out-of-tree module is unsigned is no complaint about the module; whose memory kmemleak counts is looked at below.
no_complaints='module verification failed|kmemleak: [0-9]+ new suspected'

failed=0
fail() {
	echo "not ok $name: $*"
	failed=1
}

# What the guest finds in /opt/vexfs, as $VEXFS_OUT/tree.
make_tree() {
	local tree=$VEXFS_OUT/tree module binary program file
	module=${VEXFS_MODULE:-$(build_module)}
	VEXFS_BIN=${VEXFS_BIN:-$("$repo/scripts/qemu/userspace")}
	rm -rf "$tree"
	mkdir -p "$tree/opt/vexfs/bin" "$tree/opt/vexfs/files"
	cp "$module" "$tree/opt/vexfs/vexfs.ko"
	strip --strip-debug "$tree/opt/vexfs/vexfs.ko"
	for binary in mkfs.vexfs vexctl $binaries; do
		cp "$VEXFS_BIN/$binary" "$tree/opt/vexfs/bin/"
	done
	for program in $c_programs; do
		# With the compiler of the prepared root and the committed header.
		in_root "$(need_kernel)" sh -c "gcc -std=gnu11 -O1 -Wall -Wextra -Werror -static -I /src/include/uapi \
			-o /build/$name-$$ /src/$program/*.c -lm" || die "$program does not compile"
		mv "$cache/build/$name-$$" "$tree/opt/vexfs/bin/$(basename "$program")"
	done
	strip "$tree"/opt/vexfs/bin/*
	for file in $files; do
		cp -a "$repo/$file" "$tree/opt/vexfs/files/"
	done
	cp "$folder/run.sh" "$tree/opt/vexfs/run.sh"
	printf 'root=%s insmod=%s kernel=%s\n' "$suite_root" "$insmod" "$kernel" >"$tree/opt/vexfs/suite.conf"
}

# new_disk FILE SIZE: an empty disk, or with =FILE as size a copy of that file.
new_disk() {
	rm -f "$1"
	case $2 in
	=*)
		place_disk "$1" "$(stat -c %s "${2#=}")"
		cp --sparse=always "${2#=}" "$1"
		;;
	*)
		place_disk "$1" "$(numfmt --from=iec "$2")"
		truncate -s "$2" "$1"
		;;
	esac
}

# Looks at what came back: the suite's own status and lines, and the kernel's log.
check_results() {
	local status=$1 suite_status files=$VEXFS_OUT/files
	rm -rf "$files"
	mkdir "$files"
	if ! tar -C "$files" -xf "$VEXFS_OUT/result" 2>/dev/null || [ ! -e "$files/.status" ]; then
		fail "the guest handed nothing back (status $status); its console ends:"
		tail -n 80 "$VEXFS_OUT/console" | sed 's/^/    /'
		return
	fi
	mv "$files/.dmesg" "$VEXFS_OUT/dmesg"
	mv "$files/.log" "$VEXFS_OUT/log"
	suite_status=$(cat "$files/.status")
	[ "$suite_status" = 0 ] || fail "run.sh ended with status $suite_status"
	! grep -q '^not ok' "$VEXFS_OUT/log" || failed=1

	# What the kernel says while it boots is not about the module.
	awk '/guest: the kernel is up/ { lines = "" } { lines = lines $0 "\n" } END { printf "%s", lines }' "$VEXFS_OUT/dmesg" |
		grep -E "$complaints" | grep -vE "$no_complaints" >"$VEXFS_OUT/complaints" || true
	if [ -n "$dmesg_allow" ]; then
		grep -vE "$dmesg_allow" "$VEXFS_OUT/complaints" >"$VEXFS_OUT/complaints.left" || true
		mv "$VEXFS_OUT/complaints.left" "$VEXFS_OUT/complaints"
	fi
	if [ -s "$VEXFS_OUT/complaints" ]; then
		fail "the kernel complained:"
		head -n 40 "$VEXFS_OUT/complaints" | sed 's/^/    /'
	else
		echo "ok $name: the kernel log has no complaint"
	fi
	# What the checks of a sanitized kernel found at the end; other kernels have no such files.
	if [ -e "$files/.kmemleak" ]; then
		mv "$files/.kmemleak" "$VEXFS_OUT/kmemleak"
		# One report is a line that is not indented and the lines below it that are.
		awk '/^unreferenced/ { if (ours) printf "%s", report; report = ""; ours = 0 } { report = report $0 "\n" } /\[vexfs\]/ { ours = 1 }
			END { if (ours) printf "%s", report }' "$VEXFS_OUT/kmemleak" >"$VEXFS_OUT/leaks"
		if [ -s "$VEXFS_OUT/leaks" ]; then
			fail "kmemleak found memory of the module that nothing points to:"
			head -n 60 "$VEXFS_OUT/leaks" | sed 's/^/    /'
		else
			echo "ok $name: no memory of the module is lost"
		fi
	fi
	if [ -e "$files/.lockdep_stats" ]; then
		mv "$files/.lockdep_stats" "$VEXFS_OUT/lockdep_stats"
		if grep -qE '^ *debug_locks: +1$' "$VEXFS_OUT/lockdep_stats"; then
			echo "ok $name: lockdep is still on"
		else
			fail "lockdep has switched itself off"
		fi
	fi
}

suite() {
	local disk disk_name size option keep=${VEXFS_OUT:-} status=0 boot_disks=() initrd_modules
	folder=$(realpath "${1:?suite folder}")
	name=$(basename "$folder")
	[ -e "$folder/run.sh" ] || die "no run.sh in $folder"

	local root=initramfs disks='' binaries='' c_programs='' files='' modules='' insmod=yes dmesg_allow=''
	mem=2G ncpus=2 timeout=300 append='' strict=yes
	# shellcheck source=/dev/null
	[ ! -e "$folder/suite.conf" ] || . "$folder/suite.conf"
	local suite_root=$root
	# What in_root means by it.
	root=$cache/trixie

	VEXFS_OUT=${VEXFS_OUT:-$(mktemp -d "${TMPDIR:-/tmp}/vexfs-$name.XXXXXX")}
	mkdir -p "$VEXFS_OUT"
	trap clean_up EXIT
	make_tree
	new_disk "$VEXFS_OUT/result" 256M
	boot_disks+=("$VEXFS_OUT/result,serial=result")
	for disk in $disks; do
		IFS=: read -r disk_name size option <<<"$disk"
		new_disk "$VEXFS_OUT/$disk_name.img" "$size"
		boot_disks+=("$VEXFS_OUT/$disk_name.img,serial=$disk_name${option:+,log=$VEXFS_OUT/$disk_name.log}")
	done
	initrd_modules="$base_modules $modules"
	if [ "$suite_root" = image ]; then
		[ -e "$guest_image" ] || die "no guest root prepared; run: scripts/qemu/prepare guest"
		boot_disks+=("$guest_image,serial=guest-root,ro")
		initrd_modules+=" $image_modules"
	fi
	# shellcheck disable=SC2086 # a list of module names
	"$repo/scripts/qemu/initramfs" "$VEXFS_OUT/tree" "$VEXFS_OUT/initrd" "$guest_modules" $initrd_modules

	boot_guest "${boot_disks[@]}" || status=$?
	check_results "$status"
	if [ -e "$VEXFS_OUT/files/.status" ] && [ -e "$folder/post.sh" ]; then
		bash "$folder/post.sh" >"$VEXFS_OUT/post.log" 2>&1 || fail "post.sh ended with status $?"
		cat "$VEXFS_OUT/post.log"
		! grep -q '^not ok' "$VEXFS_OUT/post.log" || failed=1
	fi
	clean_up
	if [ "$failed" = 0 ] && [ -z "$keep" ]; then
		rm -rf "$VEXFS_OUT"
	elif [ "$failed" != 0 ]; then
		say "what is left of the run: $VEXFS_OUT"
	fi
	return "$failed"
}
