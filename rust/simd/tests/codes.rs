// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Codes of a byte a dimension: near to what they stand for, and the same in every variant.

use super::*;

/// Parameters, and the codes of `rows` inside records of `stride` bytes from byte `offset` on.
fn encode(kernels: Kernels, rows: &Rows<'_>, stride: usize, offset: usize) -> (Vec<u8>, Vec<u8>) {
    let space = rows.space();
    let mut params = vec![0; Sq8::params_bytes(space.dim())];
    kernels.sq8_train(rows, &mut params).unwrap();
    let mut records = vec![0xee; (rows.count() - 1) * stride + offset + Sq8::code_bytes(&space)];
    kernels.sq8_encode(&params, rows, &mut records, stride, offset).unwrap();
    (params, records)
}

/// The keys of all rows, from the first.
fn scan(kernels: Kernels, query: &Sq8Query<'_>, codes: &Codes<'_>, keys: &mut [u32]) {
    let ids: Vec<u32> = (0..keys.len() as u32).collect();
    kernels.sq8_gather(query, codes, &ids, keys).unwrap();
}

#[test]
fn keys_of_codes_are_near_to_exact_ones_and_the_same_in_every_variant() {
    let mut random = Random(30);
    for dim in dims() {
        let words: Vec<u32> = (0..9).flat_map(|_| random.vector(Kind::Unit, dim)).collect();
        let query = random.vector(Kind::Unit, dim);
        for metric in METRICS {
            let space = space(metric, dim);
            let mut first: Option<(Vec<u8>, Vec<u32>)> = None;
            for kernels in variants() {
                let norms = norms(kernels, &space, bytes(&words));
                let rows = Rows::new(&space, bytes(&words), 4 * dim, 9, &norms).unwrap();
                let (stride, offset) = (dim + 11, 3);
                let (params, records) = encode(kernels, &rows, stride, offset);
                let codes = Codes::new(&space, &records, stride, offset, 9).unwrap();
                let query = kernels.query(&space, bytes(&query)).unwrap();
                let mut weights = vec![0; Sq8::query_bytes(dim)];
                let weighted = kernels.sq8_query(&params, &query, &mut weights).unwrap();
                let mut keys = vec![0; 9];
                scan(kernels, &weighted, &codes, &mut keys);

                let mut exact = vec![0; 9];
                kernels.scan(&[query], &rows, &mut exact).unwrap();
                for (key, exact) in keys.iter().zip(&exact) {
                    let (got, want) = (f32::from_bits(bits_of(*key)), f32::from_bits(bits_of(*exact)));
                    // An element is off by half a step of 2/255 at most.
                    let tolerance = match metric {
                        Metric::L2 => 2.0 * (want * dim as f32).sqrt() / 255.0 + dim as f32 / 65025.0,
                        Metric::Cosine => 2.0 / 255.0 * (dim as f32).sqrt(),
                        _ => dim as f32 / 255.0,
                    };
                    assert!(
                        (got - want).abs() <= 1.1 * tolerance + 1e-5,
                        "{metric:?} {dim} {got} {want}"
                    );
                }

                let ids: Vec<u32> = (0..9).rev().chain([4, 4, 8, 0, 1]).collect();
                let mut some = vec![0; ids.len()];
                kernels.sq8_gather(&weighted, &codes, &ids, &mut some).unwrap();
                let want: Vec<u32> = ids.iter().map(|id| keys[*id as usize]).collect();
                assert_eq!(some, want);
                let (records_before, keys_before) = first.get_or_insert((records.clone(), keys.clone()));
                assert_eq!(
                    (&*records_before, &*keys_before),
                    (&records, &keys),
                    "{} {space:?}",
                    kernels.name()
                );
            }
        }
    }
}

#[test]
fn extreme_floats_have_codes_and_keys() {
    let mut random = Random(31);
    for kind in KINDS {
        let words: Vec<u32> = (0..5).flat_map(|_| random.vector(kind, 70)).collect();
        for metric in METRICS {
            let space = space(metric, 70);
            let mut first: Option<Vec<u32>> = None;
            for kernels in variants() {
                let norms = norms(kernels, &space, bytes(&words));
                let rows = Rows::new(&space, bytes(&words), 280, 5, &norms).unwrap();
                let (params, records) = encode(kernels, &rows, 80, 0);
                let codes = Codes::new(&space, &records, 80, 0, 5).unwrap();
                let mut keys = vec![0; 5];
                let mut weights = vec![0; Sq8::query_bytes(70)];
                let query = rows.query(2).unwrap();
                let query = kernels.sq8_query(&params, &query, &mut weights).unwrap();
                scan(kernels, &query, &codes, &mut keys);
                assert_eq!(
                    *first.get_or_insert(keys.clone()),
                    keys,
                    "{} {kind:?} {metric:?}",
                    kernels.name()
                );
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_byte_is_read_beyond_the_last_code() {
    let mut random = Random(32);
    for dim in 1..=130 {
        let words: Vec<u32> = (0..3).flat_map(|_| random.vector(Kind::Unit, dim)).collect();
        for metric in METRICS {
            let space = space(metric, dim);
            for kernels in variants() {
                let norms = norms(kernels, &space, bytes(&words));
                let rows = Rows::new(&space, bytes(&words), 4 * dim, 3, &norms).unwrap();
                let (params, records) = encode(kernels, &rows, dim + 4, 0);
                let mut edge = Edge::of_bytes(&records);
                let mut weights = Edge::of_bytes(&vec![0; Sq8::query_bytes(dim)]);
                let (mut keys, mut want) = ([0; 3], [0; 3]);
                let query = rows.query(1).unwrap();
                let query = kernels.sq8_query(&params, &query, weights.bytes_mut()).unwrap();
                let codes = Codes::new(&space, &records, dim + 4, 0, 3).unwrap();
                scan(kernels, &query, &codes, &mut want);
                let codes = Codes::new(&space, edge.bytes_mut(), dim + 4, 0, 3).unwrap();
                scan(kernels, &query, &codes, &mut keys);
                assert_eq!(keys, want);
            }
        }
    }
}

#[test]
fn codes_of_other_shapes_are_refused() {
    let kernels = Kernels::detect();
    let l2 = space(Metric::L2, 4);
    let bytes = [0; 40];
    assert!(Codes::new(&l2, &bytes, 8, 0, 5).is_ok());
    assert!(Codes::new(&l2, &bytes, 8, 1, 5).is_err());
    assert!(Codes::new(&l2, &bytes, 7, 0, 5).is_err());
    assert!(Codes::new(&l2, &bytes, usize::MAX, 0, 3).is_err());
    assert!(Codes::new(&l2, &bytes, 8, 41, 1).is_err());
    assert!(Codes::new(&space(Metric::Cosine, 4), &bytes, 4, 0, 10).is_ok());
    let i8 = Space::new(Element::I8, Metric::L2, 4).unwrap();
    assert!(Codes::new(&i8, &bytes, 8, 0, 5).is_err());

    let rows = Rows::new(&l2, &bytes, 16, 2, &[]).unwrap();
    let (mut params, mut weights) = ([0; 32], [0; 128]);
    assert!(kernels.sq8_train(&rows, &mut params[..31]).is_err());
    assert!(kernels.sq8_train(&rows, &mut params).is_ok());
    assert!(kernels.sq8_encode(&params, &rows, &mut [0; 15], 8, 0).is_err());
    assert!(kernels.sq8_encode(&params, &rows, &mut [0; 16], 8, 0).is_ok());
    assert!(kernels.sq8_encode(&params, &rows, &mut [0; 16], 8, 1).is_err());
    let query = rows.query(0).unwrap();
    assert!(kernels.sq8_query(&params, &query, &mut weights[1..]).is_err());
    let query = kernels.sq8_query(&params, &query, &mut weights).unwrap();
    let codes = Codes::new(&l2, &bytes, 8, 0, 5).unwrap();
    assert!(kernels.sq8_gather(&query, &codes, &[0, 4], &mut [0]).is_err());
    assert!(kernels.sq8_gather(&query, &codes, &[4], &mut [0]).is_ok());
    assert!(kernels.sq8_gather(&query, &codes, &[5], &mut [0]).is_err());
    let other = Kernels::with(Variant::Scalar).unwrap();
    assert!(other.sq8_gather(&query, &codes, &[4], &mut [0]).is_err() || kernels == other);
}
