// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Every variant against an `f64` reference, against itself in other surroundings, and against the end of its memory.

mod codes;
mod elements;

use crate::kernels::SECTION_BYTES;
use crate::*;
use std::vec;
use std::vec::Vec;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Cosine, Metric::Ip];

/// The variants of this CPU.
fn variants() -> Vec<Kernels> {
    let all = [
        Variant::Scalar,
        #[cfg(target_arch = "x86_64")]
        Variant::Sse2,
        #[cfg(target_arch = "x86_64")]
        Variant::Avx2,
        #[cfg(vexfs_avx512)]
        Variant::Avx512,
        #[cfg(target_arch = "aarch64")]
        Variant::Neon,
    ];
    all.into_iter().filter_map(Kernels::with).collect()
}

/// Dimensions that reach every tail of every block size, and some large ones.
fn dims() -> impl Iterator<Item = usize> {
    (1..=130).chain([255, 256, 257, 384, 511, 768, 1000, 1536, 2047, 4095, 4096])
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In -1.0 .. 1.0.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// Any finite float, all exponents alike.
    fn finite(&mut self) -> f32 {
        loop {
            let x = f32::from_bits(self.next() as u32);
            if x.is_finite() {
                return x;
            }
        }
    }

    fn vector(&mut self, kind: Kind, dim: usize) -> Vec<u32> {
        let mut v: Vec<f32> = (0..dim)
            .map(|i| match kind {
                Kind::Unit => self.unit(),
                Kind::Integers => (self.next() % 256) as f32,
                Kind::AnyFinite => self.finite(),
                Kind::Denormal => f32::from_bits(self.next() as u32 & 0x807f_ffff),
                Kind::Huge => f32::MAX * self.unit().signum(),
                Kind::Large => self.unit() * 1e19,
                Kind::Cancelling => {
                    let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                    sign * 1e6 * (1.0 + 1e-3 * self.unit())
                }
            })
            .collect();
        if v.iter().all(|x| *x == 0.0) {
            v[dim / 2] = f32::from_bits(1);
        }
        v.into_iter().map(f32::to_bits).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unit,
    Integers,
    AnyFinite,
    Denormal,
    Huge,
    Large,
    Cancelling,
}

const KINDS: [Kind; 7] = [
    Kind::Unit,
    Kind::Integers,
    Kind::AnyFinite,
    Kind::Denormal,
    Kind::Huge,
    Kind::Large,
    Kind::Cancelling,
];

fn wide(bits: &[u32]) -> impl Iterator<Item = f64> + Clone + '_ {
    bits.iter().map(|b| f64::from(f32::from_bits(*b)))
}

/// The distance in `f64`, and how far an `f32` computation may be from it.
fn reference(metric: Metric, a: &[u32], b: &[u32]) -> (f64, f64) {
    let pairs = || wide(a).zip(wide(b));
    let rounding = (a.len() + 8) as f64 * f64::from(f32::EPSILON) / 2.0;
    let underflow = a.len() as f64 * f64::from(f32::from_bits(1));
    match metric {
        Metric::Hamming => unreachable!("floats"),
        Metric::L2 => {
            let sum: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
            (sum, 2.0 * rounding * sum + underflow)
        }
        Metric::Ip => {
            let sum: f64 = pairs().map(|(x, y)| x * y).sum();
            let size: f64 = pairs().map(|(x, y)| (x * y).abs()).sum();
            (-sum, rounding * size + underflow)
        }
        Metric::Cosine => {
            let dot: f64 = pairs().map(|(x, y)| x * y).sum();
            let norms = wide(a).map(|x| x * x).sum::<f64>().sqrt() * wide(b).map(|x| x * x).sum::<f64>().sqrt();
            (1.0 - dot / norms, rounding + 4.0 * f64::from(f32::EPSILON))
        }
    }
}

/// The bytes of words.
fn bytes(words: &[u32]) -> &[u8] {
    // SAFETY: words have no padding, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 4 * words.len()) }
}

fn bytes_mut(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: as in `bytes`; any bytes make words.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 4 * words.len()) }
}

fn space(metric: Metric, dim: usize) -> Space {
    Space::new(Element::F32, metric, dim).unwrap()
}

fn norms(kernels: Kernels, space: &Space, rows: &[u8]) -> Vec<u32> {
    if !space.needs_norms() {
        return vec![];
    }
    let mut norms = vec![0; rows.len() / space.row_bytes()];
    kernels.inv_norms(space, rows, &mut norms).unwrap();
    norms
}

fn keys(kernels: Kernels, metric: Metric, query: &[u32], rows: &[u32]) -> Vec<u32> {
    let (space, count) = (space(metric, query.len()), rows.len() / query.len());
    let norms = norms(kernels, &space, bytes(rows));
    let mut keys = vec![0; count];
    let rows = Rows::new(&space, bytes(rows), space.row_bytes(), count, &norms).unwrap();
    let query = kernels.query(&space, bytes(query)).unwrap();
    kernels.scan(&[query], &rows, &mut keys).unwrap();
    let mut gathered = vec![0; count];
    let ids: Vec<u32> = (0..count as u32).rev().collect();
    kernels.gather(&query, &rows, &ids, &mut gathered).unwrap();
    gathered.reverse();
    assert_eq!(keys, gathered);
    keys
}

#[test]
fn every_variant_agrees_with_f64_on_every_dimension_and_kind_of_input() {
    let mut random = Random(1);
    for dim in dims() {
        for query_kind in KINDS {
            let query = random.vector(query_kind, dim);
            let mut rows = query.clone();
            rows.extend(query.iter().map(|bits| bits ^ 0x8000_0000));
            for kind in KINDS {
                rows.extend(random.vector(kind, dim));
            }
            for metric in METRICS {
                for kernels in variants() {
                    for (row, key) in rows.chunks(dim).zip(keys(kernels, metric, &query, &rows)) {
                        let got = f32::from_bits(bits_of(key));
                        let (want, tolerance) = reference(metric, &query, row);
                        let at = (kernels.name(), metric, dim, query_kind, got, want);
                        assert!(!got.is_nan(), "{at:?}");
                        if got.is_infinite() {
                            assert!(want.abs() + tolerance >= f64::from(f32::MAX), "{at:?}");
                            assert_eq!(want > 0.0, got > 0.0, "{at:?}");
                        } else {
                            assert!((f64::from(got) - want).abs() <= tolerance, "{at:?} {tolerance}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn integer_vectors_have_the_same_exact_keys_in_every_variant() {
    let mut random = Random(2);
    for dim in 1..=130 {
        let query = random.vector(Kind::Integers, dim);
        let rows: Vec<u32> = (0..9).flat_map(|_| random.vector(Kind::Integers, dim)).collect();
        for metric in [Metric::L2, Metric::Ip] {
            for kernels in variants() {
                let want: Vec<u32> = rows
                    .chunks(dim)
                    .map(|row| key_of((reference(metric, &query, row).0 as f32).to_bits()))
                    .collect();
                assert_eq!(
                    keys(kernels, metric, &query, &rows),
                    want,
                    "{} {metric:?} {dim}",
                    kernels.name()
                );
            }
        }
    }
}

#[test]
fn a_key_does_not_depend_on_the_place_of_the_row_or_on_its_companions() {
    let mut random = Random(3);
    for dim in [1, 3, 7, 8, 15, 16, 17, 31, 100, 128, 384, 4096] {
        let queries: Vec<Vec<u32>> = (0..3).map(|_| random.vector(Kind::Unit, dim)).collect();
        let rows: Vec<u32> = (0..11).flat_map(|_| random.vector(Kind::Unit, dim)).collect();
        for metric in METRICS {
            for kernels in variants() {
                let alone: Vec<u32> = queries
                    .iter()
                    .flat_map(|q| rows.chunks(dim).map(|row| keys(kernels, metric, q, row)[0]))
                    .collect();
                for from in 0..11 {
                    for to in from..=11 {
                        assert_eq!(
                            keys(kernels, metric, &queries[0], &rows[from * dim..to * dim]),
                            alone[from..to],
                            "{} {metric:?} {dim} {from}..{to}",
                            kernels.name()
                        );
                    }
                }
                // With a gap after each row, and several queries at once.
                let space = space(metric, dim);
                let stride = 4 * dim + 5;
                let mut apart = vec![0xff; 11 * stride - 5];
                for (i, row) in rows.chunks(dim).enumerate() {
                    apart[i * stride..][..4 * dim].copy_from_slice(bytes(row));
                }
                let norms = norms(kernels, &space, bytes(&rows));
                let strided = Rows::new(&space, &apart, stride, 11, &norms).unwrap();
                let prepared: Vec<Query<'_>> = queries
                    .iter()
                    .map(|q| kernels.query(&space, bytes(q)).unwrap())
                    .collect();
                let mut tile = vec![0; 33];
                kernels.scan(&prepared, &strided, &mut tile).unwrap();
                assert_eq!(tile, alone);
            }
        }
    }
}

#[test]
fn a_call_larger_than_a_section_gives_the_keys_of_its_parts() {
    let mut random = Random(4);
    let (dim, count) = (96, 3 * SECTION_BYTES / 96 + 5);
    let query = random.vector(Kind::Unit, dim);
    let rows: Vec<u32> = (0..count).flat_map(|_| random.vector(Kind::Unit, dim)).collect();
    for metric in METRICS {
        for kernels in variants() {
            let whole = keys(kernels, metric, &query, &rows);
            let parts: Vec<u32> = rows
                .chunks(7 * dim)
                .flat_map(|rows| keys(kernels, metric, &query, rows))
                .collect();
            assert_eq!(whole, parts);
        }
    }
}

/// Memory that ends where an unreadable page begins.
#[cfg(target_os = "linux")]
struct Edge {
    base: *mut u8,
    len: usize,
}

#[cfg(target_os = "linux")]
impl Edge {
    const PAGE: usize = 65536;

    fn new(content: &[u32]) -> Self {
        Self::of_bytes(bytes(content))
    }

    fn of_bytes(content: &[u8]) -> Self {
        assert!(content.len() <= Self::PAGE);
        // SAFETY: a fresh anonymous mapping of two pages, of which the second is made inaccessible.
        let base = unsafe {
            let (rw, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            let base = libc::mmap(std::ptr::null_mut(), 2 * Self::PAGE, rw, flags, -1, 0).cast::<u8>();
            assert!(base.cast() != libc::MAP_FAILED);
            assert_eq!(
                libc::mprotect(base.add(Self::PAGE).cast(), Self::PAGE, libc::PROT_NONE),
                0
            );
            base
        };
        let mut edge = Self {
            base,
            len: content.len(),
        };
        edge.bytes_mut().copy_from_slice(content);
        edge
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the last `len` bytes of the first page, which lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(Self::PAGE - self.len), self.len) }
    }

    /// The content, if it is words.
    fn as_mut(&mut self) -> &mut [u32] {
        assert_eq!(self.len % 4, 0);
        // SAFETY: as in `bytes_mut`; the end is aligned, and so is the start.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(Self::PAGE - self.len).cast(), self.len / 4) }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Edge {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, which nothing refers to any more.
        unsafe { libc::munmap(self.base.cast(), 2 * Self::PAGE) };
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_read_or_written_beyond_the_last_element() {
    let mut random = Random(5);
    for dim in 1..=130 {
        for count in 1..=5 {
            let mut query = Edge::new(&random.vector(Kind::Unit, dim));
            let content: Vec<u32> = (0..count).flat_map(|_| random.vector(Kind::Unit, dim)).collect();
            let mut rows = Edge::new(&content);
            let mut out = Edge::new(&vec![0; count]);
            for metric in METRICS {
                for kernels in variants() {
                    let space = space(metric, dim);
                    let mut norms = Edge::new(&norms(kernels, &space, bytes(rows.as_mut())));
                    let want = keys(kernels, metric, query.as_mut(), &content);
                    let query = kernels.query(&space, bytes(query.as_mut())).unwrap();
                    let rows = bytes(rows.as_mut());
                    let rows = Rows::new(&space, rows, 4 * dim, count, norms.as_mut()).unwrap();
                    kernels.scan(&[query], &rows, out.as_mut()).unwrap();
                    assert_eq!(out.as_mut(), want);
                    let mut ids = Edge::new(&(0..count as u32).collect::<Vec<u32>>());
                    kernels.gather(&query, &rows, ids.as_mut(), out.as_mut()).unwrap();
                    assert_eq!(out.as_mut(), want);
                }
            }
            let space = space(Metric::L2, dim);
            variants()[0].normalize(&space, bytes_mut(rows.as_mut())).unwrap();
        }
    }
}

#[test]
fn keys_order_as_floats_do_and_convert_back() {
    let mut random = Random(6);
    let mut floats: Vec<f32> = (0..5000).map(|_| random.finite()).collect();
    floats.extend([
        0.0,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        -f32::from_bits(1),
        f32::INFINITY,
        f32::NEG_INFINITY,
    ]);
    floats.sort_by(f32::total_cmp);
    for pair in floats.windows(2) {
        assert_eq!(
            pair[0] < pair[1],
            key_of(pair[0].to_bits()) < key_of(pair[1].to_bits()),
            "{pair:?}"
        );
    }
    for x in floats {
        assert_eq!(bits_of(key_of(x.to_bits())), x.to_bits());
    }
    assert_eq!(key_of(0.0f32.to_bits()), key_of((-0.0f32).to_bits()));
    assert!(key_of(f32::NAN.to_bits()) > key_of(f32::INFINITY.to_bits()));
}

#[test]
fn equal_vectors_are_at_distance_zero() {
    let mut random = Random(7);
    for kind in [Kind::Unit, Kind::Integers, Kind::Denormal] {
        let v = random.vector(kind, 100);
        for kernels in variants() {
            assert_eq!(bits_of(keys(kernels, Metric::L2, &v, &v)[0]), 0);
            let cosine = f32::from_bits(bits_of(keys(kernels, Metric::Cosine, &v, &v)[0]));
            assert!((0.0..1e-6).contains(&cosine), "{cosine}");
        }
    }
}

#[test]
fn check_names_what_is_wrong_with_a_vector() {
    let good = [1.0f32, -0.0, f32::MAX, f32::from_bits(1)].map(f32::to_bits);
    let zero = [0.0f32, -0.0].map(f32::to_bits);
    for metric in METRICS {
        assert_eq!(space(metric, 4).check(bytes(&good)), Ok(()));
        assert_eq!(space(metric, 3).check(bytes(&good)), Err(BadVector::Length));
        for x in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let bad = [good[0], x.to_bits()];
            assert_eq!(space(metric, 2).check(bytes(&bad)), Err(BadVector::NotFinite));
        }
    }
    assert_eq!(space(Metric::Cosine, 2).check(bytes(&zero)), Err(BadVector::Zero));
    assert_eq!(space(Metric::L2, 2).check(bytes(&zero)), Ok(()));
}

#[test]
fn normalized_rows_have_length_one_whatever_their_scale() {
    let mut random = Random(8);
    for kind in [Kind::Unit, Kind::Integers, Kind::Huge, Kind::Large, Kind::Cancelling] {
        for dim in [1, 2, 3, 5, 128, 385] {
            let mut rows: Vec<u32> = (0..3).flat_map(|_| random.vector(kind, dim)).collect();
            let before = rows.clone();
            let space = space(Metric::Cosine, dim);
            variants()[0].normalize(&space, bytes_mut(&mut rows)).unwrap();
            for (row, before) in rows.chunks(dim).zip(before.chunks(dim)) {
                let norm = wide(row).map(|x| x * x).sum::<f64>().sqrt();
                assert!((norm - 1.0).abs() < 1e-6, "{kind:?} {dim} {norm}");
                assert!(row.iter().zip(before).all(|(x, y)| (x ^ y) >> 31 == 0));
            }
        }
    }
    let mut zero = [0, 0x8000_0000];
    variants()[0]
        .normalize(&space(Metric::Cosine, 2), bytes_mut(&mut zero))
        .unwrap();
    assert_eq!(zero, [0, 0x8000_0000]);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let kernels = Kernels::detect();
    let words = [0u32; 12];
    let of = |dim, stride, count, norms: &[u32]| {
        Rows::new(&space(Metric::L2, dim), bytes(&words), stride, count, norms).map(|_| ())
    };
    assert_eq!(of(4, 16, 3, &[]), Ok(()));
    assert_eq!(of(2, 20, 3, &[]), Ok(()));
    assert_eq!(of(4, 16, 4, &[]), Err(ShapeMismatch));
    assert_eq!(of(4, 16, 3, &[0; 3]), Err(ShapeMismatch));
    assert_eq!(of(4, 15, 1, &[]), Err(ShapeMismatch));
    assert_eq!(of(4, usize::MAX, 3, &[]), Err(ShapeMismatch));
    assert!(Space::new(Element::F32, Metric::L2, 0).is_none());
    assert!(Space::new(Element::F32, Metric::Hamming, 8).is_none());
    assert!(Space::new(Element::Binary, Metric::L2, 8).is_none());

    let (l2, cosine) = (space(Metric::L2, 4), space(Metric::Cosine, 4));
    assert!(Rows::new(&cosine, bytes(&words), 16, 3, &[]).is_err());
    let rows = Rows::new(&l2, bytes(&words), 16, 3, &[]).unwrap();
    assert!(rows.slice(1..3).is_some_and(|rows| rows.count() == 2));
    assert!(rows.slice(1..4).is_none());
    let query = kernels.query(&l2, bytes(&words[..4])).unwrap();
    assert!(kernels.query(&l2, bytes(&words[..3])).is_err());
    assert!(kernels.scan(&[query], &rows, &mut [0; 3]).is_ok());
    assert!(kernels.scan(&[query], &rows, &mut [0; 4]).is_err());
    assert!(kernels.gather(&query, &rows, &[2, 0], &mut [0; 2]).is_ok());
    assert!(kernels.gather(&query, &rows, &[2, 3], &mut [0; 2]).is_err());
    assert!(kernels.gather(&query, &rows, &[2], &mut [0; 2]).is_err());
    let other = kernels.query(&cosine, bytes(&words[..4])).unwrap();
    assert!(kernels.scan(&[other], &rows, &mut [0; 3]).is_err());
    assert!(kernels.gather(&other, &rows, &[0], &mut [0]).is_err());
    assert!(kernels.inv_norms(&l2, bytes(&words), &mut [0; 2]).is_err());
    assert!(kernels.normalize(&l2, bytes_mut(&mut [0; 5])).is_err());
}
