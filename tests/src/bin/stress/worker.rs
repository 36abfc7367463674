// SPDX-License-Identifier: Apache-2.0
//! The process that sits on a seat.
//!
//! `stress worker TABLE DIR --seed N --policy POLICY [--rows COLLECTION] [--other DIR]`

use crate::Arguments;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use vexfs_tests::powercut::Random;
use vexfs_tests::stress::carry::Seat;
use vexfs_tests::stress::choose::choose;
use vexfs_tests::stress::choose::Mix;
use vexfs_tests::stress::choose::Op;
use vexfs_tests::stress::choose::NAMES;
use vexfs_tests::stress::model::SLOTS;
use vexfs_tests::stress::observe;
use vexfs_tests::stress::promise;
use vexfs_tests::stress::shared::Table;

/// How this process's own allocations fail.
enum Faults {
    Never,
    /// The n-th allocation of an operation fails, with n growing until the operation has no n-th one.
    Nth {
        file: File,
        next: [u32; NAMES.len()],
    },
    /// Now and then, as the machine is set to.
    Random(File),
}

impl Faults {
    fn new(policy: &str) -> io::Result<Faults> {
        let open = |name: &str| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(format!("/proc/thread-self/{name}"))
        };
        Ok(match policy {
            "nth" => Faults::Nth {
                file: open("fail-nth")?,
                next: [1; NAMES.len()],
            },
            "random" => Faults::Random(open("make-it-fail")?),
            _ => Faults::Never,
        })
    }

    fn on(&mut self, op: Op) -> io::Result<()> {
        match self {
            Faults::Never => Ok(()),
            Faults::Nth { file, next } => file.write_all(next[op.number()].to_string().as_bytes()),
            Faults::Random(file) => file.write_all(b"1"),
        }
    }

    fn off(&mut self, op: Op) -> io::Result<()> {
        match self {
            Faults::Never => Ok(()),
            Faults::Nth { file, next } => {
                let mut left = [0; 16];
                let len = file.read_at(&mut left, 0)?;
                let left = String::from_utf8_lossy(&left[..len]);
                // What is left of the countdown: the operation ended before its n-th allocation.
                let done = left.trim().parse::<u32>().map_err(io::Error::other)? > 0;
                file.write_all(b"0")?;
                next[op.number()] = if done { 1 } else { next[op.number()] + 1 };
                Ok(())
            }
            Faults::Random(file) => file.write_all(b"0"),
        }
    }
}

fn may_fail(policy: &str, e: &io::Error) -> bool {
    match e.raw_os_error() {
        Some(libc::ENOMEM) => matches!(policy, "nth" | "random"),
        Some(libc::EIO | libc::EROFS) => policy == "io",
        _ => false,
    }
}

pub fn run(args: &Arguments) -> Result<bool, String> {
    let policy = args.text("policy", "plain");
    let text = |e: io::Error| format!("worker: {e}");
    let table = Table::open(args.path(1)?).map_err(text)?;
    let rows = args.text("rows", "");
    let rows = (!rows.is_empty()).then(|| Path::new(rows));
    let dir = args.path(2)?;
    let mut seat = match observe::patiently(|| Seat::new(dir, rows, policy == "io")) {
        Err(e) if may_fail(policy, &e) => return Ok(true),
        seat => seat.map_err(text)?,
    };
    let other = args.text("other", "");
    seat.other = (!other.is_empty()).then(|| other.into());
    let mut random = Random::new(args.number("seed", 0)?);
    let mut faults = Faults::new(policy).map_err(text)?;
    let mix = Mix {
        unsynced: policy == "calm",
        durable: policy == "io",
        rows: rows.is_some(),
        other: !other.is_empty(),
    };
    while !table.stopping() {
        let before = table.model();
        let op = choose(&mut random, &before, mix);
        let mut after = before;
        op.apply(&mut after);
        let mut promised = after;
        promise::note_success(op, &mut promised);
        table.begin(&promised, op.under_way());
        faults.on(op).map_err(text)?;
        let result = seat.carry_out(op, &after);
        faults.off(op).map_err(text)?;
        match result {
            Ok(()) => table.commit(),
            Err(e) if may_fail(policy, &e) => {
                table.count_failure();
                if policy == "io" {
                    promise::note_failure(op, &before, &mut after);
                    table.settle(&after);
                    if e.raw_os_error() == Some(libc::EROFS) {
                        return Ok(true);
                    }
                } else {
                    let found = observe::resolve(&seat, &before, &after, op.under_way())
                        .map_err(|why| format!("{op:?} failed ({e}), and {why}"))?;
                    table.settle(&found);
                }
            }
            Err(e) => return Err(format!("{op:?} in {}: {e}", seat.dir.display())),
        }
        if policy == "calm" && random.below(4) == 0 {
            let slot = random.below(SLOTS as u64) as usize;
            observe::verify_slot(&seat, &table.model(), slot).map_err(|e| format!("{}: {e}", seat.dir.display()))?;
        }
    }
    Ok(true)
}
