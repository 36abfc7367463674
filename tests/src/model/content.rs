// SPDX-License-Identifier: Apache-2.0
//! The contents of a file in the model: a sparse array of bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

const BLOCK: u64 = 4096;

/// Contents of a file; bytes that were never written are zero.
#[derive(Clone, Debug, Default)]
pub struct Content {
    size: u64,
    blocks: BTreeMap<u64, Arc<[u8]>>,
}

impl Content {
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn write(&mut self, off: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let at = off + done as u64;
            let within = (at % BLOCK) as usize;
            let n = (BLOCK as usize - within).min(data.len() - done);
            let block = self
                .blocks
                .entry(at / BLOCK)
                .or_insert_with(|| vec![0; BLOCK as usize].into());
            let mut bytes = block.to_vec();
            bytes[within..within + n].copy_from_slice(&data[done..done + n]);
            *block = bytes.into();
            done += n;
        }
        self.size = self.size.max(off + data.len() as u64);
    }

    /// Makes a range zero; the size stays.
    pub fn punch(&mut self, off: u64, len: u64) {
        let end = off.saturating_add(len).min(self.size);
        if off >= end {
            return;
        }
        let touched: Vec<u64> = self
            .blocks
            .range(off / BLOCK..end.div_ceil(BLOCK))
            .map(|(b, _)| *b)
            .collect();
        for b in touched {
            let (from, to) = (off.max(b * BLOCK) - b * BLOCK, end.min((b + 1) * BLOCK) - b * BLOCK);
            if to - from == BLOCK {
                self.blocks.remove(&b);
            } else if let Some(block) = self.blocks.get_mut(&b) {
                let mut bytes = block.to_vec();
                bytes[from as usize..to as usize].fill(0);
                *block = bytes.into();
            }
        }
    }

    pub fn truncate(&mut self, size: u64) {
        if size < self.size {
            self.punch(size, self.size - size);
        }
        self.size = size;
    }

    /// The bytes from `off`, at most `len` and none behind the end.
    pub fn read(&self, off: u64, len: usize) -> Vec<u8> {
        let n = self.size.saturating_sub(off).min(len as u64) as usize;
        let mut out = vec![0; n];
        let end = off.saturating_add(n as u64);
        for (b, block) in self.blocks.range(off / BLOCK..end.div_ceil(BLOCK)) {
            let (from, to) = (off.max(b * BLOCK), end.min((b + 1) * BLOCK));
            out[(from - off) as usize..(to - off) as usize]
                .copy_from_slice(&block[(from - b * BLOCK) as usize..(to - b * BLOCK) as usize]);
        }
        out
    }

    /// Offsets and lengths of the parts that were written.
    pub fn written(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.blocks
            .keys()
            .map(|b| (b * BLOCK, (self.size.saturating_sub(b * BLOCK)).min(BLOCK) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_behave_like_an_array() {
        let mut c = Content::default();
        let mut v: Vec<u8> = Vec::new();
        let mut x = 7u64;
        let mut next = |n: usize| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 33) as usize % n
        };
        for step in 0..3000 {
            let (off, len) = (next(30_000), next(9000));
            match next(3) {
                0 => {
                    c.write(off as u64, &vec![step as u8; len]);
                    if len > 0 {
                        v.resize(v.len().max(off + len), 0);
                        v[off..off + len].fill(step as u8);
                    } else {
                        v.resize(v.len().max(off), 0);
                    }
                }
                1 => {
                    c.punch(off as u64, len as u64);
                    let end = (off + len).min(v.len());
                    if off < end {
                        v[off..end].fill(0);
                    }
                }
                _ => {
                    c.truncate(off as u64);
                    v.resize(off, 0);
                }
            }
            assert_eq!(c.size(), v.len() as u64);
            assert_eq!(c.read(0, v.len() + 10), v);
        }
    }
}
