// SPDX-License-Identifier: Apache-2.0
//! Processes at work are killed at any moment; others go on and lose nothing.

use crate::report;
use crate::seats::Place;
use crate::Arguments;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use vexfs_tests::powercut::Random;
use vexfs_tests::stress::choose::NAMES;

/// Kills the worker of a seat again and again; returns how often. The worker also syncs what a bystander writes, in
/// `other`.
fn victim(place: &Place, other: Option<&Path>, seed: u64, end: Instant, failed: &AtomicBool) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let mut kills = 0;
    while Instant::now() < end && !failed.load(Ordering::Relaxed) {
        let mut child = place.start(random.below(1 << 50), "plain", other)?;
        // It dies in the middle of a certain operation, if that comes up, so that the long ones do not get all the
        // kills.
        let wanted = random.below(NAMES.len() as u64) as u32;
        let limit = Instant::now() + Duration::from_millis(random.below(300));
        while Instant::now() < limit && place.table.under_way().is_none_or(|u| u.op != wanted) {
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        child.kill().map_err(|e| format!("kill: {e}"))?;
        let status = child.wait().map_err(|e| format!("wait: {e}"))?;
        if status.code().is_some() {
            return Err(format!("seat {}: the worker ended by itself, {status}", place.number));
        }
        kills += 1;
        place.resolve()?;
        if kills % 8 == 0 {
            place.verify()?;
        }
    }
    place.verify()?;
    Ok(kills)
}

fn bystander(place: &Place, seed: u64, end: Instant, failed: &AtomicBool) -> Result<(), String> {
    let mut child = place.start(seed, "calm", None)?;
    while Instant::now() < end && !failed.load(Ordering::Relaxed) {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Err(format!("the bystander ended by itself: {status}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    place.table.stop();
    let status = child.wait().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("the bystander: {status}"));
    }
    place.verify()
}

fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// Takes a share of the available memory and gives it back, so that the kernel has to reclaim its own.
fn hog(percent: u64, end: Instant, failed: &AtomicBool) {
    while percent > 0 && Instant::now() < end && !failed.load(Ordering::Relaxed) {
        let bytes = available_memory().unwrap_or(0) * percent / 100;
        let mut memory = Vec::new();
        while (memory.len() as u64) < bytes >> 20 && Instant::now() < end {
            memory.push(vec![1u8; 1 << 20]);
        }
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "2");
    }
}

/// `stress storm`
pub fn run(args: &Arguments) -> Result<bool, String> {
    let (mount, tables): (&Path, &Path) = (args.path(1)?, args.path(2)?);
    std::fs::create_dir_all(tables).map_err(|e| e.to_string())?;
    let victims = args.number("victims", 6)? as usize;
    let bystanders = args.number("bystanders", 2)? as usize;
    let (seed, percent) = (args.number("seed", 1)?, args.number("hog", 0)?);
    let end = Instant::now() + Duration::from_secs(args.number("seconds", 20)?);
    let places = (0..victims + bystanders).map(|n| Place::new(mount, tables, n));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let (failed, kills) = (AtomicBool::new(false), AtomicU64::new(0));
    let good = std::thread::scope(|s| {
        s.spawn(|| hog(percent, end, &failed));
        let threads: Vec<_> = places
            .iter()
            .map(|place| {
                let (failed, kills) = (&failed, &kills);
                let other = places
                    .iter()
                    .skip(victims + place.number % bystanders.max(1))
                    .map(|p| &*p.dir)
                    .next();
                s.spawn(move || {
                    let seed = seed * 1000 + place.number as u64;
                    let result = if place.number < victims {
                        victim(place, other, seed, end, failed).map(|n| {
                            kills.fetch_add(n, Ordering::Relaxed);
                        })
                    } else {
                        bystander(place, seed, end, failed)
                    };
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    let name = if place.number < victims {
                        format!("the seat {} of killed processes holds what they wrote", place.number)
                    } else {
                        format!("bystander {} loses nothing", place.number)
                    };
                    report(&name, result)
                })
            })
            .collect();
        threads.into_iter().all(|t| t.join().unwrap_or(false))
    });
    let done: u64 = places.iter().map(|p| p.table.done()).sum();
    println!("# {} kills, {done} operations", kills.into_inner());
    Ok(good)
}
