// SPDX-License-Identifier: Apache-2.0
//! `vexctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A reader that goes away (`vexctl ... | head`) ends the program quietly, as with other tools.
    // SAFETY: restores a signal's default action before any thread exists; no handler of ours is replaced.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    vexctl::run()
}
