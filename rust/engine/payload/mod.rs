// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Payloads: the typed fields of a row, in the binary form that `vexfs_uapi::payload` defines.
//!
//! The engine never sees JSON. [`Payload::parse`] accepts bytes from a caller or from disk after checking all of them,
//! so that reading its fields cannot fail; [`Builder`] makes such bytes.

mod build;
mod read;
mod scan;

pub use build::Builder;
pub use read::Field;
pub use read::Fields;
pub use read::List;
pub use read::Value;
pub(crate) use scan::Plain;
pub(crate) use scan::Values;

use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_uapi::payload as form;

/// Most bytes of a payload.
pub const PAYLOAD_MAX: usize = form::VEXFS_PAYLOAD_MAX as usize;
/// Most fields of a payload.
pub const FIELDS_MAX: usize = form::VEXFS_PAYLOAD_FIELDS_MAX as usize;

const HEADER: usize = form::VEXFS_PAYLOAD_HEADER as usize;
const FIELD_HEADER: usize = form::VEXFS_PAYLOAD_FIELD_HEADER as usize;
const KEYWORD_MAX: usize = form::VEXFS_KEYWORD_MAX as usize;

/// The scalar types.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Scalar {
    Keyword,
    Text,
    I64,
    F64,
    Bool,
}

impl Scalar {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match u32::from(code) {
            form::VEXFS_FIELD_KEYWORD => Scalar::Keyword,
            form::VEXFS_FIELD_TEXT => Scalar::Text,
            form::VEXFS_FIELD_I64 => Scalar::I64,
            form::VEXFS_FIELD_F64 => Scalar::F64,
            form::VEXFS_FIELD_BOOL => Scalar::Bool,
            _ => return None,
        })
    }

    pub(crate) fn code(self) -> u8 {
        (match self {
            Scalar::Keyword => form::VEXFS_FIELD_KEYWORD,
            Scalar::Text => form::VEXFS_FIELD_TEXT,
            Scalar::I64 => form::VEXFS_FIELD_I64,
            Scalar::F64 => form::VEXFS_FIELD_F64,
            Scalar::Bool => form::VEXFS_FIELD_BOOL,
        }) as u8
    }
}

/// Set in a type code: a list of the scalar.
const LIST: u8 = form::VEXFS_FIELD_LIST as u8;

/// The checked bytes of a payload.
///
/// # Invariants
///
/// The bytes have the form that `vexfs_uapi::payload` defines, with every limit kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    /// Checks the bytes of a payload that is not empty.
    ///
    /// # Errors
    ///
    /// `TooBig` if there are too many bytes or fields, `Invalid` with what is wrong for all other deviations.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        read::check(bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The fields, in ascending order of their names.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.0)
    }

    /// The value of the field of this name.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.fields().find(|field| field.name == name).map(|field| field.value)
    }
}

/// Whether the bits are those of a finite binary64.
pub(crate) fn is_finite(bits: u64) -> bool {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    bits & EXPONENT != EXPONENT
}

/// Checks a field name.
fn check_name(name: &str) -> Result {
    if name.is_empty() || name.len() > 255 {
        return Err(Error::Invalid("payload: a field name is 1 to 255 bytes"));
    }
    if name.as_bytes().contains(&0) {
        return Err(Error::Invalid("payload: a field name has a NUL"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
