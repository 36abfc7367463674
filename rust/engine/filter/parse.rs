// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Checking programs.
//!
//! One pass over the bytes with a stack of the groups that are open; everything that `vexfs_uapi::filter` says is
//! checked here, and nothing anywhere else.

use super::number::f64_key;
use super::Bound;
use super::Node;
use super::Number;
use super::Op;
use super::Program;
use super::Span;
use super::Test;
use super::DEPTH_MAX;
use super::FILTER_MAX;
use super::INSTRUCTIONS_MAX;
use crate::payload::is_finite;
use crate::payload::Scalar;
use vexfs_host::mem::Vec;
use vexfs_host::Error;
use vexfs_host::Result;
use vexfs_uapi::filter as form;

/// A place in the bytes of a program, and where what is being read ends.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

const CUT: Error = Error::Invalid("filter: cut short");

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.end).ok_or(CUT)?;
        let taken = self.bytes.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| CUT)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// UTF-8 of `n` bytes.
    fn string(&mut self, n: usize) -> Result<Span> {
        // Offsets are below `FILTER_MAX`.
        let start = self.at as u32;
        core::str::from_utf8(self.take(n)?).map_err(|_| Error::Invalid("filter: a string is not UTF-8"))?;
        Ok(Span { start, len: n as u32 })
    }

    fn f64(&mut self) -> Result<u64> {
        let bits = u64::from_le_bytes(self.array()?);
        if is_finite(bits) {
            Ok(bits)
        } else {
            Err(Error::Invalid("filter: a number is NaN or infinite"))
        }
    }

    fn is_done(&self) -> bool {
        self.at == self.end
    }
}

/// A group whose members are being read.
#[derive(Clone, Copy, Default)]
struct Open {
    node: u32,
    /// Where its body ends.
    end: u32,
    members: u32,
}

impl Program {
    /// Checks the bytes of a filter.
    ///
    /// # Errors
    ///
    /// `TooBig` beyond the limits of bytes, instructions or depth; `Invalid` with what is wrong for all other
    /// deviations; `NoMemory`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > FILTER_MAX {
            return Err(Error::TooBig("filter: over 64 KiB"));
        }
        let mut cursor = Cursor {
            bytes,
            at: 0,
            end: bytes.len(),
        };
        if u32::from(cursor.u8()?) != form::VEXFS_FILTER_VERSION {
            return Err(Error::Invalid("filter: unknown version"));
        }
        if cursor.u8()? != 0 {
            return Err(Error::Invalid("filter: reserved byte is not zero"));
        }
        let count = usize::from(cursor.array().map(u16::from_le_bytes)?);
        if count > INSTRUCTIONS_MAX {
            return Err(Error::TooBig("filter: over 1024 instructions"));
        }
        let mut copy = Vec::new();
        copy.extend_from_slice(bytes)?;
        let mut program = Program {
            bytes: copy,
            nodes: Vec::with_capacity(count)?,
            strings: Vec::new(),
        };
        program.read_tree(&mut cursor, count)?;
        if cursor.at != bytes.len() {
            return Err(Error::Invalid("filter: bytes after the program"));
        }
        if program.nodes.len() != count {
            return Err(Error::Invalid("filter: fewer instructions than it says"));
        }
        Ok(program)
    }

    fn read_tree(&mut self, cursor: &mut Cursor<'_>, count: usize) -> Result {
        let mut stack = [Open::default(); DEPTH_MAX];
        let mut depth = 0usize;
        let all = cursor.end;
        loop {
            if self.nodes.len() >= count {
                return Err(Error::Invalid("filter: more instructions than it says"));
            }
            let node = self.nodes.len() as u32;
            let (op, end) = self.read_instruction(cursor)?;
            let is_group = matches!(op, Op::And | Op::Or | Op::Not);
            self.nodes.push(Node { op, end: node + 1 })?;
            if is_group {
                let slot = stack.get_mut(depth);
                *slot.ok_or(Error::TooBig("filter: over 16 groups inside each other"))? = Open {
                    node,
                    end: end as u32,
                    members: 0,
                };
                depth += 1;
                cursor.end = end;
            } else if let Some(open) = depth.checked_sub(1).and_then(|top| stack.get_mut(top)) {
                open.members += 1;
            }
            // Close what ends here.
            while let Some(open) = depth.checked_sub(1).and_then(|top| stack.get(top)).copied() {
                if cursor.at < open.end as usize {
                    break;
                }
                let nodes = self.nodes.len() as u32;
                if let Some(group) = self.nodes.get_mut(open.node as usize) {
                    group.end = nodes;
                    if matches!(group.op, Op::Not) && open.members != 1 {
                        return Err(Error::Invalid("filter: NOT has one member"));
                    }
                }
                depth -= 1;
                cursor.end = all;
                if let Some(outer) = depth.checked_sub(1).and_then(|top| stack.get_mut(top)) {
                    outer.members += 1;
                    cursor.end = outer.end as usize;
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Reads an instruction, of a group only the header, and returns where its body ends.
    fn read_instruction(&mut self, cursor: &mut Cursor<'_>) -> Result<(Op, usize)> {
        let op = u32::from(cursor.u8()?);
        let name_len = usize::from(cursor.u8()?);
        let kind = cursor.u8()?;
        let flags = cursor.u8()?;
        let body_len = cursor.u32()? as usize;
        let name = self.read_name(cursor, op, name_len)?;
        let outer_end = cursor.end;
        let end = cursor
            .at
            .checked_add(body_len)
            .filter(|end| *end <= outer_end)
            .ok_or(CUT)?;
        if flags != 0 && op != form::VEXFS_FILTER_RANGE {
            return Err(Error::Invalid("filter: flags of an instruction that has none"));
        }
        if kind != 0 && op != form::VEXFS_FILTER_IN && op != form::VEXFS_FILTER_PREFIX {
            return Err(Error::Invalid("filter: a type of an instruction that has none"));
        }
        let group = match op {
            form::VEXFS_FILTER_AND => Some(Op::And),
            form::VEXFS_FILTER_OR => Some(Op::Or),
            form::VEXFS_FILTER_NOT => Some(Op::Not),
            _ => None,
        };
        if let Some(group) = group {
            return Ok((group, end));
        }
        cursor.end = end;
        let test = match op {
            form::VEXFS_FILTER_EXISTS => Test::Exists,
            form::VEXFS_FILTER_IN => self.read_set(cursor, kind)?,
            form::VEXFS_FILTER_RANGE => read_range(cursor, flags)?,
            form::VEXFS_FILTER_PREFIX if Scalar::from_code(kind) == Some(Scalar::Keyword) => {
                Test::Prefix(cursor.string(body_len)?)
            }
            form::VEXFS_FILTER_PREFIX => return Err(Error::Invalid("filter: a prefix is a keyword")),
            _ => return Err(Error::Invalid("filter: unknown instruction")),
        };
        if !cursor.is_done() {
            return Err(Error::Invalid("filter: the body of a test is longer than it"));
        }
        cursor.end = outer_end;
        Ok((Op::Test { name, test }, end))
    }

    /// Reads the name of a test; groups have none.
    fn read_name(&self, cursor: &mut Cursor<'_>, op: u32, len: usize) -> Result<Span> {
        if (len == 0) != (op < form::VEXFS_FILTER_EXISTS) {
            return Err(Error::Invalid("filter: a test has a name and a group has none"));
        }
        let name = cursor.string(len)?;
        if self.span(name).contains(&0) {
            return Err(Error::Invalid("filter: a field name has a NUL"));
        }
        Ok(name)
    }

    fn read_set(&mut self, cursor: &mut Cursor<'_>, kind: u8) -> Result<Test> {
        const ORDER: Error = Error::Invalid("filter: a set is not in strictly ascending order");
        let count = cursor.u32()?;
        if count == 0 {
            return Err(Error::Invalid("filter: an empty set"));
        }
        let start = cursor.at as u32;
        match Scalar::from_code(kind) {
            Some(Scalar::Keyword) => {
                let first = self.strings.len() as u32;
                let mut before: Option<Span> = None;
                for _ in 0..count {
                    let len = cursor.u32()? as usize;
                    let string = cursor.string(len)?;
                    if before.is_some_and(|before| self.span(before) >= self.span(string)) {
                        return Err(ORDER);
                    }
                    self.strings.push(string)?;
                    before = Some(string);
                }
                Ok(Test::Strings { first, count })
            }
            Some(Scalar::I64) => {
                let mut before = None;
                for _ in 0..count {
                    let value = Some(i64::from_le_bytes(cursor.array()?));
                    if before >= value {
                        return Err(ORDER);
                    }
                    before = value;
                }
                Ok(Test::Numbers {
                    start,
                    count,
                    is_f64: false,
                })
            }
            Some(Scalar::F64) => {
                let mut before = None;
                for _ in 0..count {
                    let key = Some(f64_key(cursor.f64()?));
                    if before >= key {
                        return Err(ORDER);
                    }
                    before = key;
                }
                Ok(Test::Numbers {
                    start,
                    count,
                    is_f64: true,
                })
            }
            Some(Scalar::Bool) => {
                let (mut no, mut yes) = (false, false);
                for _ in 0..count {
                    match cursor.u8()? {
                        0 if !no && !yes => no = true,
                        1 if !yes => yes = true,
                        0 | 1 => return Err(ORDER),
                        _ => return Err(Error::Invalid("filter: a truth value is neither 0 nor 1")),
                    }
                }
                Ok(Test::Bools { no, yes })
            }
            Some(Scalar::Text) | None => Err(Error::Invalid("filter: unknown type of a set")),
        }
    }
}

/// What a bound is.
enum End {
    Number(Number),
    String(Span),
}

fn read_bound(cursor: &mut Cursor<'_>) -> Result<End> {
    let kind = cursor.u8()?;
    match Scalar::from_code(kind) {
        Some(Scalar::I64) => Ok(End::Number(Number::I64(i64::from_le_bytes(cursor.array()?)))),
        Some(Scalar::F64) => Ok(End::Number(Number::F64(cursor.f64()?))),
        Some(Scalar::Keyword) => {
            let len = cursor.u32()? as usize;
            Ok(End::String(cursor.string(len)?))
        }
        _ => Err(Error::Invalid("filter: a bound is a number or a keyword")),
    }
}

fn read_range(cursor: &mut Cursor<'_>, flags: u8) -> Result<Test> {
    const LOWER: u32 = form::VEXFS_RANGE_LOWER;
    const LOWER_OPEN: u32 = form::VEXFS_RANGE_LOWER_OPEN;
    const UPPER: u32 = form::VEXFS_RANGE_UPPER;
    const UPPER_OPEN: u32 = form::VEXFS_RANGE_UPPER_OPEN;
    let flags = u32::from(flags);
    if flags & !(LOWER | LOWER_OPEN | UPPER | UPPER_OPEN) != 0 {
        return Err(Error::Invalid("filter: unknown flags of a range"));
    }
    let has = |flag| flags & flag != 0;
    if (has(LOWER_OPEN) && !has(LOWER)) || (has(UPPER_OPEN) && !has(UPPER)) {
        return Err(Error::Invalid("filter: a bound that is not there is open"));
    }
    let lower = has(LOWER).then(|| read_bound(cursor)).transpose()?;
    let upper = has(UPPER).then(|| read_bound(cursor)).transpose()?;
    let number = |value, flag| Bound {
        value,
        is_open: has(flag),
    };
    let string = |value, flag| Bound {
        value,
        is_open: has(flag),
    };
    match (lower, upper) {
        (None, None) => Err(Error::Invalid("filter: a range without bounds")),
        (Some(End::Number(_)), Some(End::String(_))) | (Some(End::String(_)), Some(End::Number(_))) => {
            Err(Error::Invalid("filter: a range from a number to a string"))
        }
        (Some(End::Number(lower)), None) => Ok(Test::NumberRange {
            lower: Some(number(lower, LOWER_OPEN)),
            upper: None,
        }),
        (None, Some(End::Number(upper))) => Ok(Test::NumberRange {
            lower: None,
            upper: Some(number(upper, UPPER_OPEN)),
        }),
        (Some(End::Number(lower)), Some(End::Number(upper))) => Ok(Test::NumberRange {
            lower: Some(number(lower, LOWER_OPEN)),
            upper: Some(number(upper, UPPER_OPEN)),
        }),
        (Some(End::String(lower)), None) => Ok(Test::StringRange {
            lower: Some(string(lower, LOWER_OPEN)),
            upper: None,
        }),
        (None, Some(End::String(upper))) => Ok(Test::StringRange {
            lower: None,
            upper: Some(string(upper, UPPER_OPEN)),
        }),
        (Some(End::String(lower)), Some(End::String(upper))) => Ok(Test::StringRange {
            lower: Some(string(lower, LOWER_OPEN)),
            upper: Some(string(upper, UPPER_OPEN)),
        }),
    }
}
