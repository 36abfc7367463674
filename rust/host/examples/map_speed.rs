// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! How long look-ups, insertions and removals in a [`U64Map`] take, for the kinds of keys it holds.
//!
//! `cargo run --release -p vexfs-host --example map_speed [entries]`

use std::hint::black_box;
use std::time::Instant;
use vexfs_host::mem::U64Map;
use vexfs_host::Result;

fn timed(what: &str, keys: &str, count: u64, f: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    f()?;
    let ns = start.elapsed().as_nanos() as f64 / count.max(1) as f64;
    println!("{what:8} {keys:20} {count:9} times {ns:7.1} ns each");
    Ok(())
}

fn measure(name: &str, count: u64, key: impl Fn(u64) -> u64) -> Result<()> {
    let mut map = U64Map::new();
    timed("insert", name, count, || {
        for n in 0..count {
            map.insert(key(n), n)?;
        }
        Ok(())
    })?;
    let rounds = (4_000_000 / count.max(1)).max(1);
    timed("get", name, count * rounds, || {
        for n in 0..count * rounds {
            // A step that leaves the order of insertion.
            let n = n.wrapping_mul(7919) % count;
            assert_eq!(map.get(black_box(key(n))), Some(&n));
        }
        Ok(())
    })?;
    timed("absent", name, count * rounds, || {
        for n in 0..count * rounds {
            assert_eq!(map.get(black_box(key(count + n))), None);
        }
        Ok(())
    })?;
    timed("remove", name, count, || {
        for n in 0..count {
            map.remove(key(n));
        }
        Ok(())
    })
}

fn main() -> Result<()> {
    let count: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(4000);
    measure("in a row", count, |n| 1000 + n)?;
    measure("blocks of nodes", count, |n| 4096 + n * 4)?;
    measure("scattered", count, |n| n.wrapping_mul(0xd129_0d3e_2bb7_a4c5) >> 8)
}
