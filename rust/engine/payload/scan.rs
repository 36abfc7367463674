// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Reading payloads fast: what filters do for each row.
//!
//! The bytes have been checked when they came in, so nothing is checked again: a field that is not asked for is stepped
//! over by its length, a string is bytes. Bytes that were not checked give other values or fewer, nothing worse.

use super::Payload;
use super::Scalar;
use super::FIELD_HEADER;
use super::HEADER;
use super::LIST;

/// A scalar as it is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plain<'a> {
    /// A keyword or a text.
    String(&'a [u8]),
    I64(i64),
    /// The bits of a binary64.
    F64(u64),
    Bool(bool),
}

/// The values of a field: one, or those of its list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    scalar: Scalar,
    /// Elements of a list; 1 for a scalar.
    remaining: u32,
    is_list: bool,
    rest: &'a [u8],
}

impl<'a> Values<'a> {
    fn new(kind: u8, value: &'a [u8]) -> Option<Self> {
        let scalar = Scalar::from_code(kind & !LIST)?;
        let is_list = kind & LIST != 0;
        let (remaining, rest) = if is_list {
            let (count, rest) = value.split_first_chunk()?;
            (u32::from_le_bytes(*count), rest)
        } else {
            (1, value)
        };
        Some(Self {
            scalar,
            remaining,
            is_list,
            rest,
        })
    }

    /// The type of the values.
    pub(crate) fn scalar(&self) -> Scalar {
        self.scalar
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk()?;
        self.rest = tail;
        Some(*head)
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Plain<'a>;

    #[inline]
    fn next(&mut self) -> Option<Plain<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some(match self.scalar {
            Scalar::Keyword | Scalar::Text => {
                let len = if self.is_list {
                    u32::from_le_bytes(self.take()?) as usize
                } else {
                    self.rest.len()
                };
                let (string, rest) = self.rest.split_at_checked(len)?;
                self.rest = rest;
                Plain::String(string)
            }
            Scalar::I64 => Plain::I64(i64::from_le_bytes(self.take()?)),
            Scalar::F64 => Plain::F64(u64::from_le_bytes(self.take()?)),
            Scalar::Bool => Plain::Bool(u8::from_le_bytes(self.take()?) != 0),
        })
    }
}

/// The names and values of the fields, in ascending order of the names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a>(&'a [u8]);

impl<'a> Named<'a> {
    /// The next field: type, name, value.
    #[inline]
    fn step(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let ([kind, name_len, _, _, len @ ..], rest) = self.0.split_first_chunk::<FIELD_HEADER>()?;
        let (name, rest) = rest.split_at_checked(usize::from(*name_len))?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.0 = rest;
        Some((*kind, name, value))
    }
}

impl<'a> Iterator for Named<'a> {
    type Item = (&'a [u8], Values<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, name, value) = self.step()?;
        Some((name, Values::new(kind, value)?))
    }
}

impl<'a> Payload<'a> {
    /// A payload of bytes that [`Payload::parse`] has accepted before. Of other bytes, fields may be missing or be read
    /// with other values.
    pub(crate) fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The fields without checks.
    pub(crate) fn named(&self) -> Named<'a> {
        Named(self.0.get(HEADER..).unwrap_or_default())
    }

    /// The values of the field of this name, without checks.
    #[inline]
    pub(crate) fn values(&self, name: &[u8]) -> Option<Values<'a>> {
        let mut fields = self.named();
        loop {
            let (kind, found, value) = fields.step()?;
            if found == name {
                return Values::new(kind, value);
            }
        }
    }
}
