// SPDX-License-Identifier: GPL-2.0
//! Arguments of ioctls: structs that grow with versions, and arrays they point to.
//!
//! Everything is copied in before anything is changed, sizes are checked before memory is allocated for them, and what is
//! copied out is what was copied in with the output members set, so nothing uninitialised can be in it.

use kernel::error::code::E2BIG;
use kernel::error::code::EFAULT;
use kernel::error::code::EINVAL;
use kernel::uaccess::UserPtr;
use kernel::uaccess::UserSlice;
use vexfs_engine::Element;
use vexfs_engine::Params;
use vexfs_host::mem::Box;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_uapi::Name;
use vexfs_vfs::Result;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// A struct of the ABI.
pub trait Argument: FromBytes + IntoBytes + Immutable + KnownLayout {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Argument for T {}

/// Most bytes a struct may have in versions to come.
const ARGUMENT_MAX: usize = 4096;

/// Bytes copied between two looks at whether the caller is still wanted.
const STEP: usize = 1 << 20;

/// A struct copied in from a caller.
pub struct Arg<A> {
    from: UserPtr,
    value: Box<A>,
}

impl<A: Argument> Arg<A> {
    /// Copies a struct in. Its first member is the size that its caller knows: a smaller one than ours is from before the
    /// first release (`EINVAL`), a larger one is accepted if we miss nothing but zeros (`E2BIG`).
    pub fn read(from: UserPtr) -> Result<Self> {
        let mut size = [0u8; 4];
        read_bytes(from, &mut size)?;
        let size = u32::from_ne_bytes(size) as usize;
        let own = size_of::<A>();
        if size < own {
            return Err(EINVAL.into());
        }
        if size > ARGUMENT_MAX {
            return Err(E2BIG.into());
        }
        let mut value = Box::new(A::new_zeroed())?;
        read_bytes(from, value.as_mut_bytes())?;
        if size > own {
            let mut tail: Vec<u8> = Vec::new();
            tail.resize(size - own, 0)?;
            read_bytes(from.wrapping_byte_add(own), &mut tail)?;
            if tail.iter().any(|byte| *byte != 0) {
                return Err(E2BIG.into());
            }
        }
        Ok(Self { from, value })
    }

    /// Copies the struct back. Changes do that once before too, unaltered, so that none is made whose result its caller
    /// cannot see.
    pub fn write(&self) -> Result {
        write_bytes(self.from, self.value.as_bytes())
    }
}

impl<A> core::ops::Deref for Arg<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.value
    }
}

impl<A> core::ops::DerefMut for Arg<A> {
    fn deref_mut(&mut self) -> &mut A {
        &mut self.value
    }
}

/// The bytes of a name, up to its NUL: one component of a path, or nothing.
pub fn name(name: &Name) -> Result<&[u8]> {
    match vexfs_uapi::name_bytes(name).ok_or(EINVAL)? {
        b"." | b".." => Err(EINVAL.into()),
        name if name.contains(&b'/') => Err(EINVAL.into()),
        name => Ok(name),
    }
}

/// A user address as the ABI has it.
fn pointer(addr: u64, align: usize) -> Result<UserPtr> {
    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    if addr % align != 0 {
        return Err(EINVAL.into());
    }
    Ok(UserPtr::from_addr(addr))
}

fn read_bytes(from: UserPtr, to: &mut [u8]) -> Result {
    Ok(UserSlice::new(from, to.len()).reader().read_slice(to)?)
}

fn write_bytes(to: UserPtr, from: &[u8]) -> Result {
    Ok(UserSlice::new(to, from.len()).writer().write_slice(from)?)
}

/// Copies an array of `count` elements in; the caller has checked that there are not too many.
pub fn read_array<E>(addr: u64, count: usize) -> Result<Vec<E>>
where
    E: Copy + Default + FromBytes + IntoBytes,
{
    let from = pointer(addr, align_of::<E>())?;
    let mut array = Vec::new();
    array.resize(count, E::default())?;
    let mut at = from;
    for part in array.as_mut_slice().as_mut_bytes().chunks_mut(STEP) {
        read_bytes(at, part)?;
        at = at.wrapping_byte_add(part.len());
        relax()?;
    }
    Ok(array)
}

/// Bytes of an element of these vectors, less than one counted as one.
pub fn element_bytes(params: &Params) -> usize {
    match params.element() {
        Element::F32 => 4,
        Element::F16 | Element::Bf16 => 2,
        Element::I8 | Element::U8 | Element::Binary => 1,
    }
}

/// Copies `count` vectors in that begin `stride` bytes apart (0: right behind each other).
pub fn read_vectors(addr: u64, count: usize, params: &Params, stride: u32) -> Result<Vec<u8>> {
    let (bytes, element) = (params.row_bytes(), element_bytes(params));
    let stride = if stride == 0 { bytes } else { stride as usize };
    if stride % element != 0 || stride < bytes {
        return Err(EINVAL.into());
    }
    let total = count.checked_mul(bytes).ok_or(E2BIG)?;
    let mut at = pointer(addr, element)?;
    if stride == bytes {
        return read_array(addr, total);
    }
    let mut vectors: Vec<u8> = Vec::new();
    vectors.resize(total, 0)?;
    for (i, vector) in vectors.chunks_mut(bytes).enumerate() {
        read_bytes(at, vector)?;
        at = at.wrapping_byte_add(stride);
        if i % 64 == 63 {
            relax()?;
        }
    }
    Ok(vectors)
}

/// An array of the caller's to copy into.
#[derive(Clone, Copy)]
pub struct Output {
    at: UserPtr,
    bytes: usize,
}

impl Output {
    /// An array of `bytes` bytes whose elements need an alignment.
    pub fn new(addr: u64, bytes: usize, align: usize) -> Result<Self> {
        Ok(Self {
            at: pointer(addr, align)?,
            bytes,
        })
    }

    /// Copies `from` to `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result {
        if offset.checked_add(from.len()).is_none_or(|end| end > self.bytes) {
            return Err(EFAULT.into());
        }
        write_bytes(self.at.wrapping_byte_add(offset), from)
    }
}
