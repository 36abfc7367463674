// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Commits that wait for data.
//!
//! Data in flight becomes part of the tree when it has been written, in whatever transaction group is open then. An
//! operation that must not become durable before that data, such as replacing a file by rename, registers it first
//! ([`Fs::order_data`](crate::Fs::order_data)), and neither a commit nor a batch of the log begins before all that is
//! registered has landed. While one waits or is written nothing more can be registered, so that it waits for what was
//! there when it came: the operation has to wait for its data itself then.
//!
//! An operation that brings data into the tree never waits here, or no data would ever land: see [`Reserve::of_data`].
//! On a device that is nearly full it may need the room that only a commit makes. It then commits without waiting.
//!
//! [`Reserve::of_data`]: super::Reserve::of_data

use vexfs_host::sync::CondVar;
use vexfs_host::sync::Mutex;
use vexfs_host::Result;

/// What commits wait for.
pub(crate) struct Order {
    state: Mutex<State>,
    changed: CondVar,
}

#[derive(Default)]
struct State {
    /// Files with registered data that has not landed.
    files: u64,
    /// Commits that wait or run.
    commits: u64,
}

impl Order {
    pub(crate) fn new() -> Result<Self> {
        Ok(Order {
            state: Mutex::new(State::default())?,
            changed: CondVar::new()?,
        })
    }

    /// Registers a file; false if a commit is waiting or running.
    pub(crate) fn register(&self) -> bool {
        let mut state = self.state.lock();
        let open = state.commits == 0;
        if open {
            state.files = state.files.saturating_add(1);
        }
        open
    }

    /// Whether a commit is waiting or running.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().commits > 0
    }

    /// All registered data of a file has landed.
    pub(crate) fn landed(&self) {
        let mut state = self.state.lock();
        state.files = state.files.saturating_sub(1);
        if state.files == 0 {
            self.changed.notify_all();
        }
    }

    /// Whether a commit would have to wait.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.state.lock().files > 0
    }

    /// Waits for all registered data to land, and keeps more from being registered while the result lives.
    pub(crate) fn close(&self) -> Closed<'_> {
        let mut state = self.state.lock();
        state.commits = state.commits.saturating_add(1);
        while state.files > 0 {
            state = self.changed.wait(state);
        }
        drop(state);
        Closed(self)
    }
}

/// Nothing is outstanding, and nothing can be registered.
pub(crate) struct Closed<'a>(&'a Order);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.commits = state.commits.saturating_sub(1);
    }
}
