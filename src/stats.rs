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
        let print = |name: &str, value: u64| seq_print!(seq, "{} {}\n", name, value);
        let space = self.0.statfs();
        print("block_size", u64::from(space.block_size));
        print("blocks", space.blocks);
        print("free_blocks", space.free);
        print("available_blocks", space.available);
        print("inodes", space.inodes);
        let counters = self.0.counters();
        print("promised_blocks", counters.promised_blocks);
        print("rooms_made", counters.rooms_made);
        print("committed_txg", counters.committed_txg);
        print("open_txg", counters.open_txg);
        print("commits", counters.commits);
        print("tree_levels", u64::from(counters.levels));
        print("cached_nodes", counters.cached_nodes);
        print("dirty_nodes", counters.dirty_nodes);
        print("writing_nodes", counters.writing_nodes);
        print("nodes_read", counters.nodes_read);
        print("nodes_written", counters.nodes_written);
        print("log_batches", counters.log.batches);
        print("log_operations", counters.log.ops);
        print("log_bytes", counters.log.bytes);
        print("log_fallbacks", counters.log.fallbacks);
        print("damage_met", counters.damage_met);
        print("read_only", u64::from(self.0.is_read_only()));
        print("aborted", u64::from(self.0.abort_reason().is_some()));
    }
}
