// SPDX-License-Identifier: Apache-2.0
//! Long work, with a bar on a terminal.

use std::io::IsTerminal;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use vexfs::Build;

use crate::cli::Work;

/// Does the work and shows how far it is.
pub fn run<T>(work: &Work, what: impl FnOnce(&Build<'_>) -> T) -> T {
    let bar = bar(work.quiet);
    let progress = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let threads = work.threads.unwrap_or(0) as usize;
    let done = what(&Build::new().threads(threads).progress(&progress));
    bar.finish_and_clear();
    done
}

/// A bar of rows, hidden where nobody watches.
pub fn bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len}  {eta} left") {
        bar.set_style(style);
    }
    bar
}
