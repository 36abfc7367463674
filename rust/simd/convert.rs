// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Rows of floats as rows of another element type, and what making codes has in common with it.

use crate::abi;
use crate::fpu;
use crate::hard_float;
use crate::kernels::per;
use crate::kernels::Kernels;
use crate::kernels::SECTION;
use crate::rows::Rows;
use crate::rows::ShapeMismatch;
use crate::Element;
use core::ptr::null_mut;

impl Kernels {
    /// Writes row `i` as a row of `to`s at `out[offset + i * stride..]`, for each row of floats.
    ///
    /// Floats are rounded to nearest, ties to even, and stay finite. To [`Element::Binary`], a bit is set where an
    /// element is positive. Every variant and every CPU writes the same.
    ///
    /// # Errors
    ///
    /// The rows are not of floats or `to` is bytes, or they do not fit there.
    pub fn convert(
        &self,
        rows: &Rows<'_>,
        to: Element,
        out: &mut [u8],
        stride: usize,
        offset: usize,
    ) -> Result<(), ShapeMismatch> {
        let space = rows.space();
        if !space.element().is_float() || !(to.is_float() || to == Element::Binary) {
            return Err(ShapeMismatch);
        }
        if rows.count() == 0 {
            return Ok(());
        }
        let out = out.get_mut(offset..).ok_or(ShapeMismatch)?;
        fits(out.len(), stride, rows.count(), to.vector_bytes(space.dim()))?;
        let mut coding = coding_of(rows, null_mut());
        coding.out = out.as_mut_ptr();
        coding.out_stride = stride;
        in_sections(rows.count(), &mut coding, |coding| {
            // SAFETY: the rows are some of `rows`, what is made of them lies in `out`; this is called in an FPU
            // section.
            unsafe { hard_float::vexfs_simd_convert(coding, to as u32) }
        });
        Ok(())
    }
}

/// Runs `work` for some rows at a time, each time in an FPU section.
pub(crate) fn in_sections(count: usize, coding: &mut abi::Coding, work: impl Fn(&abi::Coding)) {
    // An element takes many times as long as in a comparison.
    let per_section = per(SECTION / 8, coding.dim);
    let mut done = 0;
    while done < count {
        coding.count = per_section.min(count.saturating_sub(done));
        {
            let _section = fpu::Section::begin();
            work(coding);
        }
        done = done.saturating_add(coding.count);
        // In bounds or past the end, where they are not used; wrapping to need no unsafe block.
        coding.rows = coding.rows.wrapping_add(coding.count.wrapping_mul(coding.stride));
        coding.out = coding.out.wrapping_add(coding.count.wrapping_mul(coding.out_stride));
    }
}

/// The coding of these rows; what is written where is not said yet.
pub(crate) fn coding_of(rows: &Rows<'_>, params: *mut u8) -> abi::Coding {
    let space = rows.space();
    abi::Coding {
        params,
        rows: rows.bytes.as_ptr(),
        out: null_mut(),
        dim: space.dim(),
        stride: rows.stride,
        out_stride: 0,
        count: 0,
        element: space.element() as u32,
        metric: space.metric() as u32,
    }
}

/// Whether `count` items of `len` bytes, `stride` apart, lie in `bytes` bytes.
pub(crate) fn fits(bytes: usize, stride: usize, count: usize, len: usize) -> Result<(), ShapeMismatch> {
    let end = match count.checked_sub(1) {
        Some(before_last) => before_last.checked_mul(stride).and_then(|start| start.checked_add(len)),
        None => Some(0),
    };
    if stride < len || end.is_none_or(|end| end > bytes) {
        return Err(ShapeMismatch);
    }
    Ok(())
}
