// SPDX-License-Identifier: Apache-2.0
//! One file, changed in every way at once, against a copy in memory.
//!
//! Every read is compared with the copy, the length too. What is written is random, so that old data shows.

use crate::report;
use crate::Arguments;
use nix::fcntl::copy_file_range;
use nix::fcntl::fallocate;
use nix::fcntl::posix_fadvise;
use nix::fcntl::FallocateFlags;
use nix::fcntl::PosixFadviseAdvice;
use nix::sys::mman::mmap;
use nix::sys::mman::msync;
use nix::sys::mman::munmap;
use nix::sys::mman::MapFlags;
use nix::sys::mman::MsFlags;
use nix::sys::mman::ProtFlags;
use nix::unistd::lseek;
use nix::unistd::Whence;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use vexfs_tests::powercut::Random;
use vexfs_tests::stress::carry::Aligned;
use zerocopy::IntoBytes;

/// The longest the file gets.
const MAX: usize = 256 << 10;
/// The longest single operation.
const LONGEST: u64 = 64 << 10;
const PAGE: usize = 4096;
/// What direct I/O is aligned to.
const SECTOR: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Read,
    Write,
    Append,
    MapRead,
    MapWrite,
    DirectRead,
    DirectWrite,
    Truncate,
    Punch,
    Zero,
    Copy,
    Fsync,
    Reopen,
    Invalidate,
    SeekData,
}

use Step::*;

/// What each mode does, and how often.
fn weights(mode: &str) -> Result<&'static [(Step, u64)], String> {
    Ok(match mode {
        "buffered" => &[
            (Read, 20),
            (Write, 20),
            (Append, 4),
            (Truncate, 8),
            (Punch, 5),
            (Zero, 5),
            (Copy, 4),
            (Fsync, 2),
            (Reopen, 2),
            (Invalidate, 3),
            (SeekData, 3),
        ],
        "mapped" => &[
            (MapRead, 20),
            (MapWrite, 24),
            (Truncate, 8),
            (Punch, 5),
            (Zero, 5),
            (Fsync, 2),
            (Reopen, 2),
            (Invalidate, 3),
            (SeekData, 3),
        ],
        "direct" => &[
            (DirectRead, 20),
            (DirectWrite, 24),
            (Truncate, 8),
            (Punch, 5),
            (Zero, 5),
            (Copy, 2),
            (Fsync, 1),
            (Reopen, 2),
            (SeekData, 3),
        ],
        "mixed" => &[
            (Read, 12),
            (Write, 12),
            (Append, 3),
            (MapRead, 12),
            (MapWrite, 12),
            (DirectRead, 12),
            (DirectWrite, 12),
            (Truncate, 10),
            (Punch, 5),
            (Zero, 5),
            (Copy, 4),
            (Fsync, 2),
            (Reopen, 2),
            (Invalidate, 3),
            (SeekData, 3),
        ],
        _ => return Err(format!("no such mode: {mode}")),
    })
}

struct Exerciser {
    path: PathBuf,
    file: File,
    direct: File,
    copy: Vec<u8>,
    random: Random,
    /// The last operations, to tell when something differs.
    log: Vec<String>,
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

impl Exerciser {
    fn below(&mut self, n: usize) -> usize {
        self.random.below(n as u64) as usize
    }

    /// A length: small, around a page's, or any.
    fn length(&mut self) -> usize {
        1 + match self.below(4) {
            0 => self.below(100),
            1 => self.below(2 * PAGE),
            _ => self.random.below(LONGEST) as usize,
        }
    }

    /// A place: anywhere, or at the border of a page.
    fn place(&mut self, end: usize) -> usize {
        match self.below(3) {
            0 => self.below(end) / PAGE * PAGE,
            _ => self.below(end),
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&(self.random.below(1 << 53) << 8 | 1).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn store(&mut self, at: usize, data: &[u8]) {
        if self.copy.len() < at + data.len() {
            self.copy.resize(at + data.len(), 0);
        }
        self.copy[at..at + data.len()].copy_from_slice(data);
    }

    fn compare(&self, at: usize, got: &[u8]) -> io::Result<()> {
        let want = &self.copy[at.min(self.copy.len())..(at + got.len()).min(self.copy.len())];
        if got == want {
            return Ok(());
        }
        let differs = got
            .iter()
            .zip(want)
            .position(|(a, b)| a != b)
            .unwrap_or(want.len().min(got.len()));
        let bad = got.iter().zip(want).filter(|(a, b)| a != b).count();
        Err(io::Error::other(format!(
            "read {} bytes at {at:#x}, should be {}; {bad} differ, the first at {:#x}: {:?}, should be {:?}",
            got.len(),
            want.len(),
            at + differs,
            got.get(differs),
            want.get(differs)
        )))
    }

    /// A range of the file that has something, `None` in an empty file.
    fn range(&mut self) -> Option<(usize, usize)> {
        let end = self.copy.len();
        if end == 0 {
            return None;
        }
        let at = self.place(end);
        Some((at, self.length().min(end - at)))
    }

    fn step(&mut self, step: Step) -> io::Result<()> {
        match step {
            Read => {
                let (at, len) = (self.place(MAX), self.length());
                self.note(step, at, len);
                let mut got = vec![0xee; len];
                let n = self.file.read_at(&mut got, at as u64)?;
                self.compare_whole(at, len, &got[..n])
            }
            Write | Append => {
                let len = self.length();
                let at = if step == Append {
                    self.copy.len()
                } else {
                    self.place(MAX)
                };
                let len = len.min(MAX - at);
                let data = self.bytes(len);
                self.note(step, at, len);
                self.store(at, &data);
                self.file.write_all_at(&data, at as u64)
            }
            MapRead | MapWrite => self.mapped(step == MapWrite),
            DirectRead => {
                let unit = [SECTOR, PAGE][self.below(2)];
                let (at, len) = (self.place(MAX) / unit * unit, self.length().next_multiple_of(unit));
                self.note(step, at, len);
                let mut got = vec![Aligned([0xee; PAGE]); len.div_ceil(PAGE)];
                let n = self
                    .direct
                    .read_at(&mut got.as_mut_slice().as_mut_bytes()[..len], at as u64)?;
                self.compare_whole(at, len, &got.as_slice().as_bytes()[..n])
            }
            DirectWrite => {
                let unit = [SECTOR, PAGE, PAGE][self.below(3)];
                let at = self.place(MAX) / unit * unit;
                let len = self.length().next_multiple_of(unit).min(MAX - at);
                self.note(step, at, len);
                let data = self.bytes(len);
                let mut blocks = vec![Aligned([0; PAGE]); len.div_ceil(PAGE)];
                blocks.as_mut_slice().as_mut_bytes()[..len].copy_from_slice(&data);
                self.store(at, &data);
                self.direct
                    .write_all_at(&blocks.as_slice().as_bytes()[..len], at as u64)
            }
            Truncate => {
                let len = match self.below(4) {
                    0 => self.place(MAX),
                    _ => self.place(self.copy.len() + PAGE).min(MAX),
                };
                self.note(step, len, 0);
                self.copy.resize(len, 0);
                self.file.set_len(len as u64)
            }
            Punch | Zero => {
                let (at, len) = (self.place(MAX), self.length());
                self.note(step, at, len);
                let keep = step == Punch || self.below(2) == 0;
                let mut flags = match step {
                    Punch => FallocateFlags::FALLOC_FL_PUNCH_HOLE,
                    _ => FallocateFlags::FALLOC_FL_ZERO_RANGE,
                };
                let mut end = at + len;
                if keep {
                    flags |= FallocateFlags::FALLOC_FL_KEEP_SIZE;
                    end = end.min(self.copy.len());
                } else {
                    end = end.min(MAX);
                    self.copy.resize(self.copy.len().max(end), 0);
                }
                let stop = if keep { at + len } else { end };
                if at < end {
                    self.copy[at..end].fill(0);
                }
                match stop.checked_sub(at) {
                    None | Some(0) => Ok(()),
                    Some(len) => Ok(fallocate(&self.file, flags, at as i64, len as i64)?),
                }
            }
            Copy => {
                let Some((from, len)) = self.range() else { return Ok(()) };
                let to = self.place(MAX);
                let len = len.min(MAX - to);
                if len == 0 || from < to + len && to < from + len {
                    return Ok(());
                }
                self.note(step, from, len);
                self.note(step, to, len);
                let data = self.copy[from..from + len].to_vec();
                self.store(to, &data);
                let (mut i, mut o) = (from as i64, to as i64);
                let mut left = len;
                while left > 0 {
                    match copy_file_range(&self.file, Some(&mut i), &self.file, Some(&mut o), left)? {
                        0 => return Err(io::Error::other("copy_file_range copies nothing")),
                        n => left -= n,
                    }
                }
                Ok(())
            }
            Fsync => {
                self.note(step, 0, 0);
                if self.below(2) == 0 {
                    self.file.sync_all()
                } else {
                    self.file.sync_data()
                }
            }
            Reopen => {
                self.note(step, 0, 0);
                self.file = open(&self.path, 0)?;
                self.direct = open(&self.path, libc::O_DIRECT)?;
                Ok(())
            }
            Invalidate => {
                self.note(step, 0, 0);
                self.file.sync_data()?;
                Ok(posix_fadvise(
                    &self.file,
                    0,
                    0,
                    PosixFadviseAdvice::POSIX_FADV_DONTNEED,
                )?)
            }
            SeekData => self.seek(),
        }
    }

    fn note(&mut self, step: Step, at: usize, len: usize) {
        if self.log.len() >= 40 {
            self.log.remove(0);
        }
        self.log
            .push(format!("{step:?} {at:#x} {len:#x} (file {:#x})", self.copy.len()));
    }

    fn compare_whole(&self, at: usize, len: usize, got: &[u8]) -> io::Result<()> {
        let want = self.copy.len().saturating_sub(at).min(len);
        if got.len() != want {
            return Err(io::Error::other(format!(
                "read {} bytes at {at:#x}, should be {want}",
                got.len()
            )));
        }
        self.compare(at, got)
    }

    fn mapped(&mut self, write: bool) -> io::Result<()> {
        if write && self.below(4) == 0 {
            // Mappings cannot make a file longer; something has to.
            let len = self.place(MAX).max(self.copy.len());
            self.note(Truncate, len, 0);
            self.copy.resize(len, 0);
            self.file.set_len(len as u64)?;
        }
        let Some((at, len)) = self.range() else { return Ok(()) };
        self.note(if write { MapWrite } else { MapRead }, at, len);
        let start = at / PAGE * PAGE;
        // Up to the end of the last page: what is beyond the end of the file reads as zeros.
        let mapped_len = (at + len).next_multiple_of(PAGE) - start;
        let size = NonZeroUsize::new(mapped_len).ok_or(io::ErrorKind::InvalidInput)?;
        let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // SAFETY: a new mapping, of which only this function knows.
        let map = unsafe { mmap(None, size, prot, flags, &self.file, start as i64) }?;
        let base: *mut u8 = map.cast().as_ptr();
        let result = if write {
            let data = self.bytes(len);
            self.store(at, &data);
            // SAFETY: inside the mapping; through a pointer, as the kernel reads and writes it too.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), base.add(at - start), len) };
            match self.below(8) {
                // SAFETY: the mapping made above.
                0 => unsafe { msync(map, mapped_len, MsFlags::MS_SYNC) }.map_err(io::Error::from),
                _ => Ok(()),
            }
        } else {
            let mut got = vec![0xee; mapped_len];
            // SAFETY: all of the mapping, into a buffer of that length.
            unsafe { std::ptr::copy_nonoverlapping(base, got.as_mut_ptr(), mapped_len) };
            let end = self.copy.len().min(start + mapped_len);
            let beyond = &got[end - start..];
            if beyond.iter().any(|b| *b != 0) {
                Err(io::Error::other("a mapping shows something beyond the end of the file"))
            } else {
                self.compare(start, &got[..end - start])
            }
        };
        // SAFETY: the mapping made above, which nothing refers to any more.
        unsafe { munmap(map, mapped_len) }?;
        result
    }

    /// What SEEK_DATA calls a hole must read as zeros.
    fn seek(&mut self) -> io::Result<()> {
        let Some((at, _)) = self.range() else { return Ok(()) };
        self.note(SeekData, at, 0);
        let data = match lseek(&self.file, at as i64, Whence::SeekData) {
            Ok(data) => data as usize,
            Err(nix::errno::Errno::ENXIO) => self.copy.len(),
            Err(e) => return Err(e.into()),
        };
        if data < at || data > self.copy.len() {
            return Err(io::Error::other(format!("SEEK_DATA from {at:#x} gives {data:#x}")));
        }
        match self.copy[at..data].iter().position(|b| *b != 0) {
            None => Ok(()),
            Some(n) => Err(io::Error::other(format!("SEEK_DATA skips data at {:#x}", at + n))),
        }
    }

    fn run(&mut self, weights: &[(Step, u64)], operations: u64) -> Result<(), String> {
        let total: u64 = weights.iter().map(|(_, w)| w).sum();
        for n in 0..operations {
            let mut pick = self.random.below(total);
            let chosen = weights.iter().find(|(_, w)| {
                let here = pick < *w;
                pick = pick.wrapping_sub(*w);
                here
            });
            let step = chosen.map_or(Read, |(s, _)| *s);
            let done = self.step(step).and_then(|()| {
                let len = self.file.metadata()?.len();
                if len != self.copy.len() as u64 {
                    return Err(io::Error::other(format!(
                        "{len:#x} bytes long, should be {:#x}",
                        self.copy.len()
                    )));
                }
                // Now and then all of it.
                if n % 1000 == 999 {
                    let mut got = vec![0; self.copy.len()];
                    self.file.read_exact_at(&mut got, 0)?;
                    self.compare(0, &got)?;
                }
                Ok(())
            });
            done.map_err(|e| format!("operation {n}, {step:?}: {e}\n    {}", self.log.join("\n    ")))?;
        }
        Ok(())
    }
}

/// `stress exercise`
pub fn run(args: &Arguments) -> Result<bool, String> {
    let (path, copy) = (args.path(1)?, args.path(2)?);
    let (mode, operations, seed) = (
        args.text("mode", "mixed"),
        args.number("operations", 10_000)?,
        args.number("seed", 1)?,
    );
    let text = |e: io::Error| format!("{}: {e}", path.display());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(text)?;
    let mut exerciser = Exerciser {
        path: path.to_path_buf(),
        file,
        direct: open(path, libc::O_DIRECT).map_err(text)?,
        copy: Vec::new(),
        random: Random::new(seed),
        log: Vec::new(),
    };
    let result = exerciser.run(weights(mode)?, operations);
    std::fs::write(copy, &exerciser.copy).map_err(|e| format!("{}: {e}", copy.display()))?;
    Ok(report(
        &format!("{operations} {mode} operations, seed {seed}, agree with the copy"),
        result,
    ))
}
