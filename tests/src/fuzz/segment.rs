// SPDX-License-Identifier: Apache-2.0
//! Segment files: opening and searching them, whatever index they have.
//!
//! Input: a byte, then the file. The byte's lower bits pick the collection whose file it becomes; 0x80: checksums are
//! made right.

use super::quiet;
use super::sums::seal_segment;
use super::template::Template;
use super::usage;
use std::sync::OnceLock;
use vexfs_engine::payload::Builder;
use vexfs_engine::payload::Value;
use vexfs_engine::Batch;
use vexfs_engine::Collection;
use vexfs_engine::IndexKind;
use vexfs_engine::IndexParams;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_uapi as uapi;
use vexfs_uapi::Codes;

const ROWS: u64 = 48;
const DIM: u32 = 8;
const SEAL: u8 = 0x80;

const F32: u32 = uapi::VEXFS_ELEMENT_F32;
const L2: u32 = uapi::VEXFS_METRIC_L2;
const COSINE: u32 = uapi::VEXFS_METRIC_COSINE;

/// Name, element, metric, kind, codes, bits of a part of a code, share of rows on disk.
type Shape = (&'static str, u32, u32, IndexKind, Codes, u32, u32);

const SHAPES: &[Shape] = &[
    ("flat", F32, L2, IndexKind::Flat, Codes::None, 0, 0),
    (
        "flat-binary",
        uapi::VEXFS_ELEMENT_BINARY,
        uapi::VEXFS_METRIC_HAMMING,
        IndexKind::Flat,
        Codes::None,
        0,
        0,
    ),
    ("hnsw", F32, L2, IndexKind::Hnsw, Codes::None, 0, 0),
    (
        "hnsw-u8",
        uapi::VEXFS_ELEMENT_U8,
        L2,
        IndexKind::Hnsw,
        Codes::None,
        0,
        0,
    ),
    ("hnsw-sq8", F32, COSINE, IndexKind::Hnsw, Codes::Sq8, 0, 0),
    (
        "hnsw-bf16",
        F32,
        uapi::VEXFS_METRIC_IP,
        IndexKind::Hnsw,
        Codes::Bf16,
        0,
        0,
    ),
    ("hnsw-binary", F32, COSINE, IndexKind::Hnsw, Codes::Binary, 0, 0),
    ("ivf", F32, L2, IndexKind::Ivf, Codes::None, 0, 0),
    ("pq", F32, L2, IndexKind::Pq, Codes::None, 8, 0),
    ("ivf-pq-8", F32, COSINE, IndexKind::IvfPq, Codes::None, 8, 0),
    ("ivf-pq-4", F32, L2, IndexKind::IvfPq, Codes::None, 4, 0),
    ("lsh-l2", F32, L2, IndexKind::Lsh, Codes::None, 0, 0),
    ("lsh-cosine", F32, COSINE, IndexKind::Lsh, Codes::None, 0, 0),
    ("vamana", F32, L2, IndexKind::Vamana, Codes::None, 8, 0),
    ("vamana-disk", F32, COSINE, IndexKind::Vamana, Codes::None, 8, 100),
];

fn fill(collection: &Collection, shape: &Shape) {
    let (mut vectors, mut payloads, mut lens) = (Vec::new(), Vec::new(), Vec::new());
    let ids: Vec<u64> = (0..ROWS).collect();
    for row in &ids {
        vectors.extend(usage::vector(collection, *row));
        let mut builder = Builder::new();
        builder
            .add("lang", Value::Keyword(["en", "de", "fr"][*row as usize % 3]))
            .expect("a field");
        builder.add("part", Value::I64(*row as i64 % 7)).expect("a field");
        builder
            .add("score", Value::F64((*row as f64 / 3.0).to_bits()))
            .expect("a field");
        let payload = builder.finish().expect("a payload");
        // Some rows without one.
        let len = if row % 5 == 4 { 0 } else { payload.len() };
        payloads.extend(&payload[..len]);
        lens.push(len as u32);
    }
    let batch = Batch {
        vectors: &vectors,
        ids: Some(&ids),
        payload_lens: &lens,
        payloads: &payloads,
    };
    collection.insert(&batch, InsertMode::default()).expect("insert");
    let (_, _, _, kind, codes, pq_bits, disk_percent) = *shape;
    let params = IndexParams::new(&uapi::IndexParams {
        m: 4,
        ef_construction: 16,
        nlist: 4,
        pq_bytes: 4,
        pq_bits,
        disk_percent,
        ..uapi::IndexParams::of(kind).with_codes(codes)
    })
    .expect("parameters");
    match kind {
        IndexKind::Flat => collection.optimize(1, &|_, _| {}).expect("optimize"),
        _ => collection.build_index(&params, 1, &|_, _| {}).expect("an index"),
    };
    collection.delete(&[7]).expect("delete");
}

fn template(number: usize) -> &'static Template {
    static TEMPLATES: [OnceLock<Template>; SHAPES.len()] = [const { OnceLock::new() }; SHAPES.len()];
    TEMPLATES[number].get_or_init(|| {
        let shape = &SHAPES[number];
        let params = Params::new(DIM, shape.1, shape.2, 0).expect("parameters");
        Template::new(&params, b"VXSG", |collection| fill(collection, shape))
    })
}

/// Tries an input.
pub fn run(input: &[u8]) {
    quiet();
    let Some((flags, content)) = input.split_first() else {
        return;
    };
    let template = template(usize::from(flags & !SEAL) % SHAPES.len());
    let mut content = content.to_vec();
    if flags & SEAL != 0 {
        seal_segment(&mut content, template.dir, template.file);
    }
    template.try_content(&content, |_, collection| usage::everything(collection));
}

/// The segments as they are.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |(number, shape): (usize, &Shape)| {
        let mut input = vec![SEAL | number as u8];
        input.extend(&template(number).content);
        (shape.0.to_owned(), input)
    };
    SHAPES.iter().enumerate().map(seed).collect()
}
