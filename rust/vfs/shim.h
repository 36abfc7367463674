/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inline C functions and macros of the kernel as linkable symbols, for Rust. Nothing here has a policy, a loop or a
 * branch of its own. The functions keep the names of what they wrap, after vexfs_.
 */
#ifndef VEXFS_SHIM_H
#define VEXFS_SHIM_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/security.h>
#include <linux/uio.h>
#include <linux/workqueue.h>

/* Scheduling, signals, allocation scopes. */
bool vexfs_spin_once(void);
void vexfs_cond_resched(void);
bool vexfs_killed(void);
void vexfs_memalloc_retry_wait(void);
void vexfs_nap(void);
void *vexfs_kvmalloc_nofail(size_t size);
void *vexfs_memcg_charge_root(void);
void vexfs_memcg_restore(void *memcg);
unsigned int vexfs_memalloc_nofs_save(void);
void vexfs_memalloc_nofs_restore(unsigned int flags);

/* Hashes. */
u64 vexfs_siphash(const void *data, size_t len, u64 key0, u64 key1);

/* Block devices and bios. */
u64 vexfs_bdev_nr_bytes(struct block_device *bdev);
unsigned int vexfs_bdev_logical_block_size(struct block_device *bdev);
unsigned int vexfs_bdev_max_discard_sectors(struct block_device *bdev);
unsigned int vexfs_bdev_dma_alignment(struct block_device *bdev);
bool vexfs_bdev_read_only(struct block_device *bdev);
struct bio *vexfs_bio_alloc(struct block_device *bdev, unsigned short vecs, blk_opf_t opf, gfp_t gfp);
int vexfs_bio_error(struct bio *bio);
void vexfs_bio_io_error(struct bio *bio);
unsigned int vexfs_bio_add_virt(struct bio *bio, void *addr, unsigned int len);

/* Floating point. */
void vexfs_fpu_begin(void);
void vexfs_fpu_end(void);
bool vexfs_cpu_has_avx2(void);
bool vexfs_cpu_has_fma(void);
bool vexfs_cpu_has_f16c(void);
bool vexfs_cpu_has_popcnt(void);
bool vexfs_cpu_has_ymm_state(void);
bool vexfs_cpu_has_avx512(void);

/* File data: locks, folios, iterators, faults, work items. */
void vexfs_inode_lock(struct inode *inode);
bool vexfs_inode_trylock(struct inode *inode);
void vexfs_inode_unlock(struct inode *inode);
void vexfs_inode_lock_shared(struct inode *inode);
bool vexfs_inode_trylock_shared(struct inode *inode);
void vexfs_inode_unlock_shared(struct inode *inode);
void vexfs_filemap_invalidate_lock(struct address_space *mapping);
void vexfs_filemap_invalidate_unlock(struct address_space *mapping);
void vexfs_filemap_invalidate_lock_shared(struct address_space *mapping);
void vexfs_filemap_invalidate_unlock_shared(struct address_space *mapping);
void vexfs_mapping_set_folio_min_order(struct address_space *mapping, unsigned int min);
void vexfs_mapping_set_stable_writes(struct address_space *mapping);
void *vexfs_map_bvec(const struct bio_vec *bv, unsigned int done, unsigned int *len);
void *vexfs_kmap_local_folio(struct folio *folio, size_t offset);
void vexfs_kunmap_local(const void *addr);
loff_t vexfs_folio_pos(struct folio *folio);
size_t vexfs_folio_size(struct folio *folio);
bool vexfs_folio_test_uptodate(struct folio *folio);
void vexfs_mapping_set_error(struct address_space *mapping, int error);
void vexfs_folio_zero_range(struct folio *folio, size_t start, size_t length);
size_t vexfs_iov_iter_count(const struct iov_iter *iter);
void vexfs_sb_start_pagefault(struct super_block *sb);
void vexfs_sb_end_pagefault(struct super_block *sb);
ssize_t vexfs_generic_write_sync(struct kiocb *iocb, ssize_t count);
void vexfs_file_accessed(struct file *file);
struct dentry *vexfs_dget(struct dentry *dentry);
struct file *vexfs_dentry_open(const struct path *path, int flags);
int vexfs_security_path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode);
int vexfs_security_path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
			       struct dentry *new_dentry, unsigned int flags);
void vexfs_fsnotify_modify(struct file *file);
struct mnt_idmap *vexfs_file_mnt_idmap(struct file *file);
void vexfs_init_work(struct work_struct *work, work_func_t func);

/* Inodes, dentries, superblocks. */
struct inode *vexfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache);
loff_t vexfs_i_size_read(const struct inode *inode);
void vexfs_i_size_write(struct inode *inode, loff_t size);
struct timespec64 vexfs_inode_get_ctime(const struct inode *inode);
bool vexfs_is_sync(const struct inode *inode);
bool vexfs_is_dirsync(const struct inode *inode);
void vexfs_inode_set_cached_link(struct inode *inode, char *link, int len);
u32 vexfs_new_encode_dev(dev_t dev);
dev_t vexfs_new_decode_dev(u32 dev);
bool vexfs_dir_emit(struct dir_context *ctx, const char *name, int len, u64 ino, unsigned int type);
bool vexfs_dir_emit_dots(struct file *file, struct dir_context *ctx);
int vexfs_finish_open_simple(struct file *file, int error);
void vexfs_sb_start_intwrite(struct super_block *sb);
void vexfs_sb_end_intwrite(struct super_block *sb);
int vexfs_security_inode_init_security(struct inode *inode, struct inode *dir, const struct qstr *qstr,
				       initxattrs initxattrs, void *fs_data);
void vexfs_super_set_uuid(struct super_block *sb, const u8 *uuid, unsigned int len);
int vexfs_sync_filesystem(struct super_block *sb);
bool vexfs_write_back(struct super_block *sb);
void vexfs_init_delayed_work(struct delayed_work *work, work_func_t func);
bool vexfs_queue_delayed_work(struct delayed_work *work, unsigned int msecs);

#endif
