// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Every element type with every metric of it, and codes, in every variant.

use super::*;

const ELEMENTS: [Element; 6] = [
    Element::F32,
    Element::F16,
    Element::Bf16,
    Element::I8,
    Element::U8,
    Element::Binary,
];

fn spaces(dim: usize) -> impl Iterator<Item = Space> {
    let metrics = [Metric::L2, Metric::Cosine, Metric::Ip, Metric::Hamming];
    ELEMENTS.into_iter().flat_map(move |element| {
        metrics
            .into_iter()
            .filter_map(move |metric| Space::new(element, metric, dim))
    })
}

/// A row that no check refuses.
fn row(random: &mut Random, space: &Space) -> Vec<u8> {
    let dim = space.dim();
    let mut row: Vec<u8> = match space.element() {
        Element::F32 => (0..dim).flat_map(|_| random.unit().to_le_bytes()).collect(),
        // From 2^-7 to 1, of either sign.
        Element::F16 => (0..dim)
            .flat_map(|_| ((0x2000 + random.next() as u16 % 0x1c00) | (random.next() as u16 & 0x8000)).to_le_bytes())
            .collect(),
        Element::Bf16 => (0..dim)
            .flat_map(|_| (random.unit().to_bits() >> 16).to_le_bytes()[..2].to_vec())
            .collect(),
        _ => (0..space.row_bytes()).map(|_| random.next() as u8).collect(),
    };
    if space.element() == Element::Binary && dim % 8 != 0 {
        *row.last_mut().unwrap() &= (1 << (dim % 8)) - 1;
    }
    if space.check(&row).is_err() {
        row[0] |= 1;
    }
    assert_eq!(space.check(&row), Ok(()));
    row
}

/// The elements as numbers.
fn numbers(space: &Space, row: &[u8]) -> Vec<f64> {
    let half = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]);
    match space.element() {
        Element::F32 => row
            .chunks(4)
            .map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap())))
            .collect(),
        Element::F16 => row.chunks(2).map(|x| binary16(half(x))).collect(),
        Element::Bf16 => row
            .chunks(2)
            .map(|x| f64::from(f32::from_bits(u32::from(half(x)) << 16)))
            .collect(),
        Element::I8 => row.iter().map(|x| f64::from(*x as i8)).collect(),
        Element::U8 => row.iter().map(|x| f64::from(*x)).collect(),
        Element::Binary => (0..space.dim()).map(|i| f64::from(row[i / 8] >> (i % 8) & 1)).collect(),
    }
}

/// A finite binary16, as IEEE 754-2019, section 3.4, says.
fn binary16(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// The distance, and how far a result in `f32` may be from it.
fn reference(space: &Space, a: &[u8], b: &[u8]) -> (f64, f64) {
    let (a, b) = (numbers(space, a), numbers(space, b));
    let pairs = || a.iter().zip(&b);
    let squares: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
    let dot: f64 = pairs().map(|(x, y)| x * y).sum();
    let size: f64 = pairs().map(|(x, y)| (x * y).abs()).sum();
    let exact = matches!(space.element(), Element::I8 | Element::U8 | Element::Binary);
    // An exact sum is rounded once, which the distance is too.
    let relative = if exact {
        0.0
    } else {
        (a.len() + 8) as f64 * f64::from(f32::EPSILON)
    };
    match space.metric() {
        Metric::L2 | Metric::Hamming => (squares as f32 as f64, relative * squares),
        Metric::Ip => (f64::from(-dot as f32), relative * size),
        Metric::Cosine => {
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let tolerance = relative + 8.0 * f64::from(f32::EPSILON);
            (1.0 - dot / (norm(&a) * norm(&b)), tolerance)
        }
    }
}

#[test]
fn every_variant_agrees_with_f64_on_every_element_metric_and_dimension() {
    let mut random = Random(20);
    for dim in dims() {
        for space in spaces(dim) {
            let query = row(&mut random, &space);
            let rows: Vec<u8> = (0..6)
                .flat_map(|_| row(&mut random, &space))
                .chain(query.clone())
                .collect();
            for kernels in variants() {
                let norms = norms(kernels, &space, &rows);
                let query = kernels.query(&space, &query).unwrap();
                let all = Rows::new(&space, &rows, space.row_bytes(), 7, &norms).unwrap();
                let mut keys = [0; 7];
                kernels.scan(&[query], &all, &mut keys).unwrap();
                for (i, key) in keys.iter().enumerate() {
                    let got = f64::from(f32::from_bits(bits_of(*key)));
                    let (want, tolerance) = reference(&space, query.bytes(), all.row(i).unwrap());
                    assert!(
                        (got - want).abs() <= tolerance,
                        "{} {space:?} {i}: {got} {want} {tolerance}",
                        kernels.name()
                    );
                }
                // One row at a time, and in any order.
                for i in 0..7 {
                    let mut key = [0];
                    kernels.gather(&query, &all, &[i], &mut key).unwrap();
                    assert_eq!(key[0], keys[i as usize], "{} {space:?} {i}", kernels.name());
                }
                let ids = [3, 3, 0, 6, 1, 2, 5, 4, 0, 6, 6];
                let mut some = [0; 11];
                kernels.gather(&query, &all, &ids, &mut some).unwrap();
                assert_eq!(some.to_vec(), ids.map(|id| keys[id as usize]).to_vec(), "{space:?}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_byte_is_read_beyond_the_last_element_of_any_type() {
    let mut random = Random(21);
    for dim in 1..=130 {
        for space in spaces(dim) {
            for count in 1..=5 {
                let content: Vec<u8> = (0..count).flat_map(|_| row(&mut random, &space)).collect();
                let one = row(&mut random, &space);
                let (mut rows, mut query) = (Edge::of_bytes(&content), Edge::of_bytes(&one));
                for kernels in variants() {
                    let norms = norms(kernels, &space, rows.bytes_mut());
                    let (mut keys, mut want) = (vec![0; count], vec![0; count]);
                    let plain = Rows::new(&space, &content, space.row_bytes(), count, &norms).unwrap();
                    let of = kernels.query(&space, &one).unwrap();
                    kernels.scan(&[of], &plain, &mut want).unwrap();
                    let query = kernels.query(&space, query.bytes_mut()).unwrap();
                    let rows = Rows::new(&space, rows.bytes_mut(), space.row_bytes(), count, &norms).unwrap();
                    kernels.scan(&[query], &rows, &mut keys).unwrap();
                    assert_eq!(keys, want);
                }
            }
        }
    }
}

#[test]
fn vectors_without_room_for_their_products_have_the_distance_that_f64_gives() {
    // bf16 has the range of f32.
    let (huge, tiny) = (0x7f7f_u16, 0x0001_u16);
    let vector = |x: u16| -> Vec<u8> { (0..40).flat_map(|_| x.to_le_bytes()).collect() };
    for kernels in variants() {
        let space = Space::new(Element::Bf16, Metric::Cosine, 40).unwrap();
        let rows = [vector(huge), vector(tiny), vector(huge | 0x8000)].concat();
        let norms = norms(kernels, &space, &rows);
        let rows = Rows::new(&space, &rows, 80, 3, &norms).unwrap();
        let mut keys = [0; 3];
        for query in [vector(huge), vector(tiny)] {
            let query = kernels.query(&space, &query).unwrap();
            kernels.gather(&query, &rows, &[0, 1, 2], &mut keys).unwrap();
            let distances = keys.map(|key| f32::from_bits(bits_of(key)));
            assert!(
                distances[0] < 1e-6 && distances[1] < 1e-6 && distances[2] > 1.999_999,
                "{distances:?}"
            );
        }
        let space = Space::new(Element::Bf16, Metric::L2, 40).unwrap();
        let rows = Rows::new(&space, rows.bytes, 80, 3, &[]).unwrap();
        let query = vector(huge);
        kernels
            .gather(&kernels.query(&space, &query).unwrap(), &rows, &[0, 1, 2], &mut keys)
            .unwrap();
        assert_eq!(keys.map(bits_of), [0, f32::INFINITY.to_bits(), f32::INFINITY.to_bits()]);
    }
}

#[test]
fn floats_are_converted_to_the_nearest_of_the_other_type() {
    let kernels = Kernels::detect();
    let floats: [f32; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        65504.0,
        65519.9,
        65520.0,
        -1e9,
        1.0 + 1.0 / 2048.0,
        1.0 + 3.0 / 2048.0,
        6e-8,
        2.9e-8,
        3.1e-8,
        -6.1e-5,
        f32::MAX,
        f32::from_bits(0x3f80_8001),
    ];
    let words = floats.map(f32::to_bits);
    let space = space(Metric::L2, 16);
    let rows = Rows::new(&space, bytes(&words), 64, 1, &[]).unwrap();
    let mut out = [0; 32];
    kernels.convert(&rows, Element::F16, &mut out, 32, 0).unwrap();
    let f16: [u16; 16] = std::array::from_fn(|i| u16::from_le_bytes([out[2 * i], out[2 * i + 1]]));
    let want = [
        0, 0x8000, 0x3c00, 0xbe00, 0x7bff, 0x7bff, 0x7bff, 0xfbff, 0x3c00, 0x3c02, 1, 0, 1, 0x83ff, 0x7bff, 0x3c04,
    ];
    assert_eq!(f16, want);
    kernels.convert(&rows, Element::Bf16, &mut out, 32, 0).unwrap();
    let bf16: [u16; 16] = std::array::from_fn(|i| u16::from_le_bytes([out[2 * i], out[2 * i + 1]]));
    assert_eq!(bf16[..4], [0, 0x8000, 0x3f80, 0xbfc0]);
    assert_eq!(bf16[14..], [0x7f7f, 0x3f81]);
    let mut bits = [0xff; 3];
    kernels.convert(&rows, Element::Binary, &mut bits, 2, 1).unwrap();
    assert_eq!(bits, [0xff, 0b0111_0100, 0b1101_1111]);
    assert!(kernels.convert(&rows, Element::Binary, &mut bits, 2, 2).is_err());
    assert!(kernels.convert(&rows, Element::U8, &mut [0; 16], 16, 0).is_err());

    // Every binary16 there and back.
    let halves: Vec<u8> = (0..=u16::MAX)
        .filter(|half| half & 0x7c00 != 0x7c00)
        .flat_map(u16::to_le_bytes)
        .collect();
    let space = Space::new(Element::F16, Metric::L2, 2).unwrap();
    let rows = Rows::new(&space, &halves, 4, halves.len() / 4, &[]).unwrap();
    let mut wide = vec![0; 2 * halves.len()];
    kernels.convert(&rows, Element::F32, &mut wide, 8, 0).unwrap();
    for (half, wide) in halves.chunks(2).zip(wide.chunks(4)) {
        let half = u16::from_le_bytes(half.try_into().unwrap());
        assert_eq!(f64::from(f32::from_le_bytes(wide.try_into().unwrap())), binary16(half));
    }
    let space = Space::new(Element::F32, Metric::L2, 2).unwrap();
    let rows = Rows::new(&space, &wide, 8, wide.len() / 8, &[]).unwrap();
    let mut back = vec![0; halves.len()];
    kernels.convert(&rows, Element::F16, &mut back, 4, 0).unwrap();
    assert_eq!(back, halves);
}

#[test]
fn check_refuses_what_no_vector_of_the_type_may_have() {
    let space = |element, metric, dim| Space::new(element, metric, dim).unwrap();
    let f16 = space(Element::F16, Metric::L2, 2);
    assert_eq!(f16.check(&[0, 0, 0xff, 0x7b]), Ok(()));
    assert_eq!(f16.check(&[0, 0, 0, 0xfc]), Err(BadVector::NotFinite));
    let bf16 = space(Element::Bf16, Metric::L2, 2);
    assert_eq!(bf16.check(&[0, 0, 0x7f, 0x7f]), Ok(()));
    assert_eq!(bf16.check(&[0x80, 0x7f, 0, 0]), Err(BadVector::NotFinite));
    assert_eq!(
        space(Element::F16, Metric::Cosine, 2).check(&[0, 0x80, 0, 0]),
        Err(BadVector::Zero)
    );
    assert_eq!(
        space(Element::I8, Metric::Cosine, 2).check(&[0, 0]),
        Err(BadVector::Zero)
    );
    assert_eq!(space(Element::U8, Metric::L2, 2).check(&[0, 0]), Ok(()));
    let binary = space(Element::Binary, Metric::Hamming, 10);
    assert_eq!(binary.check(&[0xff, 3]), Ok(()));
    assert_eq!(binary.check(&[0xff, 4]), Err(BadVector::PadBits));
    assert_eq!(binary.check(&[0xff]), Err(BadVector::Length));
    assert_eq!(space(Element::Binary, Metric::Hamming, 8).check(&[0xff]), Ok(()));
}
