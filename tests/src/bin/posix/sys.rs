// SPDX-License-Identifier: Apache-2.0
//! System calls that `std::fs` does not wrap, as safe functions returning `io::Result`.
//!
//! Credentials change for one thread only (raw system calls), so [`as_user`] leaves the rest of the program root.

use std::ffi::CString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Turns the C convention (-1 and `errno`) into a `Result`.
pub fn cvt<T: Into<i64> + Copy>(ret: T) -> io::Result<i64> {
    let ret: i64 = ret.into();
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// A NUL-terminated copy of a path.
pub fn cstr(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).expect("a path without NUL")
}

pub fn open(path: impl AsRef<Path>, flags: i32, mode: u32) -> io::Result<File> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated and lives through the call.
    let fd = cvt(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

/// Opens for reading and writing, creating the file with mode 0644.
pub fn rw(path: impl AsRef<Path>) -> File {
    open(&path, libc::O_RDWR | libc::O_CREAT, 0o644).unwrap_or_else(|e| panic!("open {}: {e}", path.as_ref().display()))
}

/// Like [`rw`], with O_DIRECT.
pub fn rw_direct(path: impl AsRef<Path>) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .unwrap_or_else(|e| panic!("open O_DIRECT {}: {e}", path.as_ref().display()))
}

pub fn renameat2(from: impl AsRef<Path>, to: impl AsRef<Path>, flags: u32) -> io::Result<()> {
    let (from, to) = (cstr(from), cstr(to));
    // SAFETY: both strings are NUL-terminated and live through the call.
    cvt(unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) }).map(drop)
}

/// Gives the open file `file` (possibly an O_TMPFILE) a name.
pub fn link_fd(file: &File, to: impl AsRef<Path>) -> io::Result<()> {
    let from = cstr(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let to = cstr(to);
    // SAFETY: both strings are NUL-terminated and live through the call.
    cvt(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })
    .map(drop)
}

pub fn mknod(path: impl AsRef<Path>, mode: u32, dev: u64) -> io::Result<()> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated and lives through the call.
    cvt(unsafe { libc::mknod(path.as_ptr(), mode, dev) }).map(drop)
}

/// A path-based call that std lacks an exact match for.
pub fn rmdir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated and lives through the call.
    cvt(unsafe { libc::rmdir(path.as_ptr()) }).map(drop)
}

pub fn unlink(path: impl AsRef<Path>) -> io::Result<()> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated and lives through the call.
    cvt(unsafe { libc::unlink(path.as_ptr()) }).map(drop)
}

pub fn truncate(path: impl AsRef<Path>, len: i64) -> io::Result<()> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated and lives through the call.
    cvt(unsafe { libc::truncate(path.as_ptr(), len) }).map(drop)
}

/// `utimensat` without following symlinks; times as (seconds, nanoseconds).
pub fn utimens(path: impl AsRef<Path>, atime: (i64, i64), mtime: (i64, i64)) -> io::Result<()> {
    let path = cstr(path);
    let times = [
        libc::timespec {
            tv_sec: atime.0,
            tv_nsec: atime.1,
        },
        libc::timespec {
            tv_sec: mtime.0,
            tv_nsec: mtime.1,
        },
    ];
    // SAFETY: `path` is NUL-terminated, `times` holds two elements; both live through the call.
    cvt(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) }).map(drop)
}

pub fn lseek(file: &File, off: i64, whence: i32) -> io::Result<i64> {
    // SAFETY: takes no pointers.
    cvt(unsafe { libc::lseek(file.as_raw_fd(), off, whence) })
}

pub fn fallocate(file: &File, mode: i32, off: i64, len: i64) -> io::Result<()> {
    // SAFETY: takes no pointers.
    cvt(unsafe { libc::fallocate(file.as_raw_fd(), mode, off, len) }).map(drop)
}

pub fn syncfs(file: &File) -> io::Result<()> {
    // SAFETY: takes no pointers.
    cvt(unsafe { libc::syncfs(file.as_raw_fd()) }).map(drop)
}

pub fn access(path: impl AsRef<Path>, mode: i32) -> io::Result<()> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated. AT_EACCESS: the effective ids of this thread count.
    cvt(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) }).map(drop)
}

pub fn chown(path: impl AsRef<Path>, uid: u32, gid: u32) -> io::Result<()> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated and lives through the call.
    cvt(unsafe { libc::lchown(path.as_ptr(), uid, gid) }).map(drop)
}

pub fn chmod(path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let path = cstr(path);
    // SAFETY: `path` is NUL-terminated and lives through the call.
    cvt(unsafe { libc::chmod(path.as_ptr(), mode) }).map(drop)
}

pub fn statx(path: impl AsRef<Path>, mask: u32) -> io::Result<libc::statx> {
    let path = cstr(path);
    // SAFETY: all-zero is a valid `statx`.
    let mut out: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and `out` is large enough for what the kernel writes.
    cvt(unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW, mask, &mut out) })?;
    Ok(out)
}

pub fn statfs(path: impl AsRef<Path>) -> io::Result<libc::statfs> {
    let path = cstr(path);
    // SAFETY: all-zero is a valid `statfs`.
    let mut out: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated and `out` is large enough for what the kernel writes.
    cvt(unsafe { libc::statfs(path.as_ptr(), &mut out) })?;
    Ok(out)
}

pub fn set_xattr(path: impl AsRef<Path>, name: &str, value: &[u8], flags: i32) -> io::Result<()> {
    let (path, name) = (cstr(path), cstr(name));
    // SAFETY: strings are NUL-terminated; `value` is valid for its length.
    cvt(unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) }).map(drop)
}

/// Reads an attribute into a buffer of `size` bytes; size 0 asks for the length only.
pub fn get_xattr_sized(path: impl AsRef<Path>, name: &str, size: usize) -> io::Result<(usize, Vec<u8>)> {
    let (path, name) = (cstr(path), cstr(name));
    let mut buf = vec![0u8; size];
    // SAFETY: strings are NUL-terminated; `buf` is valid for `size` bytes.
    let n =
        cvt(unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buf.as_mut_ptr().cast(), size) } as i64)? as usize;
    buf.truncate(n);
    Ok((n, buf))
}

pub fn get_xattr(path: impl AsRef<Path>, name: &str) -> io::Result<Vec<u8>> {
    get_xattr_sized(path, name, 65536).map(|(_, v)| v)
}

pub fn remove_xattr(path: impl AsRef<Path>, name: &str) -> io::Result<()> {
    let (path, name) = (cstr(path), cstr(name));
    // SAFETY: strings are NUL-terminated and live through the call.
    cvt(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

/// The names of all attributes, sorted.
pub fn list_xattr(path: impl AsRef<Path>) -> io::Result<Vec<String>> {
    let path = cstr(path);
    let mut buf = vec![0u8; 65536];
    // SAFETY: `path` is NUL-terminated; `buf` is valid for its length.
    let n = cvt(unsafe { libc::llistxattr(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) } as i64)? as usize;
    let mut names: Vec<String> = buf[..n]
        .split(|b| *b == 0)
        .filter(|s| !s.is_empty())
        .map(|s| String::from_utf8_lossy(s).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// One extent as FIEMAP reports it.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
    pub flags: u32,
}

pub const FIEMAP_EXTENT_LAST: u32 = 1;
pub const FIEMAP_EXTENT_DATA_INLINE: u32 = 0x200;
pub const FIEMAP_EXTENT_DELALLOC: u32 = 4;
pub const FIEMAP_FLAG_SYNC: u32 = 1;

#[repr(C)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; 256],
}

const FS_IOC_FIEMAP: u64 = 0xC020_660B;

pub fn fiemap(file: &File, flags: u32) -> io::Result<Vec<Extent>> {
    // SAFETY: all-zero is a valid `Fiemap`.
    let mut map: Box<Fiemap> = Box::new(unsafe { std::mem::zeroed() });
    map.length = u64::MAX;
    map.flags = flags;
    map.extent_count = 256;
    // SAFETY: `map` has the layout of struct fiemap followed by `extent_count` extents.
    cvt(unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, &mut *map) })?;
    Ok(map.extents[..map.mapped_extents as usize]
        .iter()
        .map(|e| Extent {
            logical: e.logical,
            physical: e.physical,
            length: e.length,
            flags: e.flags,
        })
        .collect())
}

const FIFREEZE: u64 = 0xC004_5877;
const FITHAW: u64 = 0xC004_5878;

pub fn freeze(dir: &File) -> io::Result<()> {
    // SAFETY: the argument is ignored by the kernel.
    cvt(unsafe { libc::ioctl(dir.as_raw_fd(), FIFREEZE as _, 0) }).map(drop)
}

pub fn thaw(dir: &File) -> io::Result<()> {
    // SAFETY: the argument is ignored by the kernel.
    cvt(unsafe { libc::ioctl(dir.as_raw_fd(), FITHAW as _, 0) }).map(drop)
}

pub fn mount(source: &str, target: impl AsRef<Path>, fstype: &str, flags: u64, data: &str) -> io::Result<()> {
    let (source, target, fstype, data) = (cstr(source), cstr(target), cstr(fstype), cstr(data));
    // SAFETY: all strings are NUL-terminated and live through the call.
    cvt(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            fstype.as_ptr(),
            flags as _,
            data.as_ptr().cast(),
        )
    })
    .map(drop)
}

pub fn umount(target: impl AsRef<Path>) -> io::Result<()> {
    let target = cstr(target);
    // SAFETY: `target` is NUL-terminated and lives through the call.
    cvt(unsafe { libc::umount2(target.as_ptr(), 0) }).map(drop)
}

/// Runs `f` on a thread of its own with the given user, group and no capabilities.
pub fn as_user<R: Send>(uid: u32, gid: u32, f: impl FnOnce() -> R + Send) -> R {
    as_user_in(uid, gid, &[], f)
}

/// Like [`as_user`], with supplementary groups.
pub fn as_user_in<R: Send>(uid: u32, gid: u32, groups: &[u32], f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // SAFETY: the raw calls change this thread only; `groups` is valid for its length.
            unsafe {
                assert_eq!(
                    libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
                    0,
                    "setgroups"
                );
                assert_eq!(libc::syscall(libc::SYS_setresgid, gid, gid, gid), 0, "setresgid");
                assert_eq!(libc::syscall(libc::SYS_setresuid, uid, uid, uid), 0, "setresuid");
            }
            f()
        });
        match worker.join() {
            Ok(r) => r,
            Err(e) => std::panic::resume_unwind(e),
        }
    })
}

/// Memory aligned for direct I/O.
pub struct Aligned {
    buf: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn new(len: usize) -> Aligned {
        let buf = vec![0u8; len + 4096];
        let start = buf.as_ptr().align_offset(4096);
        Aligned { buf, start, len }
    }

    pub fn of(data: &[u8]) -> Aligned {
        let mut a = Aligned::new(data.len());
        a.copy_from_slice(data);
        a
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buf[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.start + self.len]
    }
}

/// A memory mapping of a file, unmapped when dropped.
pub struct Mapping {
    addr: *mut u8,
    len: usize,
}

impl Mapping {
    pub fn new(file: &File, len: usize, flags: i32) -> io::Result<Mapping> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address the kernel chooses.
        let addr = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, file.as_raw_fd(), 0) };
        if addr == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { addr: addr.cast(), len })
    }

    pub fn shared(file: &File, len: usize) -> Mapping {
        Mapping::new(file, len, libc::MAP_SHARED).unwrap_or_else(|e| panic!("mmap: {e}"))
    }

    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is ours while `self` lives.
        cvt(unsafe { libc::msync(self.addr.cast(), self.len, libc::MS_SYNC) }).map(drop)
    }

    /// Copies out: other descriptors may change the bytes at any time, so no reference to them is handed out.
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at + len <= self.len);
        let mut out = vec![0u8; len];
        // SAFETY: inside the mapping, checked above; `out` does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(self.addr.add(at), out.as_mut_ptr(), len) };
        out
    }

    pub fn write(&self, at: usize, data: &[u8]) {
        assert!(at + data.len() <= self.len);
        // SAFETY: inside the mapping, checked above; `data` does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.addr.add(at), data.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.addr.cast(), self.len) };
    }
}

/// Runs `f` in a child process and returns its wait status.
pub fn in_child(f: impl FnOnce()) -> i32 {
    // SAFETY: the child runs `f` and leaves by `_exit`, touching no lock another thread could hold.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork");
        if pid == 0 {
            f();
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status
    }
}
