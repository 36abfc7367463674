// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A node in memory: the bytes it has on disk, and the few numbers of its header in native form.
//!
//! Clean nodes are kept by [`cache`], read by [`store`], and fetched by operations that hold no lock meanwhile
//! ([`fetch`]). Dirty ones belong to the tree ([`btree`](crate::btree)).
//!
//! A node that came from a device was checked in full by [`Node::parse`]; one that was made here keeps the same
//! invariants:
//!
//! - keys ascend strictly;
//! - `HEADER + nr * (size of an item header or entry) <= data_start <= buf.len()`;
//! - every item's data lies in `data_start..buf.len()`, and `live` is the sum of their lengths;
//! - an internal node has at least one entry.
//!
//! The header in the bytes is brought up to date only by [`Node::seal`]. Should an invariant be broken all the same,
//! the functions return nothing or refuse; they never panic.

pub(crate) mod cache;
pub(crate) mod fetch;
pub(crate) mod store;

use crate::format::node::*;
use crate::format::Geometry;
use crate::format::Key;
use crate::format::ITEM_MAX;
use core::cmp::Ordering;
use core::ops::Range;
use vexfs_host::crc32c;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;

/// A node of the tree.
pub struct Node {
    buf: Vec<u8>,
    block: u64,
    birth: u64,
    level: u8,
    nr: usize,
    data_start: usize,
    live: usize,
}

/// Orders an item or entry against a key.
#[inline]
fn order(obj: u64, kind: u8, offset: u64, key: &Key) -> Ordering {
    obj.cmp(&key.obj)
        .then(kind.cmp(&key.kind.0))
        .then(offset.cmp(&key.offset))
}

impl Node {
    /// An empty node.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn new(size: u32, block: u64, birth: u64, level: u8) -> Result<Node> {
        let mut buf = Vec::new();
        buf.resize(size as usize, 0)?;
        let data_start = buf.len();
        Ok(Node {
            buf,
            block,
            birth,
            level,
            nr: 0,
            data_start,
            live: 0,
        })
    }

    /// A copy that will be written to `block`.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn copy_to(&self, block: u64, birth: u64) -> Result<Node> {
        Ok(Node {
            buf: self.buf.try_clone()?,
            block,
            birth,
            ..*self
        })
    }

    /// Takes over the bytes of a node that were read from where `ptr` points, after checking all of them.
    ///
    /// # Errors
    ///
    /// `Corrupt` if they are not exactly a node that a pointer `ptr` may point to.
    pub fn parse(buf: Vec<u8>, geo: &Geometry, uuid: &[u8; 16], ptr: &NodePtr) -> Result<Node> {
        let bad = |what| Err(Error::corrupt(what, ptr.block, 0));
        let Ok((head, _)) = DiskNode::ref_from_prefix(&buf) else {
            return bad("tree node: too short");
        };
        let head = *head;
        if head.magic.get() != NODE_MAGIC {
            return bad("tree node: wrong magic");
        }
        let csum = crc32c(0, buf.get(8..).unwrap_or(&[]));
        if head.csum.get() != csum {
            return bad("tree node: wrong checksum");
        }
        if head.uuid != *uuid {
            return bad("tree node: of another filesystem");
        }
        if head.block.get() != ptr.block {
            return bad("tree node: written for another block");
        }
        if head.birth.get() != ptr.birth || csum != ptr.csum {
            return bad("tree node: not the one its parent points to (a lost write)");
        }
        if head.level != ptr.level {
            return bad("tree node: at the wrong level");
        }
        let mut node = Node {
            block: ptr.block,
            birth: ptr.birth,
            level: head.level,
            nr: usize::from(head.nr.get()),
            data_start: head.data_start.get() as usize,
            live: 0,
            buf,
        };
        if node.buf.len() != geo.node_size as usize
            || node.data_start > node.buf.len()
            || node.array_end() > node.data_start
        {
            return bad("tree node: impossible header");
        }
        node.live = match node.level {
            0 => node.check_items(),
            _ => node.check_entries(geo),
        }?;
        Ok(node)
    }

    /// Checks the items of a leaf; returns how many bytes of data they have.
    fn check_items(&self) -> Result<usize> {
        let bad = |what, owner| Err(Error::corrupt(what, self.block, owner));
        let mut live = 0usize;
        let mut last: Option<Key> = None;
        for item in self.items() {
            let key = item.key();
            if last.is_some_and(|l| l >= key) {
                return bad("tree leaf: items out of order", key.obj);
            }
            last = Some(key);
            let (off, len) = (usize::from(item.data_off.get()), usize::from(item.data_len.get()));
            if len > ITEM_MAX || (len > 0 && (off < self.data_start || off + len > self.buf.len())) {
                return bad("tree leaf: an item's data lies outside", key.obj);
            }
            live += len;
        }
        if live > self.buf.len() - self.data_start {
            return bad("tree leaf: items overlap", 0);
        }
        Ok(live)
    }

    /// Checks the entries of an internal node; returns 0, the bytes of data they have.
    fn check_entries(&self, geo: &Geometry) -> Result<usize> {
        let bad = |what| Err(Error::corrupt(what, self.block, 0));
        if self.nr == 0 || self.data_start != self.buf.len() {
            return bad("internal tree node: impossible header");
        }
        let mut last: Option<Key> = None;
        for entry in self.entries() {
            let key = entry.key();
            if last.is_some_and(|l| l >= key) {
                return bad("internal tree node: entries out of order");
            }
            last = Some(key);
            // Copy-on-write renews all ancestors of a node, so none is older.
            if !geo.is_node_place(entry.block.get()) || entry.birth.get() > self.birth {
                return bad("internal tree node: impossible pointer");
            }
        }
        Ok(0)
    }

    /// The block this node is or will be written to.
    #[inline]
    pub fn block(&self) -> u64 {
        self.block
    }

    /// The transaction group that writes this node.
    #[inline]
    pub fn birth(&self) -> u64 {
        self.birth
    }

    /// The level; 0 is a leaf.
    #[inline]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Number of items or entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.nr
    }

    /// Whether it has neither items nor entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.nr == 0
    }

    /// The bytes; what is written after [`Node::seal`].
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Bytes of one element of the array behind the header.
    #[inline]
    fn stride(&self) -> usize {
        if self.level == 0 {
            ITEM_HEADER
        } else {
            ENTRY_BYTES
        }
    }

    /// Where the array behind the header ends.
    #[inline]
    fn array_end(&self) -> usize {
        NODE_HEADER + self.nr * self.stride()
    }

    /// Bytes in use behind the header.
    #[inline]
    pub fn used(&self) -> usize {
        self.nr * self.stride() + self.live
    }

    /// Bytes there are behind the header.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.buf.len() - NODE_HEADER
    }

    /// The headers of a leaf's items.
    #[inline]
    pub fn items(&self) -> &[DiskItem] {
        let body = self.buf.get(NODE_HEADER..).unwrap_or(&[]);
        match <[DiskItem]>::ref_from_prefix_with_elems(body, self.nr) {
            Ok((items, _)) if self.level == 0 => items,
            _ => &[],
        }
    }

    fn items_mut(&mut self) -> &mut [DiskItem] {
        if self.level != 0 {
            return &mut [];
        }
        let body = self.buf.get_mut(NODE_HEADER..).unwrap_or(&mut []);
        match <[DiskItem]>::mut_from_prefix_with_elems(body, self.nr) {
            Ok((items, _)) => items,
            _ => &mut [],
        }
    }

    /// The entries of an internal node.
    #[inline]
    pub fn entries(&self) -> &[DiskEntry] {
        let body = self.buf.get(NODE_HEADER..).unwrap_or(&[]);
        match <[DiskEntry]>::ref_from_prefix_with_elems(body, self.nr) {
            Ok((entries, _)) if self.level != 0 => entries,
            _ => &[],
        }
    }

    fn entries_mut(&mut self) -> &mut [DiskEntry] {
        if self.level == 0 {
            return &mut [];
        }
        let body = self.buf.get_mut(NODE_HEADER..).unwrap_or(&mut []);
        match <[DiskEntry]>::mut_from_prefix_with_elems(body, self.nr) {
            Ok((entries, _)) => entries,
            _ => &mut [],
        }
    }

    /// The data of an item of this leaf.
    #[inline]
    pub fn data(&self, item: &DiskItem) -> &[u8] {
        let (off, len) = (usize::from(item.data_off.get()), usize::from(item.data_len.get()));
        self.buf.get(off..off + len).unwrap_or(&[])
    }

    /// Where `key` is among a leaf's items, or where it would have to be inserted.
    #[inline]
    pub fn find(&self, key: &Key) -> core::result::Result<usize, usize> {
        self.items()
            .binary_search_by(|i| order(i.obj.get(), i.kind, i.offset.get(), key))
    }

    /// Which entry leads to `key`: the last one whose key is not above it, or the first.
    #[inline]
    pub fn child_of(&self, key: &Key) -> usize {
        let above = self
            .entries()
            .partition_point(|e| order(e.obj.get(), e.kind, e.offset.get(), key) != Ordering::Greater);
        above.saturating_sub(1)
    }

    /// Inserts an item at `at`, where [`Node::find`] said it belongs. False, and no change, if there is no room.
    pub fn insert(&mut self, at: usize, key: &Key, data: &[u8], scratch: &mut [u8]) -> bool {
        if data.len() > ITEM_MAX || at > self.nr || self.level != 0 {
            return false;
        }
        if self.used() + ITEM_HEADER + data.len() > self.capacity() || self.nr == usize::from(u16::MAX) {
            return false;
        }
        if self.array_end() + ITEM_HEADER + data.len() > self.data_start {
            self.compact(scratch);
        }
        let Some(off) = self.place(data, ITEM_HEADER) else {
            return false;
        };
        if !self.open_gap(at) {
            return false;
        }
        self.live += data.len();
        let item = DiskItem {
            obj: key.obj.into(),
            offset: key.offset.into(),
            kind: key.kind.0,
            flags: 0,
            data_off: (off as u16).into(),
            data_len: (data.len() as u16).into(),
            reserved: 0.into(),
        };
        if let Some(slot) = self.items_mut().get_mut(at) {
            *slot = item;
        }
        true
    }

    /// Copies data below `data_start`, if `extra` bytes of array still fit then, and returns where it is.
    fn place(&mut self, data: &[u8], extra: usize) -> Option<usize> {
        if data.is_empty() {
            return (self.array_end() + extra <= self.data_start).then_some(0);
        }
        let off = self.data_start.checked_sub(data.len())?;
        if off < self.array_end() + extra {
            return None;
        }
        self.buf.get_mut(off..self.data_start)?.copy_from_slice(data);
        self.data_start = off;
        Some(off)
    }

    /// Shifts the elements from `at` on up by one and counts the new one.
    fn open_gap(&mut self, at: usize) -> bool {
        let stride = self.stride();
        let end = self.array_end();
        let from = NODE_HEADER + at * stride;
        if from > end || end + stride > self.buf.len() {
            return false;
        }
        self.buf.copy_within(from..end, from + stride);
        self.nr += 1;
        true
    }

    /// Shifts the elements behind `range` down over it and uncounts those in it.
    fn close_gap(&mut self, range: Range<usize>) {
        let stride = self.stride();
        let end = self.array_end();
        let (from, to) = (NODE_HEADER + range.end * stride, NODE_HEADER + range.start * stride);
        if from <= end && to <= from {
            self.buf.copy_within(from..end, to);
            self.nr -= range.len();
        }
    }

    /// Forgets an item's data.
    fn release(&mut self, item: &DiskItem) {
        let (off, len) = (usize::from(item.data_off.get()), usize::from(item.data_len.get()));
        self.live = self.live.saturating_sub(len);
        if len > 0 && off == self.data_start {
            self.data_start += len;
        }
    }

    /// Removes the item at `at`.
    pub fn remove(&mut self, at: usize) {
        let Some(item) = self.items().get(at).copied() else {
            return;
        };
        self.release(&item);
        self.close_gap(at..at + 1);
    }

    /// Gives the item at `at` other data. False, and no change, if there is no room.
    pub fn replace(&mut self, at: usize, data: &[u8], scratch: &mut [u8]) -> bool {
        let Some(item) = self.items().get(at).copied() else {
            return false;
        };
        let (off, len) = (usize::from(item.data_off.get()), usize::from(item.data_len.get()));
        if data.len() == len {
            if let Some(place) = self.buf.get_mut(off..off + len) {
                place.copy_from_slice(data);
            }
            return true;
        }
        if data.len() > ITEM_MAX || self.used() - len + data.len() > self.capacity() {
            return false;
        }
        self.release(&item);
        self.set_data(at, 0, 0);
        if self.array_end() + data.len() > self.data_start {
            self.compact(scratch);
        }
        match self.place(data, 0) {
            Some(off) => {
                self.set_data(at, off, data.len());
                self.live += data.len();
                true
            }
            None => false,
        }
    }

    fn set_data(&mut self, at: usize, off: usize, len: usize) {
        if let Some(item) = self.items_mut().get_mut(at) {
            item.data_off = (off as u16).into();
            item.data_len = (len as u16).into();
        }
    }

    /// Moves all data to the end, so that all free space is in one piece. `scratch` is as large as a node.
    fn compact(&mut self, scratch: &mut [u8]) {
        let (Some(from), Some(copy)) = (
            self.buf.get(self.data_start..),
            scratch.get_mut(self.data_start..self.buf.len()),
        ) else {
            return;
        };
        copy.copy_from_slice(from);
        let mut end = self.buf.len();
        for at in 0..self.nr {
            let Some(item) = self.items().get(at).copied() else {
                return;
            };
            let (off, len) = (usize::from(item.data_off.get()), usize::from(item.data_len.get()));
            if len == 0 {
                continue;
            }
            end -= len;
            if let (Some(to), Some(data)) = (self.buf.get_mut(end..end + len), scratch.get(off..off + len)) {
                to.copy_from_slice(data);
            }
            self.set_data(at, end, len);
        }
        self.data_start = end;
    }

    /// Inserts an entry at `at`. False, and no change, if there is no room.
    pub fn insert_entry(&mut self, at: usize, entry: &DiskEntry) -> bool {
        if self.level == 0 || at > self.nr || self.is_full() || !self.open_gap(at) {
            return false;
        }
        if let Some(slot) = self.entries_mut().get_mut(at) {
            *slot = *entry;
        }
        true
    }

    /// Whether an internal node has no room for another entry.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.array_end() + ENTRY_BYTES > self.buf.len()
    }

    /// Removes the entry at `at`.
    pub fn remove_entry(&mut self, at: usize) {
        if self.level != 0 && at < self.nr {
            self.close_gap(at..at + 1);
        }
    }

    /// Points the entry at `at` elsewhere.
    pub fn set_ptr(&mut self, at: usize, ptr: &NodePtr) {
        if let Some(entry) = self.entries_mut().get_mut(at) {
            entry.block = ptr.block.into();
            entry.birth = ptr.birth.into();
            entry.csum = ptr.csum.into();
        }
    }

    /// Notes the checksum of the child that the entry at `at` points to.
    pub fn set_csum(&mut self, at: usize, csum: u32) {
        if let Some(entry) = self.entries_mut().get_mut(at) {
            entry.csum = csum.into();
        }
    }

    /// Gives an entry of an internal node another key, which keeps its place in the order.
    pub fn set_key(&mut self, at: usize, key: &Key) {
        if let Some(entry) = self.entries_mut().get_mut(at) {
            entry.obj = key.obj.into();
            entry.kind = key.kind.0;
            entry.offset = key.offset.into();
        }
    }

    /// The data of the item at `at`, to change.
    pub fn data_mut(&mut self, at: usize) -> Option<&mut [u8]> {
        let item = self.items().get(at)?;
        let (off, len) = (usize::from(item.data_off.get()), usize::from(item.data_len.get()));
        self.buf.get_mut(off..off + len)
    }

    /// The key of the first item or entry from `at` on.
    pub fn key_at(&self, at: usize) -> Option<Key> {
        match self.level {
            0 => self.items().get(at).map(DiskItem::key),
            _ => self.entries().get(at).map(DiskEntry::key),
        }
    }

    /// Where to split this leaf into two of about the same number of bytes. Both have items then, if there are two.
    pub fn middle(&self) -> usize {
        let half = self.used() / 2;
        let mut sum = 0;
        let mut at = 0;
        for item in self.items() {
            if sum >= half {
                break;
            }
            sum += ITEM_HEADER + usize::from(item.data_len.get());
            at += 1;
        }
        at.clamp(1, self.nr.saturating_sub(1).max(1))
    }

    /// Moves the items or entries from `at` on to the end of `right`, a node of the same level whose keys, if any, are
    /// all lower and which has room for them.
    pub fn move_tail(&mut self, at: usize, right: &mut Node, scratch: &mut [u8]) {
        let at = at.min(self.nr);
        right.append(self, at);
        if self.level == 0 {
            let gone = self.items().get(at..).unwrap_or(&[]).iter();
            let gone: usize = gone.map(|i| usize::from(i.data_len.get())).sum();
            self.live = self.live.saturating_sub(gone);
        }
        self.close_gap(at..self.nr);
        if self.level == 0 {
            self.compact(scratch);
        }
    }

    /// Appends copies of the items or entries of `from` from `at` on; they are above all keys here and there is room.
    pub fn append(&mut self, from: &Node, at: usize) {
        if self.level == 0 {
            for item in from.items().get(at..).unwrap_or(&[]) {
                self.insert(self.nr, &item.key(), from.data(item), &mut []);
            }
        } else {
            for entry in from.entries().get(at..).unwrap_or(&[]) {
                self.insert_entry(self.nr, entry);
            }
        }
    }

    /// Makes the free space of a leaf one piece, so that [`Node::append`] needs no scratch space.
    pub fn tidy(&mut self, scratch: &mut [u8]) {
        if self.level == 0 && self.data_start + self.live != self.buf.len() {
            self.compact(scratch);
        }
    }

    /// Writes header and checksum into the bytes, which are then ready for the device. Returns the checksum.
    pub fn seal(&mut self, uuid: &[u8; 16]) -> u32 {
        let head = DiskNode {
            magic: NODE_MAGIC.into(),
            csum: 0.into(),
            block: self.block.into(),
            uuid: *uuid,
            birth: self.birth.into(),
            level: self.level,
            flags: 0,
            nr: (self.nr as u16).into(),
            data_start: (self.data_start as u32).into(),
            reserved: [0; 16],
        };
        // Nothing that was removed stays readable in the gap.
        let end = self.array_end();
        if let Some(gap) = self.buf.get_mut(end..self.data_start) {
            gap.fill(0);
        }
        if let Some(place) = self.buf.get_mut(..NODE_HEADER) {
            place.copy_from_slice(head.as_bytes());
        }
        let csum = crc32c(0, self.buf.get(8..).unwrap_or(&[]));
        if let Some(place) = self.buf.get_mut(4..8) {
            place.copy_from_slice(&csum.to_le_bytes());
        }
        csum
    }
}
