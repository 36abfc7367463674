/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Input of the module's own bindgen run: headers whose types the kernel crate leaves opaque or does not bind.
 * What is taken from them stands in bindings_parameters. A macro that bindgen cannot evaluate (a cast, BIT(), a
 * function-like macro) gets a constant named VEXFS_CONST_<macro> below; the build drops the prefix.
 */

#include <linux/backing-dev.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/crc32.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fs_struct.h>
#include <linux/fsnotify.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/mnt_idmapping.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/statfs.h>
#include <linux/swap.h>
#include <linux/uio.h>
#include <linux/uuid.h>
#include <linux/vmalloc.h>
#include <linux/writeback.h>
#include <linux/xattr.h>

#include "shim.h"

/* Block layer operations and flags. */
const blk_opf_t VEXFS_CONST_REQ_OP_READ = REQ_OP_READ;
const blk_opf_t VEXFS_CONST_REQ_OP_WRITE = REQ_OP_WRITE;
const blk_opf_t VEXFS_CONST_REQ_SYNC = REQ_SYNC;
const blk_opf_t VEXFS_CONST_REQ_META = REQ_META;
const blk_opf_t VEXFS_CONST_REQ_PRIO = REQ_PRIO;
const blk_opf_t VEXFS_CONST_REQ_FUA = REQ_FUA;
const blk_opf_t VEXFS_CONST_REQ_PREFLUSH = REQ_PREFLUSH;

/* Allocation. */
const gfp_t VEXFS_CONST_GFP_NOFS = GFP_NOFS;
const gfp_t VEXFS_CONST_GFP_NOIO = GFP_NOIO;
const gfp_t VEXFS_CONST_GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER_MOVABLE;
const gfp_t VEXFS_CONST___GFP_FS = __GFP_FS;
const gfp_t VEXFS_CONST___GFP_DIRECT_RECLAIM = __GFP_DIRECT_RECLAIM;

/* Files. */
const int VEXFS_CONST_READ = READ;
const int VEXFS_CONST_WRITE = WRITE;
const int VEXFS_CONST_IOCB_HIPRI = IOCB_HIPRI;
const int VEXFS_CONST_IOCB_NOWAIT = IOCB_NOWAIT;
const int VEXFS_CONST_IOCB_APPEND = IOCB_APPEND;
const int VEXFS_CONST_IOCB_DSYNC = IOCB_DSYNC;
const unsigned int VEXFS_CONST_FMODE_READ = (__force unsigned int)FMODE_READ;
const unsigned int VEXFS_CONST_FMODE_WRITE = (__force unsigned int)FMODE_WRITE;
const unsigned int VEXFS_CONST_FMODE_NOWAIT = (__force unsigned int)FMODE_NOWAIT;
const unsigned int VEXFS_CONST_FMODE_CAN_ODIRECT = (__force unsigned int)FMODE_CAN_ODIRECT;

/* Slab caches. */
const slab_flags_t VEXFS_CONST_SLAB_RECLAIM_ACCOUNT = SLAB_RECLAIM_ACCOUNT;
const slab_flags_t VEXFS_CONST_SLAB_ACCOUNT = SLAB_ACCOUNT;

/* Superblock flags. */
const unsigned int VEXFS_CONST_SB_RDONLY = SB_RDONLY;
const unsigned int VEXFS_CONST_SB_SILENT = SB_SILENT;
