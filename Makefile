# SPDX-License-Identifier: GPL-2.0
#
# make                 vexfs.ko for the running kernel, in build/<release>/
# make module          vexfs.ko for the newest stock Debian kernel, which is prepared first (as root, with apt)
# make user            mkfs.vexfs and vexctl, in target/release/
# make demo            everything: boots the stock kernel in QEMU and shows the filesystem and a search
# make test            all tests; ends with "N passed, M failed"
# make uml             two User Mode Linux kernels to run the module in: a sanitized one for tests, a fast one for figures
# make bench           benchmarks, on the host and beside ext4 and XFS in the fast kernel
# make bench-ann       vector search beside hnswlib, faiss, usearch and diskannpy; scripts/bench-ann lists the settings
# make soak            the long form of the tests that look for rare events: hours; scripts/soak lists parts and settings
# make fuzz            every fuzz target for TIME seconds (600)
# make lint            formatting, clippy, shellcheck, the C header
# make clean           what was built here; make distclean-cache: the prepared kernel and roots too
#
# KDIR=... another kernel's build folder, VEXFS_CACHE=... another place for the cache.

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
OUT  := $(CURDIR)/build/$(KVER)

.PHONY: all
all:
	@scripts/check-kernel $(KDIR)
	@mkdir -p $(OUT)
	$(MAKE) -C $(KDIR) M=$(CURDIR) MO=$(OUT) modules
	@echo "built $(OUT)/vexfs.ko"

.PHONY: prepare
prepare:
	@scripts/qemu/prepare

.PHONY: uml
uml:
	@scripts/uml/prepare

.PHONY: module
module:
	@scripts/qemu/prepare kernel
	@scripts/qemu/build

.PHONY: user
user:
	cargo build --release --locked -p mkfs-vexfs -p vexctl
	@ln -f target/release/mkfs-vexfs target/release/mkfs.vexfs

.PHONY: demo
demo:
	@scripts/qemu/prepare
	@scripts/qemu/guest tests/guest/demo

.PHONY: test
test:
	@scripts/qemu/prepare
	@scripts/test-run

.PHONY: bench
bench:
	@scripts/qemu/prepare
	@scripts/bench

# Settings such as BASE=, QUERY=, INDEXES=, QUICK=1 reach the script by the environment.
.PHONY: bench-ann
bench-ann:
	@scripts/bench-ann

.PHONY: soak
soak:
	@scripts/qemu/prepare
	@scripts/soak

.PHONY: fuzz
fuzz:
	@scripts/fuzz

.PHONY: check lint
check lint:
	@scripts/lint

.PHONY: clean
clean:
	rm -rf build target

.PHONY: distclean-cache
distclean-cache:
	@scripts/qemu/clean-cache
