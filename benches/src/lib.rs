// SPDX-License-Identifier: Apache-2.0
//! What the benchmarks share: the memory bandwidth they compare with, and a collection in memory.

use std::sync::Arc as StdArc;
use std::time::Duration;
use vexfs_core::inode::NewInode;
use vexfs_core::inode::Time;
use vexfs_core::mkfs::FormatOptions;
use vexfs_core::mount::MountOptions;
use vexfs_core::Fs;
use vexfs_engine::Batch;
use vexfs_engine::Collection;
use vexfs_engine::Collections;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_host::device::Device;
use vexfs_host::device::RamBackend;
use vexfs_host::sync::Arc;
use zerocopy::IntoBytes;

/// Bytes of vectors to scan: `VEXFS_BENCH_MIB` mebibytes, 1 GiB by default. Should be several times the last-level
/// cache.
pub fn bytes_to_scan() -> usize {
    let mib = std::env::var("VEXFS_BENCH_MIB")
        .ok()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or(1024);
    mib << 20
}

/// Pseudo-random floats in -1.0..1.0, as bits.
pub fn floats(seed: u64, count: usize) -> Vec<u32> {
    let mut state = seed;
    let float = |_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0).to_bits()
    };
    (0..count).map(float).collect()
}

/// A filesystem in memory of `len` bytes with one new inode of this mode; returns its number, too.
pub fn filesystem(len: u64, mode: u32) -> (Arc<Fs>, u64) {
    let dev = Device::from_backend(StdArc::new(RamBackend::new(len)));
    Fs::format(&dev, &FormatOptions::default()).expect("format");
    let fs = Fs::mount(dev, MountOptions::default()).expect("mount");
    let new = NewInode {
        mode,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: None,
        now: Time::now(),
        xattrs: &[],
    };
    let ino = fs.create(2, b"bench", &new).expect("create").ino;
    (fs, ino)
}

/// A filesystem in memory with a collection.
pub struct World {
    pub fs: Arc<Fs>,
    pub all: Collections,
    pub collection: Arc<Collection>,
}

impl World {
    /// An empty collection of `dim` dimensions on a device of `len` bytes; `metric` is `VEXFS_METRIC_*`.
    pub fn new(len: u64, dim: usize, metric: u32) -> Self {
        let (fs, dir) = filesystem(len, 0o040755);
        let all = Collections::new(fs.clone()).expect("collections");
        let params = Params::new(dim as u32, 1, metric, 0).expect("parameters");
        all.create(dir, &params).expect("create collection");
        let collection = all.get(dir).expect("collection");
        Self { fs, all, collection }
    }

    /// Inserts packed vectors in batches of `rows`.
    pub fn insert(&self, vectors: &[u32], rows: usize) {
        for vectors in vectors.chunks(rows * self.collection.params().dim()) {
            let batch = Batch {
                vectors: vectors.as_bytes(),
                ..Batch::default()
            };
            self.collection.insert(&batch, InsertMode::default()).expect("insert");
        }
    }
}

/// The CPU time that this thread has used. Unlike the wall clock it does not count the time that other processes take,
/// so that two single-threaded pieces of work can be compared on a machine that is busy otherwise.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec to be filled in.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "clock_gettime");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Reads all of a buffer once, as fast as one core can; the result depends on every word.
///
/// Of two loops, one with software prefetch and one that leaves it to the hardware, use the better: which one that is
/// differs between CPUs.
pub fn read_all(words: &[u32], prefetch: bool) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe {
            if prefetch {
                xor_avx2::<2048>(words)
            } else {
                xor_avx2::<0>(words)
            }
        };
    }
    let _ = prefetch;
    words.iter().fold(0, |a, b| a ^ b)
}

/// # Safety
///
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn xor_avx2<const AHEAD: usize>(words: &[u32]) -> u32 {
    use std::arch::x86_64::*;
    let blocks = words.chunks_exact(64);
    let rest = blocks.remainder().iter().fold(0, |a, b| a ^ b);
    let mut lanes = [0u32; 8];
    // SAFETY: every load is of eight words inside a block of 64; a prefetch of any address is harmless.
    unsafe {
        let mut sums = [_mm256_setzero_si256(); 8];
        for block in blocks {
            let start = block.as_ptr();
            for (i, sum) in sums.iter_mut().enumerate() {
                if AHEAD > 0 && i % 2 == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(8 * i + AHEAD).cast());
                }
                *sum = _mm256_xor_si256(*sum, _mm256_loadu_si256(start.add(8 * i).cast()));
            }
        }
        let sum = sums.iter().fold(_mm256_setzero_si256(), |a, b| _mm256_xor_si256(a, *b));
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum);
    }
    lanes.iter().fold(rest, |a, b| a ^ b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_all_depends_on_every_word() {
        let words = floats(3, 1000);
        let want = words.iter().fold(0, |a, b| a ^ b);
        assert_eq!((read_all(&words, false), read_all(&words, true)), (want, want));
    }
}
