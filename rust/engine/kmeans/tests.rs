// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Properties of the centroids found.

use super::*;
use std::vec;

/// `each` vectors around each of some far apart points.
fn clusters(dim: usize, points: usize, each: usize) -> std::vec::Vec<u32> {
    let mut random = Random::new(1);
    let mut words = vec![];
    for _ in 0..each {
        for point in 0..points {
            for d in 0..dim {
                let noise = random.below(1000) as f32 / 1000.0;
                let x = if d == point % dim {
                    50.0 * (1 + point / dim) as f32
                } else {
                    0.0
                };
                words.push((x + noise).to_bits());
            }
        }
    }
    words
}

fn training(words: &[u32], dim: usize, count: usize, threads: usize) -> Training<'_> {
    Training {
        kernels: Kernels::detect(),
        vectors: Vectors::new(words, dim, dim, words.len() / dim).unwrap(),
        count,
        rounds: 8,
        unit: false,
        seed: 7,
        threads,
    }
}

#[test]
fn well_separated_clusters_get_a_centroid_each() {
    let (dim, points) = (8, 40);
    let words = clusters(dim, points, 50);
    let panels = train(&training(&words, dim, points, 1)).unwrap();
    let panels = Panels::new(panels.as_u32s(), dim, points).unwrap();
    let vectors = Vectors::new(&words, dim, dim, words.len() / dim).unwrap();
    let mut nearest = vec![0; vectors.count()];
    assign(&Kernels::detect(), &vectors, &panels, &mut nearest, 2).unwrap();
    let mut sizes = vec![0; points];
    nearest.iter().for_each(|n| sizes[*n as usize] += 1);
    assert_eq!(sizes, vec![50; points]);
    for (i, n) in nearest.iter().enumerate() {
        assert_eq!(*n, nearest[i % points]);
    }
}

#[test]
fn centroids_do_not_depend_on_the_number_of_threads() {
    let words = clusters(5, 33, 40);
    let one = train(&training(&words, 5, 20, 1)).unwrap();
    assert_eq!(one.as_bytes(), train(&training(&words, 5, 20, 3)).unwrap().as_bytes());
    let other = Training {
        seed: 8,
        ..training(&words, 5, 20, 1)
    };
    assert_ne!(one.as_bytes(), train(&other).unwrap().as_bytes());
}

#[test]
fn more_centroids_than_vectors_are_made_of_copies() {
    let words = clusters(3, 2, 1);
    let panels = train(&training(&words, 3, 37, 1)).unwrap();
    let panels = Panels::new(panels.as_u32s(), 3, 37).unwrap();
    let mut keys = vec![0; 48];
    Kernels::detect()
        .centroid_keys(&words[..3], &panels, true, &mut keys)
        .unwrap();
    assert!(keys[..37].iter().any(|key| *key < key_of(0.1f32.to_bits())));
    assert!(train(&training(&[], 3, 37, 1)).is_err());
}

#[test]
fn a_centroid_without_vectors_takes_half_of_the_largest() {
    // One dense cluster and one far vector: wherever seeds fall, all centroids come to have vectors.
    let mut words = clusters(4, 1, 500);
    words.extend([1e6f32.to_bits(); 4]);
    let panels = train(&training(&words, 4, 16, 1)).unwrap();
    let panels = Panels::new(panels.as_u32s(), 4, 16).unwrap();
    let vectors = Vectors::new(&words, 4, 4, 501).unwrap();
    let mut nearest = vec![0; 501];
    assign(&Kernels::detect(), &vectors, &panels, &mut nearest, 1).unwrap();
    assert!((0..16).all(|c| nearest.contains(&c)));
}

#[test]
fn samples_do_not_repeat() {
    let mut random = Random::new(3);
    for (slices, end) in [(1, 1), (7, 7), (7, 50), (1000, 1001)] {
        let sample: std::vec::Vec<usize> = (0..slices).map(|i| random.of_slice(i, slices, end)).collect();
        assert!(sample.windows(2).all(|w| w[0] < w[1]) && sample.iter().all(|i| *i < end));
    }
}
