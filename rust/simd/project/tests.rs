// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Projections against a plain one in `f64`, and what they promise about all variants.

use super::Projection;
use super::Which;
use super::SKETCH_BYTES;
use crate::Element;
use crate::Kernels;
use crate::Metric;
use crate::Rows;
use crate::Space;
use crate::Variant;
use std::vec;
use std::vec::Vec;

fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    *state >> 33
}

fn signs(width: usize, outputs: usize) -> Vec<u32> {
    let mut state = 5;
    let len = Projection::signs_len(width, outputs).unwrap();
    (0..len).map(|_| ((random(&mut state) & 1) as u32) << 31).collect()
}

/// Three times signs and a Hadamard transform by its definition.
fn plain(x: &[f64], signs: &[u32], width: usize) -> Vec<f64> {
    let mut x = x.to_vec();
    x.resize(width, 0.0);
    for round in 0..3 {
        for (x, sign) in x.iter_mut().zip(&signs[round * width..]) {
            *x *= if *sign != 0 { -1.0 } else { 1.0 };
        }
        x = (0..width)
            .map(|i| {
                let sign = |j: usize| if (i & j).count_ones() % 2 == 1 { -1.0 } else { 1.0 };
                (0..width).map(|j| sign(j) * x[j]).sum()
            })
            .collect();
    }
    x
}

#[test]
fn projections_are_those_of_the_definition() {
    for (dim, width, outputs, lengthen) in [(5, 8, 8, false), (20, 64, 40, true), (64, 64, 150, false)] {
        let space = Space::new(Element::F32, Metric::L2, dim).unwrap();
        let mut state = 9;
        let row: Vec<f32> = (0..dim)
            .map(|_| random(&mut state) as f32 / (1u64 << 31) as f32 - 0.5)
            .collect();
        let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
        let rows = Rows::new(&space, &bytes, bytes.len(), 1, &[]).unwrap();
        let signs = signs(width, outputs);
        let projection = Projection {
            signs: &signs,
            width,
            outputs,
            scale: 1024f32.to_bits(),
            length: lengthen.then_some(8192f32.to_bits()),
        };
        let (mut scratch, mut out) = (vec![0; width], vec![0; outputs]);
        let kernels = Kernels::with(Variant::Scalar).unwrap();
        kernels
            .project(&projection, &rows, &[], &mut scratch, &mut out)
            .unwrap();
        let mut x: Vec<f64> = row.iter().map(|x| f64::from(*x) * 1024.0).collect();
        if lengthen {
            x.push((8192f64 * 8192.0 - x.iter().map(|x| x * x).sum::<f64>()).sqrt());
        }
        for (block, out) in out.chunks(width).enumerate() {
            let expected = plain(&x, &signs[block * width * 3..], width);
            for (out, expected) in out.iter().zip(expected) {
                assert!((f64::from(*out) - expected).abs() < 2.0 + expected.abs() * 1e-5);
            }
        }
    }
}

#[test]
fn every_variant_gives_the_same_integers() {
    let best = Kernels::detect();
    let scalar = Kernels::with(Variant::Scalar).unwrap();
    for element in [
        Element::F32,
        Element::F16,
        Element::Bf16,
        Element::I8,
        Element::U8,
        Element::Binary,
    ] {
        let metric = if element == Element::Binary {
            Metric::Hamming
        } else {
            Metric::L2
        };
        let dim = 100;
        let space = Space::new(element, metric, dim).unwrap();
        let mut state = 11;
        let mut bytes: Vec<u8> = (0..7 * space.row_bytes()).map(|_| random(&mut state) as u8).collect();
        if element.is_float() {
            // Exponents of ordinary numbers.
            let size = space.row_bytes() / dim;
            for high in bytes.iter_mut().skip(size - 1).step_by(size) {
                *high = *high & 0x80 | 0x3c;
            }
        }
        let rows = Rows::new(&space, &bytes, space.row_bytes(), 7, &[]).unwrap();
        let signs = signs(128, 256);
        let projection = Projection {
            signs: &signs,
            width: 128,
            outputs: 256,
            scale: 16f32.to_bits(),
            length: None,
        };
        let norms = [0.5f32.to_bits(); 7];
        let mut scratch = vec![0; 128];
        let (mut a, mut b) = (vec![0; 7 * 256], vec![0; 7 * 256]);
        best.project(&projection, &rows, &norms, &mut scratch, &mut a).unwrap();
        scalar
            .project(&projection, &rows, &norms, &mut scratch, &mut b)
            .unwrap();
        assert_eq!(a, b);
        assert!(a.iter().any(|x| *x != 0));
        // A row alone gives what it gives among others.
        let mut one = vec![0; 256];
        let row = rows.slice(3..4).unwrap();
        best.project(&projection, &row, &norms[..1], &mut scratch, &mut one)
            .unwrap();
        assert_eq!(one, a[3 * 256..4 * 256]);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let space = Space::new(Element::U8, Metric::L2, 64).unwrap();
    let bytes = [1; 64];
    let rows = Rows::new(&space, &bytes, 64, 1, &[]).unwrap();
    let kernels = Kernels::detect();
    let signs = signs(64, 64);
    let good = Projection {
        signs: &signs,
        width: 64,
        outputs: 64,
        scale: 1f32.to_bits(),
        length: None,
    };
    let run = |p: &Projection<'_>, norms: &[u32], scratch: usize, out: usize| {
        kernels.project(p, &rows, norms, &mut vec![0; scratch], &mut vec![0; out])
    };
    assert!(run(&good, &[], 64, 64).is_ok());
    assert!(run(&good, &[0, 0], 64, 64).is_err());
    assert!(run(&good, &[], 63, 64).is_err());
    assert!(run(&good, &[], 64, 65).is_err());
    assert!(run(&Projection { outputs: 65, ..good }, &[], 64, 65).is_err());
    assert!(run(&Projection { width: 32, ..good }, &[], 32, 64).is_err());
    assert!(run(
        &Projection {
            length: Some(0),
            ..good
        },
        &[],
        64,
        64
    )
    .is_err());
    assert!(run(&Projection { signs: &[], ..good }, &[], 64, 64).is_err());
}

#[test]
fn near_sketches_are_those_of_few_differing_bits_in_every_variant() {
    let mut state = 3;
    let count = 1000;
    let sketches: Vec<u8> = (0..count * SKETCH_BYTES).map(|_| random(&mut state) as u8).collect();
    let query: [u8; SKETCH_BYTES] = core::array::from_fn(|_| random(&mut state) as u8);
    let distance = |row: u32| -> u32 {
        let sketch = sketches[row as usize * SKETCH_BYTES..].iter();
        sketch.zip(&query).map(|(a, b)| (a ^ b).count_ones()).sum()
    };
    let mut variants = vec![Kernels::with(Variant::Scalar).unwrap(), Kernels::detect()];
    #[cfg(target_arch = "x86_64")]
    variants.extend(Kernels::with(Variant::Avx2));
    for kernels in variants {
        for limit in [0, 120, 128, 256] {
            for (from, to) in [(0, count), (0, 0), (5, 12), (3, 20), (17, 900)] {
                let ids: Vec<u32> = (from as u32..to as u32).map(|i| i * 7919 % count as u32).collect();
                let all: Vec<u32> = (from as u32..to as u32).collect();
                for (which, order) in [(Which::Range(from, to), &all), (Which::Ids(&ids), &ids)] {
                    let expected: Vec<(u32, u32)> = order
                        .iter()
                        .map(|row| (*row, distance(*row)))
                        .filter(|(_, distance)| *distance <= limit)
                        .collect();
                    let (mut rows, mut distances) = (vec![0; to - from], vec![0; to - from]);
                    let found = kernels
                        .near_sketches(&query, &sketches, which, limit, &mut rows, &mut distances)
                        .unwrap();
                    let got: Vec<(u32, u32)> = rows.into_iter().zip(distances).take(found).collect();
                    assert_eq!(got, expected);
                }
            }
        }
        let mut out = [0; 8];
        let mut refused = |which| {
            let mut rows = [0; 8];
            kernels
                .near_sketches(&query, &sketches, which, 9, &mut rows, &mut out)
                .is_err()
        };
        assert!(refused(Which::Range(0, 9)) && refused(Which::Range(996, 1001)) && refused(Which::Range(3, 2)));
        assert!(refused(Which::Ids(&[1000])));
    }
}
