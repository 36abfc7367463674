// SPDX-License-Identifier: GPL-2.0
//! `/proc/fs/vexfs/<device>/stats`: counters of a mount, one a line.

use kernel::seq_file::seq_print;
use kernel::seq_file::SeqFile;
use vexfs_core::Fs;
use vexfs_host::sync::Arc;
use vexfs_vfs::proc::Show;

/// What the file prints.
pub struct Stats(pub Arc<Fs>);

impl Show for Stats {
    fn show(&self, seq: &SeqFile) {
        let counters = self.0.counters();
        let space = self.0.statfs();
        let lines = [
            ("block_size", u64::from(space.block_size)),
            ("blocks", space.blocks),
            ("free_blocks", space.free),
            ("available_blocks", space.available),
            ("promised_blocks", counters.promised_blocks),
            ("inodes", space.inodes),
            ("committed_txg", counters.committed_txg),
            ("open_txg", counters.open_txg),
            ("commits", counters.commits),
            ("tree_levels", u64::from(counters.levels)),
            ("cached_nodes", counters.cached_nodes),
            ("dirty_nodes", counters.dirty_nodes),
            ("writing_nodes", counters.writing_nodes),
            ("nodes_read", counters.nodes_read),
            ("nodes_written", counters.nodes_written),
            ("read_only", u64::from(self.0.is_read_only())),
            ("aborted", u64::from(self.0.abort_reason().is_some())),
        ];
        for (name, value) in lines {
            seq_print!(seq, "{} {}\n", name, value);
        }
    }
}
