// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The file of a segment: written once, in order and in large pieces, then only read.
//!
//! What is written counts for nothing until a collection item names the file; a crash before that leaves a hidden file
//! that the next change removes. The header comes last, since it has the checksums of everything else.

use super::account::MemoryAccount;
use super::format;
use super::format::Header;
use super::format::Refusal;
use super::format::SectionExtent;
use crate::index::Section;
use crate::params::Params;
use crate::permit::Permit;
use crate::permit::Permitted;
use crate::Ino;
use crate::Time;
use vexfs_core::Fs;
use vexfs_host::crc32c;
use vexfs_host::log;
use vexfs_host::mem::Buffer;
use vexfs_host::mem::U64Map;
use vexfs_host::mem::Vec;
use vexfs_host::nofs;
use vexfs_host::relax;
use vexfs_host::sync::Arc;
use vexfs_host::sync::Mutex;
use vexfs_host::Error;
use vexfs_host::Result;

/// Bytes written at once.
const WRITE: usize = 8 << 20;
/// Bytes read and checked between two cooperative points.
const READ: usize = 1 << 20;
/// Bytes of a piece of a section that has a checksum of its own in memory.
pub(super) const PIECE: usize = 16 * 1024;

/// The segment files in use: those are not removed, though no collection item names them any more.
pub(crate) struct FileRefs {
    users: Mutex<U64Map<u32>>,
}

impl FileRefs {
    /// No files.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            users: Mutex::new(U64Map::new())?,
        })
    }

    /// Whether somebody may still read the file.
    pub(crate) fn is_used(&self, file: Ino) -> bool {
        self.users.lock().contains(file)
    }

    fn take(&self, file: Ino) -> Result {
        // Memory pressure gives files back.
        let _nofs = nofs();
        let mut users = self.users.lock();
        let count = users.get(file).copied().unwrap_or(0);
        users.insert(file, count.saturating_add(1)).map(|_| ())
    }

    fn give_back(&self, file: Ino) {
        let mut users = self.users.lock();
        match users.get_mut(file) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(users.remove(file)),
        }
    }
}

/// What the files of a collection have in common.
#[derive(Clone)]
pub(crate) struct CollectionContext {
    pub(crate) fs: Arc<Fs>,
    pub(crate) dir: Ino,
    pub(crate) params: Params,
    pub(crate) file_refs: Arc<FileRefs>,
    pub(crate) account: Arc<MemoryAccount>,
}

/// A segment file in use.
pub(crate) struct File {
    context: CollectionContext,
    ino: Ino,
}

impl File {
    /// The file with this number, which the directory owns.
    pub(crate) fn new(context: &CollectionContext, ino: Ino) -> Result<Self> {
        context.file_refs.take(ino)?;
        Ok(Self {
            context: context.clone(),
            ino,
        })
    }

    pub(crate) fn ino(&self) -> Ino {
        self.ino
    }

    pub(crate) fn context(&self) -> &CollectionContext {
        &self.context
    }

    pub(crate) fn damaged(&self, what: &'static str) -> Error {
        log!(err, "collection {}: {}, object {}", self.context.dir, what, self.ino);
        Error::corrupt(what, u64::MAX, self.context.dir)
    }

    /// Reads and checks the header.
    #[inline(never)] // own frame
    pub(crate) fn header(&self) -> Result<(Header, Vec<SectionExtent>)> {
        let CollectionContext { fs, dir, params, .. } = &self.context;
        let inode = fs.inode(self.ino).map_err(|e| match e {
            Error::NotFound => self.damaged("collection without one of its segments"),
            e => e,
        })?;
        if !inode.is_hidden() || inode.parent != *dir {
            return Err(self.damaged("collection with a segment that is not its own"));
        }
        let mut bytes = Vec::new();
        bytes.resize(inode.size.min(format::HEAD_MAX as u64) as usize, 0)?;
        let read = fs.read(self.ino, 0, &mut bytes)?;
        bytes.truncate(read);
        format::decode(&bytes, inode.size, params, *dir, self.ino).map_err(|refusal| match refusal {
            Refusal::Damaged(what) => self.damaged(what),
            Refusal::Failed(e) => e,
        })
    }

    /// Reads and checks a section.
    pub(crate) fn section(&self, place: &SectionExtent) -> Result<Buffer> {
        let len = usize::try_from(place.len).map_err(|_| Error::NoMemory)?;
        let mut buffer = Buffer::zeroed(len)?;
        let (mut csum, mut at) = (0, place.offset);
        for piece in buffer.as_bytes_mut().chunks_mut(READ) {
            if self.context.fs.read(self.ino, at, piece)? != piece.len() {
                return Err(self.damaged("segment cut short"));
            }
            csum = crc32c(csum, piece);
            at = at.saturating_add(piece.len() as u64);
            relax()?;
        }
        if csum != place.csum {
            return Err(self.damaged("section of a segment has a wrong checksum"));
        }
        Ok(buffer)
    }

    /// Reads and checks a section without keeping it. Returns the checksums of its pieces.
    pub(super) fn sums(&self, place: &SectionExtent) -> Result<Vec<u32>> {
        let mut buffer = Vec::new();
        buffer.resize(READ.min(usize::try_from(place.len).unwrap_or(READ)), 0)?;
        let pieces = usize::try_from(place.len).map_err(|_| Error::NoMemory)?.div_ceil(PIECE);
        let mut sums = Vec::with_capacity(pieces)?;
        let (mut csum, mut at) = (0, 0);
        while at < place.len {
            let len = (READ as u64).min(place.len - at) as usize;
            let bytes = buffer.get_mut(..len).unwrap_or_default();
            let offset = place.offset.saturating_add(at);
            if self.context.fs.read(self.ino, offset, bytes)? != len {
                return Err(self.damaged("segment cut short"));
            }
            csum = crc32c(csum, bytes);
            for piece in bytes.chunks(PIECE) {
                sums.push(crc32c(0, piece))?;
            }
            at = at.saturating_add(len as u64);
            relax()?;
        }
        if csum != place.csum {
            return Err(self.damaged("section of a segment has a wrong checksum"));
        }
        Ok(sums)
    }

    /// Reads bytes of a section from `at` on, as whole pieces that are checked. Returns the bytes read.
    pub(super) fn pieces(&self, place: &SectionExtent, sums: &[u32], at: u64, out: &mut [u8]) -> Result<u64> {
        let end = at.checked_add(out.len() as u64).filter(|end| *end <= place.len);
        if end.is_none() {
            return Err(self.damaged("section of a segment is too short"));
        }
        let piece = PIECE as u64;
        let mut buffer: Vec<u8> = Vec::new();
        let (mut start, mut rest, mut read) = (at - at % piece, out, 0u64);
        let mut skip = (at % piece) as usize;
        while !rest.is_empty() {
            let len = piece.min(place.len.saturating_sub(start)) as usize;
            buffer.resize(len, 0)?;
            let offset = place.offset.saturating_add(start);
            if self.context.fs.read(self.ino, offset, &mut buffer)? != len {
                return Err(self.damaged("segment cut short"));
            }
            if sums.get((start / piece) as usize) != Some(&crc32c(0, &buffer)) {
                return Err(self.damaged("section of a segment has a wrong checksum"));
            }
            let bytes = buffer.get(skip..).unwrap_or_default();
            let count = bytes.len().min(rest.len());
            let (now, later) = core::mem::take(&mut rest).split_at_mut(count);
            now.copy_from_slice(bytes.get(..count).unwrap_or_default());
            (rest, skip) = (later, 0);
            start = start.saturating_add(piece);
            read = read.saturating_add(len as u64);
            relax()?;
        }
        Ok(read)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.context.file_refs.give_back(self.ino);
    }
}

/// How a segment is written.
#[derive(Clone, Copy)]
pub(crate) struct Writing<'a> {
    /// Asked before each piece.
    pub(crate) permit: &'a dyn Permit,
    /// More is freed afterwards than written now: a full device's reserve may be used.
    pub(crate) urgent: bool,
}

/// Writes to a file in order.
struct Output<'a> {
    fs: &'a Fs,
    file: Ino,
    how: Writing<'a>,
    /// Where the bytes of `pending` go.
    at: u64,
    pending: Vec<u8>,
}

impl Output<'_> {
    fn write(&self, at: u64, bytes: &[u8]) -> Result {
        let _permitted = Permitted::by(self.how.permit)?;
        match self.how.urgent {
            true => self.fs.write_urgent(self.file, at, bytes, Time::now())?,
            false => self.fs.write(self.file, at, bytes, Time::now())?,
        };
        Ok(())
    }

    fn end(&self) -> u64 {
        self.at.saturating_add(self.pending.len() as u64)
    }

    fn flush(&mut self) -> Result {
        if !self.pending.is_empty() {
            self.write(self.at, &self.pending)?;
            self.at = self.end();
            self.pending.clear();
        }
        Ok(())
    }

    fn pad_to(&mut self, end: u64) -> Result {
        let zeros = usize::try_from(end.saturating_sub(self.end())).map_err(|_| Error::Overflow)?;
        let len = self.pending.len().checked_add(zeros).ok_or(Error::Overflow)?;
        self.pending.resize(len, 0)
    }

    /// Appends a section that begins at `offset`.
    fn section(&mut self, offset: u64, mut bytes: &[u8]) -> Result {
        self.pad_to(offset)?;
        while !bytes.is_empty() {
            // Large pieces are not copied; what is pending before them ends at a page.
            if self.pending.is_empty() && bytes.len() >= WRITE {
                let (piece, rest) = bytes.split_at(WRITE);
                self.write(self.at, piece)?;
                self.at = self.at.saturating_add(WRITE as u64);
                bytes = rest;
            } else {
                let room = if bytes.len() >= WRITE {
                    0
                } else {
                    WRITE.saturating_sub(self.pending.len())
                };
                let (piece, rest) = bytes.split_at(room.min(bytes.len()));
                self.pending.extend_from_slice(piece)?;
                bytes = rest;
                if self.pending.len() >= WRITE || !bytes.is_empty() {
                    self.flush()?;
                }
            }
            relax()?;
        }
        Ok(())
    }
}

fn checksum(bytes: &[u8]) -> Result<u32> {
    let mut csum = 0;
    for piece in bytes.chunks(READ) {
        csum = crc32c(csum, piece);
        relax()?;
    }
    Ok(csum)
}

/// Writes a segment of these sections to a new file. The header's length is set, and the places are returned.
pub(crate) fn write(
    file: &File,
    header: &mut Header,
    sections: &[&Section],
    how: Writing<'_>,
) -> Result<Vec<SectionExtent>> {
    if sections.len() > format::SECTIONS_MAX {
        return Err(Error::TooBig("sections of a segment"));
    }
    let context = &file.context;
    let mut places = Vec::with_capacity(sections.len())?;
    let mut out = Output {
        fs: &context.fs,
        file: file.ino,
        how,
        at: format::BODY,
        pending: Vec::new(),
    };
    for section in sections {
        let bytes = section.bytes.as_bytes();
        let offset = format::place_after(out.end(), bytes.len() as u64);
        out.section(offset, bytes)?;
        places.push(SectionExtent {
            kind: section.kind,
            csum: checksum(bytes)?,
            offset,
            len: bytes.len() as u64,
        })?;
    }
    out.flush()?;
    header.len = out.at;
    let head = format::encode(header, &places, &context.params, context.dir, file.ino)?;
    out.write(0, &head)?;
    Ok(places)
}
