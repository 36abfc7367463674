// SPDX-License-Identifier: Apache-2.0
//! Power cuts on a recorded device: what may be on it, and what a filesystem must make of that.
//!
//! A [`Workload`] is a run of the model's operations on a recording device, with the state of the model at every
//! commit. [`Cuts`] goes through the recorded stream and builds what the device may hold when the power goes at a
//! certain place: everything up to the last flush, every write that was itself durable, and of the rest anything: all,
//! nothing, any subset, writes torn between sectors. [`Workload::verify`] holds the result to the oracle.

use crate::model::compare;
use crate::model::harness::Durable;
use crate::model::op::Rng;
use crate::model::Harness;
use crate::model::Op;
use crate::model::State;
use std::sync::Arc;
use vexfs_core::check::check;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Collections;
use vexfs_host::device::Device;
use vexfs_host::device::Event;
use vexfs_host::device::RamBackend;
use vexfs_host::device::RecordingBackend;

/// A commit: when the recorded stream had reached `start` it had not begun, at `end` it was done.
struct Commit {
    start: usize,
    end: usize,
    before: State,
    after: State,
    /// It was asked for, so what was done before it is durable at `end`.
    explicit: bool,
}

/// A recorded run.
pub struct Workload {
    pub recorder: Arc<RecordingBackend>,
    /// The stream's position when the filesystem was ready.
    pub begin: usize,
    commits: Vec<Commit>,
    /// The model at the end.
    pub last: State,
    /// The operation that failed, when the device was told to fail.
    pub failure: Option<String>,
    /// Whether it stopped the filesystem for good.
    pub aborted: bool,
}

impl Workload {
    /// Runs `ops` on a new filesystem of `mib` MiB. With `fail_after`, the device fails after so many more operations.
    ///
    /// # Errors
    ///
    /// The filesystem and the model differ.
    pub fn run(ops: &[Op], mib: u64, fail_after: Option<u64>) -> Result<Workload, String> {
        let recorder = Arc::new(RecordingBackend::new(mib << 20));
        let mut h = Harness::new(Device::from_backend(recorder.clone()), 4096, MountOptions::default())?;
        h.fs.sync().map_err(|e| e.to_string())?;
        let begin = recorder.position();
        let first = Commit {
            start: begin,
            end: begin,
            before: h.state.clone(),
            after: h.state.clone(),
            explicit: true,
        };
        let mut w = Workload {
            recorder: recorder.clone(),
            begin,
            commits: vec![first],
            last: h.state.clone(),
            failure: None,
            aborted: false,
        };
        if let Some(n) = fail_after {
            recorder.fail_after(n);
        }
        for (i, op) in ops.iter().enumerate() {
            let (start, commits) = (recorder.position(), h.fs.counters().commits);
            let before = h.state.clone();
            let done = h.step(*op);
            let remounted = commits > h.fs.counters().commits;
            let failed = done.is_err();
            let explicit = matches!(done, Ok(Durable::Yes));
            if explicit || failed || remounted || commits != h.fs.counters().commits {
                let end = if failed { usize::MAX } else { recorder.position() };
                w.commits.push(Commit {
                    start,
                    end,
                    before,
                    after: h.state.clone(),
                    explicit,
                });
            }
            match done {
                Err(e) if fail_after.is_some() => {
                    w.failure = Some(e);
                    break;
                }
                Err(e) => return Err(format!("operation {i}: {e}")),
                Ok(_) => {}
            }
        }
        w.last = h.state.clone();
        if w.failure.is_some() {
            w.after_failure(&mut h)?;
        }
        Ok(w)
    }

    /// A filesystem that could not write what it had to is read-only for good and writes nothing more.
    fn after_failure(&mut self, h: &mut Harness) -> Result<(), String> {
        self.recorder.heal();
        let at = self.recorder.position();
        if h.fs.abort_reason().is_none() {
            // Only the operation failed. What it did not do, another one can.
            h.fs.sync()
                .map_err(|e| format!("sync on a device that works again: {e}"))?;
            return Ok(());
        }
        self.aborted = true;
        let new = NewInode {
            mode: libc::S_IFREG | 0o600,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
            now: Time::default(),
            xattrs: &[],
        };
        if h.fs.create(2, b"after the failure", &new).is_ok() || h.fs.sync().is_ok() || h.fs.unmount().is_ok() {
            return Err("a filesystem that failed to commit goes on as if nothing had happened".into());
        }
        if h.fs.readdir(2, 0, &mut |_, _, _, _| true).is_err() {
            return Err("a filesystem that failed to commit cannot be read any more".into());
        }
        match self.recorder.position() - at {
            0 => Ok(()),
            n => Err(format!("a filesystem that failed to commit wrote {n} times after that")),
        }
    }

    /// What may be there when the power goes with `at` events done: the last durable state, or one of a commit on its
    /// way.
    fn admissible(&self, at: usize) -> Vec<&State> {
        let mut states = Vec::new();
        for c in &self.commits {
            if c.end <= at {
                states.clear();
                if !c.explicit {
                    states.push(&c.before);
                }
                states.push(&c.after);
            } else if c.start <= at {
                states.push(&c.before);
                states.push(&c.after);
            }
        }
        states
    }

    /// Checks what a cut left: consistent, mountable, holding one of the admissible states, and usable.
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn verify(&self, at: usize, image: RamBackend, read_only: bool) -> Result<(), String> {
        let dev = Device::from_backend(Arc::new(image));
        let report = check(&dev).map_err(|e| format!("check: {e}"))?;
        if !report.is_clean() {
            return Err(format!("not consistent:\n{report}"));
        }
        let options = MountOptions {
            read_only,
            ..MountOptions::default()
        };
        let fs = Fs::mount(dev.clone(), options).map_err(|e| format!("mount: {e}"))?;
        let collections = Collections::new(fs.clone()).map_err(|e| e.to_string())?;
        let states = self.admissible(at);
        let mut why = Vec::new();
        let found = states.iter().rev().any(|state| {
            let result = if read_only {
                compare::named(&fs, &collections, state)
            } else {
                // A writable mount ends what has no name.
                let mut state = (*state).clone();
                state.drop_orphans();
                compare::all(&fs, &collections, &state)
            };
            result.map_err(|e| why.push(e)).is_ok()
        });
        if !found {
            return Err(format!(
                "holds none of {} admissible states: {}",
                states.len(),
                why.join(" | ")
            ));
        }
        if read_only {
            return Ok(());
        }
        // It goes on as if nothing had happened.
        let new = NewInode {
            mode: libc::S_IFREG | 0o600,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: None,
            now: Time::default(),
            xattrs: &[],
        };
        let made = fs
            .create(2, b"after the cut", &new)
            .map_err(|e| format!("create: {e}"))?;
        fs.write(made.ino, 0, &[7; 20_000], Time::default())
            .map_err(|e| format!("write: {e}"))?;
        fs.unmount().map_err(|e| format!("unmount: {e}"))?;
        let report = check(&dev).map_err(|e| format!("second check: {e}"))?;
        if !report.is_clean() || report.orphans > 0 {
            return Err(format!("not consistent after mounting and writing:\n{report}"));
        }
        Ok(())
    }
}

/// Goes through a recorded stream and says what the device may hold.
pub struct Cuts {
    events: Vec<Event>,
    /// Everything up to the last flush and what was durable by itself.
    durable: RamBackend,
    /// Writes since then that may or may not be on the device.
    pending: Vec<usize>,
    at: usize,
    /// Whether the device forgets to flush.
    lying: bool,
}

impl Cuts {
    pub fn new(recorder: &RecordingBackend) -> Cuts {
        Cuts {
            events: recorder.events(),
            durable: recorder.start().duplicate(),
            pending: Vec::new(),
            at: 0,
            lying: false,
        }
    }

    /// A device that says that it flushed and does not: no filesystem survives it, and the tests must notice.
    pub fn lying(recorder: &RecordingBackend) -> Cuts {
        Cuts {
            lying: true,
            ..Cuts::new(recorder)
        }
    }

    /// Number of recorded events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Moves on until `at` events are done.
    pub fn advance(&mut self, at: usize) {
        while self.at < at {
            match &self.events[self.at] {
                Event::Write {
                    offset,
                    data,
                    fua: true,
                } => self.durable.store(*offset, data),
                Event::Write { .. } => self.pending.push(self.at),
                Event::Flush if self.lying => {}
                Event::Flush => {
                    for i in self.pending.drain(..) {
                        if let Event::Write { offset, data, .. } = &self.events[i] {
                            self.durable.store(*offset, data);
                        }
                    }
                }
                Event::Mark(_) => {}
            }
            self.at += 1;
        }
    }

    /// The device with all that was written, in the order in which it was.
    pub fn everything(&self) -> RamBackend {
        self.image(&mut || Keep::All)
    }

    /// The device with only what was durable.
    pub fn nothing_more(&self) -> RamBackend {
        self.image(&mut || Keep::Nothing)
    }

    /// The device with a random part of what was not durable, and perhaps of the write that was under way.
    pub fn random(&self, rng: &mut Rng) -> RamBackend {
        let (share, torn) = (rng.below(5), rng.below(3) == 0);
        let sector = if rng.below(2) == 0 { 512 } else { 4096 };
        let image = self.image(&mut || match rng.below(4) < share {
            _ if torn && rng.below(3) == 0 => Keep::Sectors {
                size: sector,
                which: rng.draw(),
            },
            true => Keep::All,
            false => Keep::Nothing,
        });
        if let Some(Event::Write { offset, data, .. }) = self.events.get(self.at) {
            if rng.below(2) == 0 {
                apply(
                    &image,
                    *offset,
                    data,
                    Keep::Sectors {
                        size: 512,
                        which: rng.draw(),
                    },
                );
            }
        }
        image
    }

    fn image(&self, keep: &mut dyn FnMut() -> Keep) -> RamBackend {
        let image = self.durable.duplicate();
        for i in &self.pending {
            if let Event::Write { offset, data, .. } = &self.events[*i] {
                apply(&image, *offset, data, keep());
            }
        }
        image
    }
}

/// How much of a write reached the medium.
#[derive(Clone, Copy)]
enum Keep {
    All,
    Nothing,
    /// Sectors by the bits of a number.
    Sectors {
        size: usize,
        which: u64,
    },
}

fn apply(image: &RamBackend, offset: u64, data: &[u8], keep: Keep) {
    match keep {
        Keep::Nothing => {}
        Keep::All => image.store(offset, data),
        Keep::Sectors { size, which } => {
            for (i, sector) in data.chunks(size).enumerate() {
                if which.rotate_right(i as u32 * 7) & 1 != 0 {
                    image.store(offset + (i * size) as u64, sector);
                }
            }
        }
    }
}
