// SPDX-License-Identifier: GPL-2.0
//! Copying: structs that grow with versions, arrays they point to, and where rows of an answer go.
//!
//! Everything is copied in before anything is changed, sizes are checked before memory is allocated for them, and what
//! is copied out is what was copied in with the output members set, so nothing uninitialised can be in it.

use kernel::error::code::E2BIG;
use kernel::error::code::EFAULT;
use kernel::error::code::EINVAL;
use kernel::uaccess::UserPtr;
use kernel::uaccess::UserSlice;
use vexfs_engine::Contents;
use vexfs_engine::Element;
use vexfs_engine::Params;
use vexfs_engine::RowRef;
use vexfs_host::mem::Box;
use vexfs_host::mem::Vec;
use vexfs_host::relax;
use vexfs_host::Error;
use vexfs_uapi as uapi;
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
    /// Copies a struct in. Its first member is the size that its caller knows: a smaller one than ours is from before
    /// the first release (`EINVAL`), a larger one is accepted if we miss nothing but zeros (`E2BIG`).
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

/// Copies `count` vectors in that begin `stride` bytes apart (0: right behind each other).
pub fn read_vectors(addr: u64, count: usize, params: &Params, stride: u32) -> Result<Vec<u8>> {
    let (bytes, element) = (params.row_bytes(), params.element().alignment());
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

    /// Puts so many zeros at `offset`.
    pub fn zero(&self, offset: usize, bytes: usize) -> Result {
        let zeros = [0; 64];
        for at in (0..bytes).step_by(zeros.len()) {
            let zeros = zeros.get(..bytes - at).unwrap_or(&zeros);
            self.write(offset.saturating_add(at), zeros)?;
        }
        Ok(())
    }

    /// Copies `from` to `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result {
        if offset.checked_add(from.len()).is_none_or(|end| end > self.bytes) {
            return Err(EFAULT.into());
        }
        write_bytes(self.at.wrapping_byte_add(offset), from)
    }
}

/// Checks the number of elements of an array.
pub fn check_count(count: u32, max: u32) -> Result<usize> {
    match count {
        0 => Err(EINVAL.into()),
        count if count > max => Err(E2BIG.into()),
        count => Ok(count as usize),
    }
}

/// Checks that a caller's vectors are of the collection's dimension and element type.
pub fn check_vectors(dim: u32, element: u32, params: &Params) -> Result {
    if element == 0 {
        return Err(EINVAL.into());
    }
    let element = Element::from_code(element).ok_or(Error::Unsupported("element type"))?;
    if dim as usize != params.dim() || element != params.element() {
        return Err(EINVAL.into());
    }
    Ok(())
}

/// VEXFS_ROW_* of a row that exists.
pub fn row_flags(row: &RowRef) -> u32 {
    uapi::VEXFS_ROW_FOUND
        | if row.payload_len > 0 {
            uapi::VEXFS_ROW_PAYLOAD
        } else {
            0
        }
}

/// Where vectors of an answer go, one after the other.
pub struct VectorOutput {
    out: Output,
    vector: Vec<u8>,
}

impl VectorOutput {
    /// Room for `count` vectors; the caller has checked that they fit.
    pub fn new(addr: u64, count: usize, params: &Params) -> Result<Self> {
        let bytes = params.row_bytes();
        let mut vector = Vec::new();
        vector.resize(bytes, 0)?;
        Ok(Self {
            out: Output::new(addr, count * bytes, params.element().alignment())?,
            vector,
        })
    }

    /// Copies the vector of a row to the `at`th place, zeros if there is none.
    pub fn write(&mut self, at: usize, contents: &Contents, row: Option<&RowRef>) -> Result {
        match row {
            Some(row) => contents.vector(row, &mut self.vector)?,
            None => self.vector.fill(0),
        }
        self.out.write(at * self.vector.len(), &self.vector)
    }
}

/// Sets the number of bytes at `payloads` to those that are needed; whether there is room for them.
pub fn fit_payloads(room: &mut u64, payloads: u64, needed: u64) -> bool {
    let before = core::mem::replace(room, if payloads == 0 { 0 } else { needed });
    payloads == 0 || needed <= before
}

/// Where payloads of an answer go, one after the other.
pub struct PayloadOutput {
    out: Option<Output>,
    used: usize,
    payload: Vec<u8>,
}

impl PayloadOutput {
    /// Room for `bytes` bytes, or for nothing if there is no address.
    pub fn new(addr: u64, bytes: u64) -> Result<Self> {
        let out = match addr {
            0 => None,
            addr => Some(Output::new(addr, usize::try_from(bytes).map_err(|_| E2BIG)?, 1)?),
        };
        Ok(Self {
            out,
            used: 0,
            payload: Vec::new(),
        })
    }

    /// Copies the payload of a row and returns where it begins.
    pub fn write(&mut self, contents: &Contents, row: &RowRef) -> Result<u64> {
        let Some(out) = &self.out else { return Ok(0) };
        if row.payload_len == 0 {
            return Ok(0);
        }
        self.payload.clear();
        contents.payload(row, &mut self.payload)?;
        let at = self.used;
        out.write(at, &self.payload)?;
        self.used += self.payload.len();
        Ok(at as u64)
    }
}
