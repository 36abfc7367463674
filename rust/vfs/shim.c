// SPDX-License-Identifier: GPL-2.0
/*
 * Inline wrappers only; see shim.h.
 */
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/fsnotify.h>
#include <linux/highmem.h>
#include <linux/kdev_t.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/namei.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/siphash.h>
#include <linux/vmalloc.h>

#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#ifdef CONFIG_UML
#include <linux/bottom_half.h>
#include <linux/percpu.h>
#else
#include <asm/fpu/types.h>
#endif

#include "shim.h"

/* Scheduling, signals, allocation scopes. */

bool vexfs_spin_once(void)
{
	cpu_relax();
	return !need_resched();
}

void vexfs_cond_resched(void)
{
	cond_resched();
}

bool vexfs_killed(void)
{
	return fatal_signal_pending(current) && !(current->flags & PF_EXITING);
}

void vexfs_memalloc_retry_wait(void)
{
	memalloc_retry_wait(GFP_NOFS);
}

void vexfs_nap(void)
{
	usleep_range_state(20, 40, TASK_UNINTERRUPTIBLE);
}

void *vexfs_kvmalloc_nofail(size_t size)
{
	return kvzalloc(size, GFP_NOFS | __GFP_NOFAIL);
}

#ifdef CONFIG_MEMCG
void *vexfs_memcg_charge_root(void)
{
	return set_active_memcg(root_mem_cgroup);
}

void vexfs_memcg_restore(void *memcg)
{
	set_active_memcg(memcg);
}
#else
void *vexfs_memcg_charge_root(void)
{
	return NULL;
}

void vexfs_memcg_restore(void *memcg)
{
}
#endif

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

void vexfs_bio_io_error(struct bio *bio)
{
	bio_io_error(bio);
}

unsigned int vexfs_bio_add_virt(struct bio *bio, void *addr, unsigned int len)
{
	struct page *page = is_vmalloc_addr(addr) ? vmalloc_to_page(addr) : virt_to_page(addr);

	return bio_add_page(bio, page, len, offset_in_page(addr));
}

/* Floating point. */

#if defined(CONFIG_UML) && defined(CONFIG_DEBUG_ATOMIC_SLEEP)
/*
 * The host keeps the registers: a section costs nothing and forbids nothing. What a real one forbids is reported here all
 * the same, sleeping by the kernel's own checks.
 */
static DEFINE_PER_CPU(unsigned int, vexfs_fpu_depth);

void vexfs_fpu_begin(void)
{
	local_bh_disable();
	WARN_ONCE(this_cpu_inc_return(vexfs_fpu_depth) != 1, "floating-point sections nest");
}

void vexfs_fpu_end(void)
{
	WARN_ONCE(this_cpu_dec_return(vexfs_fpu_depth) != 0, "a floating-point section ends on another CPU");
	local_bh_enable();
}
#else
void vexfs_fpu_begin(void)
{
	kernel_fpu_begin();
}

void vexfs_fpu_end(void)
{
	kernel_fpu_end();
}
#endif

#ifdef CONFIG_X86_64
bool vexfs_cpu_has_avx2(void)
{
	return boot_cpu_has(X86_FEATURE_AVX2);
}

bool vexfs_cpu_has_fma(void)
{
	return boot_cpu_has(X86_FEATURE_FMA);
}

bool vexfs_cpu_has_f16c(void)
{
	return boot_cpu_has(X86_FEATURE_F16C);
}

bool vexfs_cpu_has_popcnt(void)
{
	return boot_cpu_has(X86_FEATURE_POPCNT);
}

/* In User Mode Linux the features are those that the host tells programs of, which are those whose registers it saves. */
#ifdef CONFIG_UML
static bool vexfs_cpu_saves_ymm(void)
{
	return boot_cpu_has(X86_FEATURE_AVX);
}

static bool vexfs_cpu_saves_zmm(void)
{
	return boot_cpu_has(X86_FEATURE_AVX512F);
}
#else
static bool vexfs_cpu_saves_ymm(void)
{
	return cpu_has_xfeatures(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM, NULL);
}

static bool vexfs_cpu_saves_zmm(void)
{
	return cpu_has_xfeatures(XFEATURE_MASK_AVX512, NULL);
}
#endif

bool vexfs_cpu_has_ymm_state(void)
{
	return vexfs_cpu_saves_ymm();
}

/* What rust/simd/x86_64/avx512 is made of, and that its registers are saved. */
bool vexfs_cpu_has_avx512(void)
{
	return boot_cpu_has(X86_FEATURE_AVX512F) && boot_cpu_has(X86_FEATURE_AVX512BW) &&
	       boot_cpu_has(X86_FEATURE_AVX512VL) && boot_cpu_has(X86_FEATURE_AVX512VBMI) &&
	       boot_cpu_has(X86_FEATURE_AVX512_VNNI) && boot_cpu_has(X86_FEATURE_AVX512_VPOPCNTDQ) &&
	       vexfs_cpu_saves_zmm();
}
#endif

/* File data: locks, folios, iterators, faults, work items. */

void vexfs_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

bool vexfs_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

void vexfs_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

void vexfs_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

bool vexfs_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

void vexfs_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

void vexfs_filemap_invalidate_lock(struct address_space *mapping)
{
	filemap_invalidate_lock(mapping);
}

void vexfs_filemap_invalidate_unlock(struct address_space *mapping)
{
	filemap_invalidate_unlock(mapping);
}

void vexfs_filemap_invalidate_lock_shared(struct address_space *mapping)
{
	filemap_invalidate_lock_shared(mapping);
}

void vexfs_filemap_invalidate_unlock_shared(struct address_space *mapping)
{
	filemap_invalidate_unlock_shared(mapping);
}

void vexfs_mapping_set_folio_min_order(struct address_space *mapping, unsigned int min)
{
	mapping_set_folio_min_order(mapping, min);
}

void vexfs_mapping_set_stable_writes(struct address_space *mapping)
{
	mapping_set_stable_writes(mapping);
}

/*
 * Maps what follows the first `done` bytes of a bvec, to the end of the page that they are in. NULL if somebody has pinned
 * that, and may write to it at any time.
 */
void *vexfs_map_bvec(const struct bio_vec *bv, unsigned int done, unsigned int *len)
{
	unsigned int offset = bv->bv_offset + done;
	struct page *page = bv->bv_page + (offset >> PAGE_SHIFT);

	if (folio_maybe_dma_pinned(page_folio(page)))
		return NULL;
	*len = min_t(unsigned int, bv->bv_len - done, PAGE_SIZE - offset_in_page(offset));
	return kmap_local_page(page) + offset_in_page(offset);
}

void *vexfs_kmap_local_folio(struct folio *folio, size_t offset)
{
	return kmap_local_folio(folio, offset);
}

void vexfs_kunmap_local(const void *addr)
{
	kunmap_local(addr);
}

loff_t vexfs_folio_pos(struct folio *folio)
{
	return folio_pos(folio);
}

size_t vexfs_folio_size(struct folio *folio)
{
	return folio_size(folio);
}

bool vexfs_folio_test_uptodate(struct folio *folio)
{
	return folio_test_uptodate(folio);
}

void vexfs_mapping_set_error(struct address_space *mapping, int error)
{
	mapping_set_error(mapping, error);
}

void vexfs_folio_zero_range(struct folio *folio, size_t start, size_t length)
{
	folio_zero_range(folio, start, length);
}

size_t vexfs_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}

void vexfs_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

void vexfs_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

ssize_t vexfs_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

void vexfs_file_accessed(struct file *file)
{
	file_accessed(file);
}

struct dentry *vexfs_dget(struct dentry *dentry)
{
	return dget(dentry);
}

struct file *vexfs_dentry_open(const struct path *path, int flags)
{
	return dentry_open(path, flags, current_cred());
}

int vexfs_security_path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)
{
	return security_path_mkdir(dir, dentry, mode_strip_umask(d_inode(dir->dentry), mode));
}

int vexfs_security_path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
			       struct dentry *new_dentry, unsigned int flags)
{
	return security_path_rename(old_dir, old_dentry, new_dir, new_dentry, flags);
}

void vexfs_fsnotify_modify(struct file *file)
{
	fsnotify_modify(file);
}

struct mnt_idmap *vexfs_file_mnt_idmap(struct file *file)
{
	return file_mnt_idmap(file);
}

void vexfs_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

/* Inodes, dentries, superblocks. */

struct inode *vexfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

loff_t vexfs_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void vexfs_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

struct timespec64 vexfs_inode_get_ctime(const struct inode *inode)
{
	return inode_get_ctime(inode);
}

bool vexfs_is_sync(const struct inode *inode)
{
	return IS_SYNC(inode);
}

bool vexfs_is_dirsync(const struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

void vexfs_inode_set_cached_link(struct inode *inode, char *link, int len)
{
	inode_set_cached_link(inode, link, len);
}

u32 vexfs_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

dev_t vexfs_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
}

bool vexfs_dir_emit(struct dir_context *ctx, const char *name, int len, u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}

bool vexfs_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

int vexfs_finish_open_simple(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

void vexfs_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

void vexfs_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

int vexfs_security_inode_init_security(struct inode *inode, struct inode *dir, const struct qstr *qstr,
				       initxattrs initxattrs, void *fs_data)
{
	return security_inode_init_security(inode, dir, qstr, initxattrs, fs_data);
}

void vexfs_super_set_uuid(struct super_block *sb, const u8 *uuid, unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

int vexfs_sync_filesystem(struct super_block *sb)
{
	int error;

	down_read(&sb->s_umount);
	error = sync_filesystem(sb);
	up_read(&sb->s_umount);
	return error;
}

bool vexfs_write_back(struct super_block *sb)
{
	if (!down_read_trylock(&sb->s_umount))
		return false;
	sync_inodes_sb(sb);
	up_read(&sb->s_umount);
	return true;
}

void vexfs_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

bool vexfs_queue_delayed_work(struct delayed_work *work, unsigned int msecs)
{
	return queue_delayed_work(system_dfl_wq, work, msecs_to_jiffies(msecs));
}
