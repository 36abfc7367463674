# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Shared by the scripts of this folder; sourced, not run.
#
# The cache, ~/.cache/vexfs or $VEXFS_CACHE:
#   trixie/            a Debian 13 root with the compilers that built the kernel
#   linux-<release>/   one stock kernel: source/ out/ (the build tree) modules/ vmlinuz, seen as /k in the root
#   guest-<sum>.img    a read-only Debian 13 root for guests with real tools, named after the list of its packages
#   build/<kernel>/<checkout>-<name>/   module build folders; make goes by times, so checkouts must not share one
#   kvm-<boot>         whether KVM works here, tested once per boot
# A folder appears under its name only when complete; unfinished work is called *.part and is taken up again.

repo=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
cache=$(realpath -m "${VEXFS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vexfs}")
root=$cache/trixie
checkout=$(cksum <<<"$repo" | cut -d' ' -f1)
guest_packages=bash,coreutils,util-linux,mount,kmod,tar,gzip,xz-utils,findutils,diffutils,grep,sed,procps,git,sqlite3,fio
guest_packages+=,e2fsprogs,xfsprogs,attr,acl,perl-base,dmsetup,busybox-static,ca-certificates,stress-ng
guest_image=$cache/guest-$(cksum <<<"$guest_packages" | cut -d' ' -f1).img
export repo cache root checkout guest_packages guest_image

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

say() {
	echo "==> $*" >&2
}

# The machine's own Debian mirror: the repository its apt takes packages from.
debian_mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 -E '/debian/?$' ||
		die "apt of this machine names no Debian mirror: add one to /etc/apt/sources.list"
}

# need_commands COMMAND=PACKAGE...: installs what is missing where that is possible, else says what to install.
need_commands() {
	local pair missing=()
	for pair in "$@"; do
		command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		die "missing tools; as root: apt-get install ${missing[*]}"
	fi
	say "installing ${missing[*]}"
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
		die "could not install; as root: apt-get install ${missing[*]}"
}

# The newest prepared kernel, or the one of $VEXFS_KERNEL.
kernel_dir() {
	if [ -n "${VEXFS_KERNEL:-}" ]; then
		echo "$cache/linux-$VEXFS_KERNEL"
	else
		find "$cache" -maxdepth 1 -name 'linux-*' ! -name '*.part' 2>/dev/null | sort -V | tail -n 1
	fi
}

# in_root KERNEL_DIR COMMAND...: runs a command in the Debian 13 root with the kernel at /k, the repository read-only
# at /src and module build folders at /build. The mounts live and die with a mount namespace of their own, so that
# nothing that removes the cache later can reach through one of them.
in_root() {
	local kernel=$1
	shift
	[ "$(id -u)" = 0 ] || die "must run as root (it uses chroot)"
	mkdir -p "$root/k" "$root/src" "$root/build" "$cache/build"
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare -m --propagation private bash -c '
		set -e
		root=$1 kernel=$2 repo=$3 build=$4
		shift 4
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount --bind "$kernel" "$root/k"
		mount --bind "$build" "$root/build"
		mount --bind "$repo" "$root/src"
		mount -o remount,bind,ro "$root/src"
		exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TERM="${TERM:-dumb}" "$@"
	' in_root "$root" "$kernel" "$repo" "$cache/build" "$@"
}

# The prepared kernel, or a line that says how to get one.
need_kernel() {
	local dir
	dir=$(kernel_dir)
	[ -e "${dir:-/nonexistent}/release" ] || die "no kernel prepared; run: scripts/qemu/prepare"
	[ -d "$root" ] || die "the cache is incomplete; run: make distclean-cache && scripts/qemu/prepare"
	echo "$dir"
}

# Whether KVM runs the stock kernel here. /dev/kvm can exist and not work, so a kernel is booted once.
kvm_works() {
	local answer tmp
	[ -w /dev/kvm ] || return 1
	answer=$cache/kvm-$(cat /proc/sys/kernel/random/boot_id)
	if [ ! -e "$answer" ]; then
		tmp=$(mktemp -d)
		mkdir "$tmp/root" && cp "$(command -v busybox)" "$tmp/root/busybox"
		printf '#!/busybox sh\necho it-runs\n/busybox poweroff -f\n' >"$tmp/root/init"
		chmod +x "$tmp/root/init"
		(cd "$tmp/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp/initrd"
		timeout 30 qemu-system-x86_64 -accel kvm -cpu host -m 512M -nographic -no-reboot -nic none \
			-kernel "$(need_kernel)/vmlinuz" -initrd "$tmp/initrd" -append "console=ttyS0 panic=-1 quiet" \
			</dev/null >"$tmp/console" 2>&1 || true
		rm -f "$cache"/kvm-*
		if grep -q it-runs "$tmp/console"; then echo yes; else echo no; fi >"$answer"
		rm -rf "$tmp"
	fi
	[ "$(cat "$answer")" = yes ]
}

# Whether this machine's cargo can build the workspace (rust-version in Cargo.toml).
host_cargo() {
	local version
	version=$(cd "$repo" && cargo --version 2>/dev/null | cut -d' ' -f2)
	[ -n "$version" ] && [ "$(printf '1.85.0\n%s\n' "${version%%-*}" | sort -V | head -n 1)" = 1.85.0 ]
}

# cargo_in TARGET ARGUMENT...: cargo in the checkout, with a target folder of its own; the machine's cargo where it is
# new enough, else the prepared root's. Sets `target_dir` to where the results are. $RUSTFLAGS is passed on.
cargo_in() {
	local target=$1 kernel
	shift
	if host_cargo; then
		target_dir=${CARGO_TARGET_DIR:-$repo/target}
		[ "$target" = . ] || target_dir+=/$target
		(cd "$repo" && CARGO_TARGET_DIR=$target_dir cargo "$@")
	else
		kernel=$(need_kernel)
		target_dir=$cache/build/cargo-target/$target
		# The root reaches the network as this machine does: its resolver, its certificates, its proxies.
		cp -L /etc/resolv.conf "$root/etc/resolv.conf"
		if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
			cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
		fi
		local proxies=()
		mapfile -t proxies < <(env | grep -iE '^(https?|no|all)_proxy=')
		in_root "$kernel" env -C /src "${proxies[@]}" CARGO_HOME=/build/cargo CARGO_TERM_COLOR=never \
			CARGO_TARGET_DIR="/build/cargo-target/$target" RUSTFLAGS="${RUSTFLAGS:-}" cargo "$@"
	fi
}
