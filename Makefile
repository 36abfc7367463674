# SPDX-License-Identifier: GPL-2.0
#
# make                 vexfs.ko for the running kernel, in build/<release>/
# make module          vexfs.ko for the newest stock Debian kernel, which is prepared first (as root, with apt)
# make user            mkfs.vexfs and vexctl, in target/release/, their manual pages and shell completions, in target/share/
# make install         all of that, the C header and the module's sources, under DESTDIR and PREFIX (/usr/local)
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
	cargo build --release --locked -p mkfs-vexfs -p vexctl -p vexfs-pages
	@ln -f target/release/mkfs-vexfs target/release/mkfs.vexfs
	@rm -rf target/share && target/release/vexfs-pages target/share docs/man

PREFIX  ?= /usr/local
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOURCES := Kbuild Makefile include rust src scripts/check-kernel

.PHONY: install
install: user
	install -D -m 755 target/release/mkfs.vexfs $(DESTDIR)$(PREFIX)/sbin/mkfs.vexfs
	install -D -m 755 target/release/vexctl $(DESTDIR)$(PREFIX)/bin/vexctl
	mkdir -p $(DESTDIR)$(PREFIX)/share
	tar -c -C target/share . | tar -x --no-same-owner -C $(DESTDIR)$(PREFIX)/share
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 docs/man/vexfs.5
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/include/linux include/uapi/linux/vexfs.h
	mkdir -p $(DESTDIR)$(PREFIX)/src/vexfs-$(VERSION)
	tar -c $(SOURCES) | tar -x -C $(DESTDIR)$(PREFIX)/src/vexfs-$(VERSION)

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
