// SPDX-License-Identifier: Apache-2.0
//! Work while allocations or requests fail. What fails, and how often, the machine's fault injection says.

use crate::report;
use crate::seats::Place;
use crate::Arguments;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;
use vexfs_tests::powercut::Random;

/// Kernel threads that work for the filesystem.
fn kernel_threads() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()))
        .filter(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.starts_with("vexfs") || name.starts_with("kworker")
        })
        .collect()
}

fn let_kernel_threads_fail(fail: bool) {
    for pid in kernel_threads() {
        // A thread that ended meanwhile has no file.
        let _ = std::fs::write(format!("/proc/{pid}/make-it-fail"), if fail { "1" } else { "0" });
    }
}

/// Keeps a worker on the seat; returns an error when one ends as it must not.
fn keep_working(place: &Place, seed: u64, mode: &str, end: Instant) -> Result<(), String> {
    let mut random = Random::new(seed);
    while Instant::now() < end {
        place.table.resume();
        let mut child = place.start(random.below(1 << 50), mode, None)?;
        let status = loop {
            if Instant::now() >= end {
                place.table.stop();
                break child.wait().map_err(|e| e.to_string())?;
            }
            match child.try_wait().map_err(|e| e.to_string())? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        // A mapped page that cannot be had is a SIGBUS, not an error code; memory of the program's own makes it abort.
        let starved = mode != "io" && matches!(status.signal(), Some(libc::SIGBUS | libc::SIGABRT));
        if !status.success() && !starved {
            return Err(format!("seat {}: {status}", place.number));
        }
        if mode == "io" {
            // It ended because the device did; so does the round.
            return Ok(());
        }
        place.resolve()?;
    }
    Ok(())
}

/// `stress faults`
pub fn run(args: &Arguments) -> Result<bool, String> {
    let (mount, tables): (&Path, &Path) = (args.path(1)?, args.path(2)?);
    std::fs::create_dir_all(tables).map_err(|e| e.to_string())?;
    let (mode, seed) = (args.text("mode", "nth"), args.number("seed", 1)?);
    let end = Instant::now() + Duration::from_secs(args.number("seconds", 10)?);
    let places = (0..args.number("workers", 4)? as usize).map(|n| Place::new(mount, tables, n));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let result = std::thread::scope(|s| {
        let threads: Vec<_> = places
            .iter()
            .map(|place| s.spawn(move || keep_working(place, seed * 1000 + place.number as u64, mode, end)))
            .collect();
        while mode == "random" && Instant::now() < end {
            let_kernel_threads_fail(true);
            std::thread::sleep(Duration::from_millis(50));
        }
        let results: Vec<_> = threads
            .into_iter()
            .map(|t| t.join().unwrap_or(Err("a thread panicked".into())))
            .collect();
        results.into_iter().collect::<Result<(), String>>()
    });
    let_kernel_threads_fail(false);
    let done: u64 = places.iter().map(|p| p.table.done()).sum();
    let failures: u64 = places.iter().map(|p| p.table.failures()).sum();
    println!("# {done} operations, {failures} failed");
    if mode == "io" {
        return Ok(report("requests that fail are errors and nothing else", result));
    }
    let mut good = report("allocations that fail are errors and nothing else", result);
    good &= report(
        "some allocations did fail",
        if failures > 0 { Ok(()) } else { Err("none".into()) },
    );
    good &= report(
        "every file and row is as the operations that succeeded left it",
        places.iter().try_for_each(Place::verify),
    );
    let new = mount.join("writable");
    let wrote = std::fs::write(&new, "text").and_then(|()| std::fs::remove_file(&new));
    good &= report("the filesystem is still writable", wrote.map_err(|e| e.to_string()));
    Ok(good)
}
