// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Keys of the tree: (object, kind, offset), compared in this order.

/// What an item is. A newtype rather than an `enum`, since a byte from disk may hold a kind of a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Kind(pub u8);

impl Kind {
    /// Attributes of an object; offset 0.
    pub const INODE: Kind = Kind(1);
    /// A directory entry; the offset is the hash of the name, which is also the readdir cookie.
    pub const DIRENT: Kind = Kind(2);
    /// A chunk of an extended attribute; the offset is the hash of the name, a slot and the chunk's number.
    pub const XATTR: Kind = Kind(3);
    /// A run of data blocks; the offset is the first logical block.
    pub const EXTENT: Kind = Kind(4);
    /// The contents of logical block 0 of a small file; offset 0.
    pub const INLINE: Kind = Kind(5);
    /// The target of a symbolic link; offset 0.
    pub const SYMLINK: Kind = Kind(6);
    /// An object without a name that must be freed; object 0, the offset is its inode number.
    pub const ORPHAN: Kind = Kind(7);
    /// The parameters of a collection; offset 0.
    pub const COLLECTION: Kind = Kind(8);
    /// Reserved: a segment of a collection.
    pub const SEGMENT: Kind = Kind(9);
    /// Reserved: a snapshot.
    pub const SNAPSHOT: Kind = Kind(10);
    /// Reserved: a freed extent that a snapshot may still need.
    pub const FREED: Kind = Kind(11);
}

/// The key of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The object the item belongs to: an inode number, or 0.
    pub obj: u64,
    /// What the item is.
    pub kind: Kind,
    /// Where in the object; what that means depends on the kind.
    pub offset: u64,
}

impl Key {
    /// The smallest key there can be.
    pub const MIN: Key = Key::new(0, Kind(0), 0);
    /// The largest key there can be.
    pub const MAX: Key = Key::new(u64::MAX, Kind(u8::MAX), u64::MAX);

    /// The key of an item.
    pub const fn new(obj: u64, kind: Kind, offset: u64) -> Key {
        Key { obj, kind, offset }
    }

    /// The largest key below this one, if there is one.
    pub fn pred(&self) -> Option<Key> {
        if let Some(offset) = self.offset.checked_sub(1) {
            return Some(Key { offset, ..*self });
        }
        if let Some(kind) = self.kind.0.checked_sub(1) {
            return Some(Key::new(self.obj, Kind(kind), u64::MAX));
        }
        let obj = self.obj.checked_sub(1)?;
        Some(Key::new(obj, Kind(u8::MAX), u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_by_object_then_kind_then_offset() {
        let a = Key::new(1, Kind::EXTENT, 9);
        assert!(a < Key::new(2, Kind::INODE, 0));
        assert!(a < Key::new(1, Kind::INLINE, 0));
        assert!(a < Key::new(1, Kind::EXTENT, 10));
    }

    #[test]
    fn neighbours_carry_through_all_three_fields() {
        let k = Key::new(1, Kind(0), 0);
        assert_eq!(k.pred(), Some(Key::new(0, Kind(255), u64::MAX)));
        assert_eq!(Key::MIN.pred(), None);
    }
}
