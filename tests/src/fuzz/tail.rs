// SPDX-License-Identifier: Apache-2.0
//! The tail of a collection: replaying it.
//!
//! Input: a byte of flags (1: checksums are made right; 2: of the collection that compares by the cosine), then the
//! file.

use super::quiet;
use super::sums::seal_tail;
use super::template::Template;
use super::usage;
use std::sync::OnceLock;
use vexfs_engine::payload::Builder;
use vexfs_engine::payload::Value;
use vexfs_engine::Batch;
use vexfs_engine::Collection;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_uapi as uapi;

const DIM: usize = 4;

/// One record of each kind.
fn fill(collection: &Collection) {
    let mut builder = Builder::new();
    builder.add("lang", Value::Keyword("en")).expect("a field");
    builder.add("size", Value::I64(7)).expect("a field");
    let payload = builder.finish().expect("a payload");
    let vectors: Vec<u8> = (0..6 * DIM).flat_map(|i| (0.5 + i as f32).to_le_bytes()).collect();
    let lens = [payload.len() as u32, 0, payload.len() as u32];
    let payloads = [&payload[..], &payload[..]].concat();
    let batches = [
        Batch {
            vectors: &vectors,
            ..Batch::default()
        },
        Batch {
            vectors: &vectors[..4 * 3 * DIM],
            ids: Some(&[2, 9, 4]),
            payload_lens: &lens,
            payloads: &payloads,
        },
    ];
    for (batch, upsert) in batches.iter().zip([false, true]) {
        let mode = InsertMode {
            upsert,
            normalize: false,
        };
        collection.insert(batch, mode).expect("insert");
    }
    collection.delete(&[0, 9]).expect("delete");
}

fn templates() -> &'static [Template; 2] {
    static TEMPLATES: OnceLock<[Template; 2]> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        [uapi::VEXFS_METRIC_L2, uapi::VEXFS_METRIC_COSINE].map(|metric| {
            let params = Params::new(DIM as u32, uapi::VEXFS_ELEMENT_F32, metric, 0).expect("parameters");
            Template::new(&params, b"VXTR", fill)
        })
    })
}

/// Tries an input.
pub fn run(input: &[u8]) {
    quiet();
    let Some((flags, content)) = input.split_first() else {
        return;
    };
    let template = &templates()[usize::from(flags >> 1 & 1)];
    let mut content = content.to_vec();
    if flags & 1 != 0 {
        seal_tail(&mut content, template.file);
    }
    template.try_content(&content, |_, collection| usage::everything(collection));
}

/// The tails as they are.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let names = ["l2", "cosine"];
    let seed = |(i, template): (usize, &Template)| {
        let mut input = vec![1 | (i as u8) << 1];
        input.extend(&template.content);
        (names[i].to_owned(), input)
    };
    templates().iter().enumerate().map(seed).collect()
}
