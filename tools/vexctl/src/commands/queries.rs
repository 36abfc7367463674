// SPDX-License-Identifier: Apache-2.0
//! Vectors of the command line and of files, checked before they are sent: what the kernel can only answer
//! with EINVAL is said here in words.

use anyhow::bail;
use anyhow::Result;

use crate::backend::Info;
use crate::backend::Metric;

/// Fails when `vector` is none this collection can hold or be asked for; `normalize` says it will be scaled.
pub fn check(vector: &[f32], info: &Info, normalize: bool) -> Result<()> {
    if vector.len() != info.dim as usize {
        bail!(
            "the vector has {} dimensions, {} has {}",
            vector.len(),
            info.path.display(),
            info.dim
        );
    }
    if let Some(i) = vector.iter().position(|x| !x.is_finite()) {
        bail!(
            "element {i} of the vector is {}: only finite numbers have distances",
            vector[i]
        );
    }
    if (info.metric == Metric::Cosine || normalize) && vector.iter().all(|x| *x == 0.0) {
        bail!("the vector is all zeros, which has no direction");
    }
    Ok(())
}
