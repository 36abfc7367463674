// SPDX-License-Identifier: Apache-2.0
//! Running a test under many schedules.
//!
//! The host's locks are shuttle's here, and so are the threads: one of them runs at a time, and at each lock, each I/O
//! and each end of a thread a scheduler chooses which one goes on. Half of the schedules are chosen at random, half by
//! PCT (Burckhardt et al. 2010), which finds a race that needs few switches in few schedules. A schedule that fails is
//! printed and can be repeated with `shuttle::replay`.
//!
//! `VEXFS_SCHEDULES=N` tries N schedules of each kind for each test.

use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::scheduler::Scheduler;
use shuttle::thread::yield_now;
use std::sync::Arc as StdArc;
use vexfs_host::device::Backend;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::Result;

/// Most places where PCT switches from one thread to another.
const SWITCHES: usize = 4;

/// A device in memory on which I/O takes time: others may run before and after each.
pub struct SlowDisk(pub RamBackend);

impl Backend for SlowDisk {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        yield_now();
        self.0.read(offset, buf)?;
        yield_now();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        yield_now();
        self.0.write(offset, data)
    }

    fn flush(&self) -> Result<()> {
        yield_now();
        Ok(())
    }
}

impl SlowDisk {
    /// A disk with the contents of another one.
    pub fn copy(image: &RamBackend) -> StdArc<SlowDisk> {
        StdArc::new(SlowDisk(image.duplicate()))
    }

    /// What a filesystem is mounted on.
    pub fn device(self: &StdArc<Self>) -> Device {
        Device::from_backend(self.clone())
    }

    /// What a power cut now leaves, if the disk has written everything it was given: a device on which nothing takes
    /// time.
    pub fn cut(&self) -> Device {
        Device::from_backend(StdArc::new(self.0.duplicate()))
    }
}

/// Runs `test` under `schedules` schedules of each kind, or as many as the environment asks for.
pub fn explore(schedules: usize, test: impl Fn() + Clone + Send + Sync + 'static) {
    let schedules = std::env::var("VEXFS_SCHEDULES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(schedules);
    let kinds: [Box<dyn Scheduler + Send>; 2] = [
        Box::new(RandomScheduler::new(schedules)),
        Box::new(PctScheduler::new(SWITCHES, schedules)),
    ];
    for kind in kinds {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        config.max_steps = shuttle::MaxSteps::FailAfter(20_000_000);
        shuttle::Runner::new(kind, config).run(test.clone());
    }
}
