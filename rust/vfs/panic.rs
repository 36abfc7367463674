// SPDX-License-Identifier: GPL-2.0
//! Stopping the machine, for administrators who ask for it (`errors=panic`).

use kernel::bindings;

/// Panics the kernel.
pub fn panic_on_error() -> ! {
    // SAFETY: the format takes no argument; the function does not return.
    unsafe { bindings::panic(c"vexfs: panic forced after an error (errors=panic)\n".as_ptr().cast()) }
}
