// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! The CPU: which instructions may be used, and the sections in which they may.

// Wrappers in `rust/vfs/shim.c`.
#[cfg(CONFIG_RUST)]
extern "C" {
    fn vexfs_fpu_begin();
    fn vexfs_fpu_end();
    #[cfg(target_arch = "x86_64")]
    fn vexfs_cpu_has_avx2() -> bool;
    #[cfg(target_arch = "x86_64")]
    fn vexfs_cpu_has_fma() -> bool;
    #[cfg(target_arch = "x86_64")]
    fn vexfs_cpu_has_f16c() -> bool;
    #[cfg(target_arch = "x86_64")]
    fn vexfs_cpu_has_popcnt() -> bool;
    #[cfg(target_arch = "x86_64")]
    fn vexfs_cpu_has_ymm_state() -> bool;
    #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
    fn vexfs_cpu_has_avx512() -> bool;
}

/// Whether the AVX2 variant may be used: the CPU has what it is made of, and the OS saves the YMM state.
#[cfg(all(target_arch = "x86_64", CONFIG_RUST))]
pub(crate) fn has_avx2() -> bool {
    // SAFETY: the functions only read CPU data that is fixed at boot.
    unsafe {
        vexfs_cpu_has_avx2()
            && vexfs_cpu_has_fma()
            && vexfs_cpu_has_f16c()
            && vexfs_cpu_has_popcnt()
            && vexfs_cpu_has_ymm_state()
    }
}

/// Whether the AVX2 variant may be used: the CPU has what it is made of, and the OS saves the YMM state.
#[cfg(all(target_arch = "x86_64", not(CONFIG_RUST)))]
pub(crate) fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
        && std::is_x86_feature_detected!("popcnt")
}

/// Whether the AVX-512 variant may be used: the CPU has what it is made of, and the OS saves the ZMM state.
#[cfg(all(target_arch = "x86_64", vexfs_avx512, CONFIG_RUST))]
pub(crate) fn has_avx512() -> bool {
    // SAFETY: the function only reads CPU data that is fixed at boot.
    has_avx2() && unsafe { vexfs_cpu_has_avx512() }
}

/// Whether the AVX-512 variant may be used: the CPU has what it is made of, and the OS saves the ZMM state.
#[cfg(all(target_arch = "x86_64", vexfs_avx512, not(CONFIG_RUST)))]
pub(crate) fn has_avx512() -> bool {
    has_avx2()
        && std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512vbmi")
        && std::is_x86_feature_detected!("avx512vnni")
        && std::is_x86_feature_detected!("avx512vpopcntdq")
}

/// A stretch of code that may call the hard-float object; in the kernel it neither sleeps nor is preempted.
///
/// On x86-64 it also aligns the stack. The kernel keeps 8 bytes (`-mpreferred-stack-boundary=3`), the hard-float object
/// is compiled for the 16 that the ABI promises and spills registers accordingly. An aligned variable whose address is
/// used makes the compiler align the frame that holds the section, and it keeps 16 bytes in calls from there on.
#[cfg_attr(all(CONFIG_RUST, target_arch = "x86_64"), repr(align(32)))]
pub(crate) struct Section(#[cfg(CONFIG_RUST)] u8);

impl Section {
    #[inline(always)]
    pub(crate) fn begin() -> Self {
        #[cfg(CONFIG_RUST)]
        // SAFETY: callers are in process context, hold no section yet, and end this one on drop.
        unsafe {
            vexfs_fpu_begin()
        };
        Self(
            #[cfg(CONFIG_RUST)]
            0,
        )
    }
}

impl Drop for Section {
    #[inline(always)] // Its argument is to be the variable itself.
    fn drop(&mut self) {
        #[cfg(CONFIG_RUST)]
        core::hint::black_box(&mut self.0);
        #[cfg(CONFIG_RUST)]
        // SAFETY: `begin` began the section on this CPU, which has not been left since.
        unsafe {
            vexfs_fpu_end()
        };
    }
}
