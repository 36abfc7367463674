// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Asking for memory before it is needed. Compiled into both halves.

/// Asks for the cache line with the byte at `at`, which need not exist.
#[inline(always)]
pub(crate) fn ask_for(at: *const u8) {
    // By hand, as the intrinsic is a float instruction to the compiler, and the kernel's target has none.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes nothing but the cache.
    unsafe {
        core::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch changes nothing but the cache.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
