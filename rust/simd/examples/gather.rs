// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! Speed of `gather` over random rows, of every variant in turn: `gather [ELEMENT|sq8 [DIM [MIB [IDS]]]]`.

use std::time::Instant;
use vexfs_host::mem::Buffer;
use vexfs_simd::Codes;
use vexfs_simd::Element;
use vexfs_simd::Kernels;
use vexfs_simd::Metric;
use vexfs_simd::Rows;
use vexfs_simd::Space;
use vexfs_simd::Sq8;
use vexfs_simd::Variant;

const ROUNDS: usize = 15;

fn main() {
    let mut args = std::env::args().skip(1);
    let kind = args.next();
    let sq8 = kind.as_deref() == Some("sq8");
    let element = match kind.as_deref() {
        None | Some("f32" | "sq8") => Element::F32,
        Some("f16") => Element::F16,
        Some("bf16") => Element::Bf16,
        Some("i8") => Element::I8,
        Some("u8") => Element::U8,
        Some("binary") => Element::Binary,
        Some(other) => panic!("no element type {other}"),
    };
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().expect("a number"));
    let (dim, mib, ids_a_call) = (number(128), number(256), number(20));
    let metric = match element {
        Element::Binary => Metric::Hamming,
        _ => Metric::L2,
    };
    let space = Space::new(element, metric, dim).expect("a dimension");
    let bytes = if sq8 {
        Sq8::code_bytes(&space)
    } else {
        space.row_bytes()
    };
    let count = (mib << 20) / bytes;
    let mut buffer = Buffer::zeroed(count * bytes).expect("memory");
    let mut state = 1u64;
    let mut random = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as u32
    };
    // Floats from half to one, of either sign: denormals would be slow.
    for four in buffer.chunks_exact_mut(4) {
        let bits = match element {
            _ if sq8 => random(),
            Element::F32 => 0x3f00_0000 | random() & 0x807f_ffff,
            Element::F16 => 0x3800_3800 | random() & 0x83ff_83ff,
            Element::Bf16 => 0x3f00_3f00 | random() & 0x807f_807f,
            _ => random(),
        };
        four.copy_from_slice(&bits.to_le_bytes());
    }
    let stride = space.row_bytes();
    let query = vec![0x3f; stride];
    let rows = Rows::new(&space, &buffer, stride, buffer.len() / stride, &[]).expect("rows");
    let codes = Codes::new(&space, &buffer, bytes, 0, count);
    let (mut params, mut weights) = (vec![0; Sq8::params_bytes(dim)], vec![0; Sq8::query_bytes(dim)]);
    let calls = (1 << 17) / ids_a_call;
    let ids: Vec<u32> = (0..calls * ids_a_call).map(|_| random() % count as u32).collect();
    let (mut keys, mut hop) = (vec![0; ids_a_call], vec![0; ids_a_call]);
    let zero = std::hint::black_box(0);

    let variants = [
        Variant::Scalar,
        #[cfg(target_arch = "x86_64")]
        Variant::Sse2,
        #[cfg(target_arch = "x86_64")]
        Variant::Avx2,
        #[cfg(all(target_arch = "x86_64", vexfs_avx512))]
        Variant::Avx512,
        #[cfg(target_arch = "aarch64")]
        Variant::Neon,
    ];
    let kernels: Vec<Kernels> = variants.into_iter().filter_map(Kernels::with).collect();
    let mut times = vec![Vec::new(); kernels.len()];
    let mut check = 0u64;
    for _ in 0..ROUNDS {
        for (kernels, times) in kernels.iter().zip(&mut times) {
            let query = kernels.query(&space, &query).expect("a query");
            let weighted = sq8.then(|| {
                kernels
                    .sq8_train(
                        &Rows::new(&space, query.bytes(), stride, 1, &[]).expect("a row"),
                        &mut params,
                    )
                    .expect("floats");
                kernels.sq8_query(&params, &query, &mut weights).expect("floats")
            });
            let start = Instant::now();
            for ids in ids.chunks_exact(ids_a_call) {
                // As in a graph, what to compare next is not known before these keys are.
                let last = keys.iter().fold(0, |all, key| all | key) & zero;
                for (hop, id) in hop.iter_mut().zip(ids) {
                    *hop = id + last;
                }
                match (&weighted, &codes) {
                    (Some(query), Ok(codes)) => kernels.sq8_gather(query, codes, &hop, &mut keys),
                    _ => kernels.gather(&query, &rows, &hop, &mut keys),
                }
                .expect("shapes");
                check = check.wrapping_add(u64::from(keys[0]));
            }
            times.push(start.elapsed().as_secs_f64());
        }
    }
    println!(
        "{} {dim} in {mib} MiB, {ids_a_call} ids a call, check {check:x}",
        kind.as_deref().unwrap_or("f32")
    );
    for (kernels, times) in kernels.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (median, best) = (times[ROUNDS / 2], times[0]);
        let ns = |seconds: f64| seconds / ids.len() as f64 * 1e9;
        let gb = |seconds: f64| (ids.len() * bytes) as f64 / seconds / 1e9;
        println!(
            "{:>10}: {:7.1} ns/row, {:5.1} GB/s; best {:7.1} ns/row, {:5.1} GB/s",
            kernels.name(),
            ns(median),
            gb(median),
            ns(best),
            gb(best)
        );
    }
}
