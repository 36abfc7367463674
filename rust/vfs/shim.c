// SPDX-License-Identifier: GPL-2.0
/*
 * Inline wrappers only; see shim.h.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/siphash.h>
#include <linux/vmalloc.h>

#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#ifndef CONFIG_UML
#include <asm/fpu/types.h>
#endif

#include "shim.h"

/* Scheduling, signals, allocation scopes. */

void vexfs_cond_resched(void)
{
	cond_resched();
}

bool vexfs_killed(void)
{
	return fatal_signal_pending(current) && !(current->flags & PF_EXITING);
}

unsigned int vexfs_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void vexfs_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

/* Hashes. */

u64 vexfs_siphash(const void *data, size_t len, u64 key0, u64 key1)
{
	siphash_aligned_key_t key = { .key = { key0, key1 } };

	return siphash(data, len, &key);
}

/* Block devices and bios. */

u64 vexfs_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

unsigned int vexfs_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

unsigned int vexfs_bdev_max_discard_sectors(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev);
}

unsigned int vexfs_bdev_dma_alignment(struct block_device *bdev)
{
	return bdev_dma_alignment(bdev);
}

bool vexfs_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

struct bio *vexfs_bio_alloc(struct block_device *bdev, unsigned short vecs, blk_opf_t opf, gfp_t gfp)
{
	return bio_alloc(bdev, vecs, opf, gfp);
}

int vexfs_bio_error(struct bio *bio)
{
	return blk_status_to_errno(bio->bi_status);
}

unsigned int vexfs_bio_add_virt(struct bio *bio, void *addr, unsigned int len)
{
	struct page *page = is_vmalloc_addr(addr) ? vmalloc_to_page(addr) : virt_to_page(addr);

	return bio_add_page(bio, page, len, offset_in_page(addr));
}
