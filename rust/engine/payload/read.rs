// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Checking and reading payloads.
//!
//! One cursor does both, so what the check accepts is what the readers see. Readers of checked bytes end their
//! iteration where the check would have failed, which never happens.

use super::check_name;
use super::is_finite;
use super::Scalar;
use super::FIELDS_MAX;
use super::FIELD_HEADER;
use super::HEADER;
use super::KEYWORD_MAX;
use super::LIST;
use super::PAYLOAD_MAX;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_uapi::payload::VEXFS_PAYLOAD_VERSION;

/// A named value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// Its name, unique in the payload.
    pub name: &'a str,
    /// Its value.
    pub value: Value<'a>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// A string that is compared as a whole.
    Keyword(&'a str),
    /// A string of any length.
    Text(&'a str),
    /// A signed integer.
    I64(i64),
    /// The bits of a finite binary64.
    F64(u64),
    /// A truth value.
    Bool(bool),
    /// Values of one scalar type.
    List(List<'a>),
}

/// Takes bytes from the front of a slice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Error::Invalid("payload: cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Error::Invalid("payload: cut short"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self, n: usize) -> Result<&'a str> {
        core::str::from_utf8(self.take(n)?).map_err(|_| Error::Invalid("payload: a string is not UTF-8"))
    }

    /// The value of a scalar; `len` is the length of a string.
    fn scalar(&mut self, scalar: Scalar, len: usize) -> Result<Value<'a>> {
        Ok(match scalar {
            Scalar::Keyword if len > KEYWORD_MAX => return Err(Error::Invalid("payload: keyword over 255 bytes")),
            Scalar::Keyword => Value::Keyword(self.text(len)?),
            Scalar::Text => Value::Text(self.text(len)?),
            Scalar::I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            Scalar::F64 => {
                let bits = u64::from_le_bytes(self.array()?);
                if !is_finite(bits) {
                    return Err(Error::Invalid("payload: a number is NaN or infinite"));
                }
                Value::F64(bits)
            }
            Scalar::Bool => match self.u8()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Error::Invalid("payload: a truth value is neither 0 nor 1")),
            },
        })
    }

    /// The next element of a list.
    fn element(&mut self, scalar: Scalar) -> Result<Value<'a>> {
        let len = match scalar {
            Scalar::Keyword | Scalar::Text => self.u32()? as usize,
            Scalar::I64 | Scalar::F64 | Scalar::Bool => 0,
        };
        self.scalar(scalar, len)
    }

    /// The next field, without looking into a list.
    fn field(&mut self) -> Result<Field<'a>> {
        let kind = self.u8()?;
        let name_len = usize::from(self.u8()?);
        if self.u16()? != 0 {
            return Err(Error::Invalid("payload: reserved bytes of a field are not zero"));
        }
        let value_len = self.u32()? as usize;
        let name = self.text(name_len)?;
        let mut value = Cursor(self.take(value_len)?);
        let scalar = Scalar::from_code(kind & !LIST).ok_or(Error::Invalid("payload: unknown type of a field"))?;
        let value = if kind & LIST != 0 {
            let remaining = value.u32()?;
            Value::List(List {
                scalar,
                remaining,
                cursor: value,
            })
        } else {
            let read = value.scalar(scalar, value_len)?;
            if !value.0.is_empty() {
                return Err(Error::Invalid("payload: a value is longer than its type"));
            }
            read
        };
        Ok(Field { name, value })
    }
}

/// The fields of a checked payload.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    remaining: u16,
    cursor: Cursor<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        header(bytes).unwrap_or(Fields {
            remaining: 0,
            cursor: Cursor(&[]),
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        self.cursor.field().ok()
    }
}

/// The elements of a list; iterating gives no [`Value::List`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct List<'a> {
    scalar: Scalar,
    remaining: u32,
    cursor: Cursor<'a>,
}

impl List<'_> {
    /// The number of elements.
    pub fn count(&self) -> usize {
        self.remaining as usize
    }

    /// The type code of its elements.
    pub(super) fn scalar_code(&self) -> u8 {
        self.scalar.code()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    fn check(mut self) -> Result {
        for _ in 0..self.remaining {
            self.cursor.element(self.scalar)?;
        }
        if self.cursor.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid("payload: bytes after the last element of a list"))
        }
    }
}

impl<'a> IntoIterator for List<'a> {
    type Item = Value<'a>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        Elements(self)
    }
}

/// Iterator over the elements of a [`List`].
#[derive(Clone, Debug)]
pub struct Elements<'a>(List<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.0.remaining = self.0.remaining.checked_sub(1)?;
        self.0.cursor.element(self.0.scalar).ok()
    }
}

fn header(bytes: &[u8]) -> Result<Fields<'_>> {
    let mut cursor = Cursor(bytes);
    if u32::from(cursor.u8()?) != VEXFS_PAYLOAD_VERSION {
        return Err(Error::Invalid("payload: unknown version"));
    }
    if cursor.u8()? != 0 {
        return Err(Error::Invalid("payload: reserved byte is not zero"));
    }
    Ok(Fields {
        remaining: cursor.u16()?,
        cursor,
    })
}

/// Checks everything that `vexfs_uapi::payload` says.
pub(super) fn check(bytes: &[u8]) -> Result {
    // The smallest: one boolean with a name of one byte.
    const _: () = assert!(HEADER + FIELD_HEADER + 2 < PAYLOAD_MAX);
    if bytes.len() > PAYLOAD_MAX {
        return Err(Error::TooBig("payload: over 64 KiB"));
    }
    let Fields { remaining, mut cursor } = header(bytes)?;
    if remaining == 0 {
        return Err(Error::Invalid("payload: no fields"));
    }
    if usize::from(remaining) > FIELDS_MAX {
        return Err(Error::TooBig("payload: over 256 fields"));
    }
    let mut previous = "";
    for _ in 0..remaining {
        let field = cursor.field()?;
        check_name(field.name)?;
        // The empty name sorts before all others.
        if field.name.as_bytes() <= previous.as_bytes() {
            return Err(Error::Invalid(
                "payload: fields are not in ascending order of their names",
            ));
        }
        previous = field.name;
        if let Value::List(list) = field.value {
            list.check()?;
        }
    }
    if cursor.0.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid("payload: bytes after the last field"))
    }
}
