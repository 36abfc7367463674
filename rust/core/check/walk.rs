// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The walk over the tree: validates every node and hands the items on in key order.

use super::object::Object;
use super::Checker;
use super::Problem;
use crate::format::node::DiskEntry;
use crate::format::node::DiskItem;
use crate::format::node::DiskNode;
use crate::format::node::NodePtr;
use crate::format::node::ENTRY_BYTES;
use crate::format::node::ITEM_HEADER;
use crate::format::node::NODE_HEADER;
use crate::format::node::NODE_MAGIC;
use crate::format::Key;
use crate::format::ITEM_MAX;
use crate::format::MAX_LEVELS;
use vexfs_host::crc32c;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Result;
use zerocopy::FromBytes;

/// A node on the way from the root to where the walk is.
struct Frame {
    buf: Vec<u8>,
    ptr: NodePtr,
    /// The entry to visit next.
    next: usize,
    /// The keys that belong below this node: from `low`, up to but without `high`.
    low: Key,
    high: Option<Key>,
}

impl Checker<'_> {
    /// Visits all nodes and items.
    pub(super) fn walk(&mut self) -> Result<()> {
        let root = self.sb.root();
        if root.level >= MAX_LEVELS {
            self.report.complete = false;
            return self
                .add(Problem::at(root.block, "the tree is too high").numbers(MAX_LEVELS.into(), root.level.into()));
        }
        let mut object = Object::default();
        let mut path: Vec<Frame> = Vec::with_capacity(usize::from(MAX_LEVELS))?;
        if let Some(frame) = self.read_node(root, Key::MIN, None)? {
            path.push(frame)?;
        }
        while let Some(frame) = path.last_mut() {
            relax()?;
            if frame.ptr.level == 0 {
                if let Some(leaf) = path.pop() {
                    self.leaf(&leaf, &mut object)?;
                }
                continue;
            }
            let at = frame.next;
            frame.next = at.saturating_add(1);
            let Some(entry) = entry(&frame.buf, at) else {
                path.pop();
                continue;
            };
            let child = entry.ptr(frame.ptr.level.saturating_sub(1));
            let low = if at == 0 { frame.low } else { entry.key() };
            let high = match self::entry(&frame.buf, frame.next) {
                Some(next) => Some(next.key()),
                None => frame.high,
            };
            if let Some(frame) = self.read_node(child, low, high)? {
                path.push(frame)?;
            }
        }
        self.end_object(&mut object)
    }

    /// Reads and validates a node. `None`: it is damaged, which has been reported.
    fn read_node(&mut self, ptr: NodePtr, low: Key, high: Option<Key>) -> Result<Option<Frame>> {
        let blocks = u64::from(self.geo.node_blocks);
        if !self.geo.is_node_place(ptr.block) {
            self.report.complete = false;
            self.add(Problem::at(ptr.block, "pointer to a place where no node can be"))?;
            return Ok(None);
        }
        self.claim(ptr.block, blocks, 0)?;
        self.report.nodes = self.report.nodes.saturating_add(1);
        let mut buf = Vec::new();
        buf.resize(self.geo.node_size as usize, 0u8)?;
        if let Err(e) = self.dev.read(self.geo.byte(ptr.block), &mut buf) {
            vexfs_host::log!(err, "node {}: {}", ptr.block, e);
            self.report.complete = false;
            self.add(Problem::at(ptr.block, "node cannot be read"))?;
            return Ok(None);
        }
        match self.validate(&buf, &ptr, low, high)? {
            None => Ok(Some(Frame {
                buf,
                ptr,
                next: 0,
                low,
                high,
            })),
            Some(what) => {
                self.report.complete = false;
                self.add(Problem::at(ptr.block, what))?;
                Ok(None)
            }
        }
    }

    /// What is wrong with a node as such.
    fn validate(&mut self, buf: &[u8], ptr: &NodePtr, low: Key, high: Option<Key>) -> Result<Option<&'static str>> {
        let Ok((head, _)) = DiskNode::ref_from_prefix(buf) else {
            return Ok(Some("node too short"));
        };
        if head.magic.get() != NODE_MAGIC {
            return Ok(Some("node with a wrong magic number"));
        }
        let csum = crc32c(0, buf.get(8..).unwrap_or(&[]));
        if head.csum.get() != csum {
            return Ok(Some("node with a wrong checksum"));
        }
        if ptr.csum != csum || head.birth.get() != ptr.birth {
            return Ok(Some("node that is not the one its parent points to"));
        }
        if head.block.get() != ptr.block || head.uuid != self.sb.uuid {
            return Ok(Some("node of another place or filesystem"));
        }
        if head.level != ptr.level {
            return Ok(Some("node of a wrong level"));
        }
        if head.birth.get() > self.report.txg {
            return Ok(Some("node born after the superblock"));
        }
        if head.flags != 0 || head.reserved != [0; 16] {
            return Ok(Some("node with reserved bits set"));
        }
        let nr = usize::from(head.nr.get());
        let start = head.data_start.get() as usize;
        let each = if ptr.level == 0 { ITEM_HEADER } else { ENTRY_BYTES };
        let end = nr.saturating_mul(each).saturating_add(NODE_HEADER);
        if start > buf.len() || end > start || (ptr.level > 0 && start != buf.len()) {
            return Ok(Some("node whose contents overlap"));
        }
        // A leaf may be empty: merging it with a neighbour takes memory, which may be short.
        if nr == 0 && ptr.level > 0 {
            return Ok(Some("empty node"));
        }
        if ptr.level == 0 {
            check_items(buf, nr, start, low, high)
        } else {
            Ok(check_entries(buf, nr, low, high))
        }
    }

    fn leaf(&mut self, leaf: &Frame, object: &mut Object) -> Result<()> {
        let mut at = 0;
        while let Some(item) = item(&leaf.buf, at) {
            at = at.saturating_add(1);
            self.report.items = self.report.items.saturating_add(1);
            self.item(object, &item.key(), data(&leaf.buf, item), leaf.ptr.block)?;
        }
        Ok(())
    }
}

/// Element `at` of the array behind a node's header.
fn element<T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable>(buf: &[u8], at: usize) -> Option<&T> {
    let (head, _) = DiskNode::ref_from_prefix(buf).ok()?;
    if at >= usize::from(head.nr.get()) {
        return None;
    }
    let start = at.checked_mul(size_of::<T>())?.checked_add(NODE_HEADER)?;
    T::ref_from_prefix(buf.get(start..)?).ok().map(|(t, _)| t)
}

fn entry(buf: &[u8], at: usize) -> Option<&DiskEntry> {
    element(buf, at)
}

fn item(buf: &[u8], at: usize) -> Option<&DiskItem> {
    element(buf, at)
}

fn data<'a>(buf: &'a [u8], item: &DiskItem) -> &'a [u8] {
    let start = usize::from(item.data_off.get());
    let end = start.saturating_add(usize::from(item.data_len.get()));
    buf.get(start..end).unwrap_or(&[])
}

fn in_range(key: &Key, low: &Key, high: Option<&Key>) -> bool {
    key >= low && high.is_none_or(|h| key < h)
}

fn check_entries(buf: &[u8], nr: usize, low: Key, high: Option<Key>) -> Option<&'static str> {
    let mut last: Option<Key> = None;
    for at in 0..nr {
        let e = entry(buf, at)?;
        let key = e.key();
        // The first entry's own key means nothing: its child begins where this node does.
        if last.is_some_and(|l| key <= l) || (at > 0 && !in_range(&key, &low, high.as_ref())) {
            return Some("entries out of order or out of the node's range");
        }
        if e.reserved != [0; 7] || e.reserved2.get() != 0 {
            return Some("entry with reserved bits set");
        }
        last = Some(key);
    }
    None
}

fn check_items(buf: &[u8], nr: usize, start: usize, low: Key, high: Option<Key>) -> Result<Option<&'static str>> {
    let mut last: Option<Key> = None;
    let mut total = 0usize;
    let mut places: Vec<(u16, u16)> = Vec::with_capacity(nr)?;
    for at in 0..nr {
        let Some(i) = item(buf, at) else {
            return Ok(Some("item out of the node"));
        };
        let key = i.key();
        if last.is_some_and(|l| key <= l) || !in_range(&key, &low, high.as_ref()) {
            return Ok(Some("items out of order or out of the node's range"));
        }
        if i.flags != 0 || i.reserved.get() != 0 {
            return Ok(Some("item with reserved bits set"));
        }
        let (off, len) = (usize::from(i.data_off.get()), usize::from(i.data_len.get()));
        if len > ITEM_MAX {
            return Ok(Some("item larger than any may be"));
        }
        if len > 0 {
            if off < start || off.saturating_add(len) > buf.len() {
                return Ok(Some("item whose data is outside the node"));
            }
            total = total.saturating_add(len);
            places.push((i.data_off.get(), i.data_len.get()))?;
        }
        last = Some(key);
    }
    if total > buf.len().saturating_sub(start) {
        return Ok(Some("items whose data overlaps"));
    }
    places.sort_unstable();
    let mut end = 0usize;
    for (off, len) in &places {
        if usize::from(*off) < end {
            return Ok(Some("items whose data overlaps"));
        }
        end = usize::from(*off).saturating_add(usize::from(*len));
    }
    Ok(None)
}

use core::mem::size_of;
