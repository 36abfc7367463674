// SPDX-License-Identifier: Apache-2.0
//! Collections and their rows.

use super::agree;
use super::text;
use super::Durable;
use super::Failure;
use super::Harness;
use crate::model::op::Op;
use crate::model::rows;
use crate::model::rows::Row;
use crate::model::rows::Rows;
use crate::model::state;
use libc::*;
use vexfs_engine::Batch;
use vexfs_engine::IndexParams;
use vexfs_engine::InsertMode;
use vexfs_engine::Params;
use vexfs_engine::SearchRequest;
use vexfs_uapi as uapi;

impl Harness {
    pub(super) fn create_collection(&mut self, op: Op) -> Result<(), Failure> {
        let dir = self.dir(op, 0);
        let empty = self.state.node(dir).is_ok_and(|n| n.entries.is_empty());
        if dir == state::ROOT || !empty {
            return Ok(());
        }
        let dim = [1, 3, 8, 17, 64][op.pick(1, 5) as usize];
        let metric = [uapi::VEXFS_METRIC_L2, uapi::VEXFS_METRIC_COSINE, uapi::VEXFS_METRIC_IP][op.pick(2, 3) as usize];
        let params = Params::new(dim, uapi::VEXFS_ELEMENT_F32, metric, 0).map_err(|e| text("params", e))?;
        let exists = self.state.node(dir).is_ok_and(|n| n.rows.is_some());
        let real = self.collections.create(dir, &params);
        if self.full(&real) {
            return Ok(());
        }
        if agree("create collection", &real, exists.then_some(EEXIST))? {
            let node = self.state.node_mut(dir).map_err(|e| e.to_string())?;
            node.rows = Some(Rows::new(dim as usize, metric));
            node.own_times = true;
        }
        Ok(())
    }

    pub(super) fn drop_collection(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        self.collections.forget(dir);
        let (now, _) = self.now();
        self.fs
            .drop_collection(dir, now)
            .map_err(|e| text("drop collection", e))?;
        self.state.node_mut(dir).map_err(|e| e.to_string())?.rows = None;
        Ok(())
    }

    pub(super) fn insert(&mut self, op: Op) -> Result<Durable, Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(Durable::No);
        };
        let model = self.rows(dir)?;
        let count = if op.pick(1, 10) == 0 {
            op.pick(2, 200)
        } else {
            op.pick(2, 12)
        } as usize
            + 1;
        let new: Vec<Row> = (0..count as u64)
            .map(|i| Row {
                vector: rows::vector(op.0 ^ i << 32, model.dim).into(),
                payload: rows::payload(op.0.rotate_left(i as u32 + 3)).into(),
            })
            .collect();
        // From one starting point on, so that most batches have no id twice.
        let start = op.pick(4, rows::IDS);
        let stride = op.pick(5, 3);
        let ids: Option<Vec<u64>> = (op.pick(3, 3) > 0).then(|| {
            (0..count as u64)
                .map(|i| (start + i * stride) % (4 * rows::IDS))
                .collect()
        });
        let upsert = op.pick(6, 2) == 0;
        let vectors: Vec<u8> = new.iter().flat_map(|r| rows::bytes(&r.vector)).collect();
        let lens: Vec<u32> = new.iter().map(|r| r.payload.len() as u32).collect();
        let payloads: Vec<u8> = new.iter().flat_map(|r| r.payload.to_vec()).collect();
        let batch = Batch {
            vectors: &vectors,
            ids: ids.as_deref(),
            payload_lens: &lens,
            payloads: &payloads,
        };
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let real = c.insert(
            &batch,
            InsertMode {
                upsert,
                normalize: false,
            },
        );
        if self.full(&real) {
            return Ok(Durable::No);
        }
        let model = self.rows_mut(dir)?.insert(ids.as_deref(), &new, upsert);
        if !agree("insert", &real, model.err())? {
            return Ok(Durable::No);
        }
        let real = real.map_err(|e| text("insert", e))?;
        if (real.first_id, real.replaced) != model.unwrap_or_default() || real.count != count {
            return Err(format!("insert of {count} gave {real:?}, should be {model:?}"));
        }
        if op.pick(7, 6) == 0 {
            self.fs.sync_txg(real.txg).map_err(|e| text("sync of an insert", e))?;
            return Ok(Durable::Yes);
        }
        Ok(Durable::No)
    }

    /// Moves rows into segments, merges those, gives them an index or takes it away: nothing of which changes a row.
    pub(super) fn maintain(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let quiet = &|_, _| ();
        let real = match op.pick(1, 10) {
            0 => c.optimize(1, quiet).map(|_| ()),
            1 => {
                let params = uapi::IndexParams {
                    m: 4,
                    ef_construction: 16,
                    ..uapi::IndexParams::HNSW
                };
                let params = IndexParams::new(&params).map_err(|e| text("parameters", e))?;
                c.build_index(&params, 1, quiet).map(|_| ())
            }
            2 => c.drop_index().map(|_| ()),
            _ => c.maintain(1, quiet).map(|_| ()),
        };
        if self.full(&real) {
            return Ok(());
        }
        real.map_err(|e| text("maintain", e))
    }

    pub(super) fn delete_rows(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let ids: Vec<u64> = (0..1 + op.pick(1, 30))
            .map(|i| (op.pick(2, rows::IDS) + i * op.pick(3, 4)) % rows::IDS)
            .collect();
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let real = c.delete(&ids);
        if self.full(&real) {
            return Ok(());
        }
        agree("delete rows", &real, None)?;
        let count = self.rows_mut(dir)?.delete(&ids);
        match real {
            Ok(d) if d.count != count => Err(format!("deleted {} rows, should be {count}", d.count)),
            _ => Ok(()),
        }
    }

    pub(super) fn search(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let model = self.rows(dir)?;
        let queries: Vec<Vec<f32>> = (0..1 + op.pick(1, 4))
            .map(|i| rows::vector(op.0 ^ i << 20, model.dim))
            .collect();
        let k = 1 + op.size(2, 400) as usize;
        let radius = (op.pick(3, 2) == 0).then(|| match model.metric {
            uapi::VEXFS_METRIC_COSINE => op.pick(4, 200) as f32 / 100.0,
            _ => op.pick(4, 900) as f32 - 300.0,
        });
        let flat: Vec<u8> = queries.iter().flat_map(|q| rows::bytes(q)).collect();
        let search = SearchRequest {
            queries: &flat,
            k,
            radius: radius.map(f32::to_bits),
            exact: true,
            ..SearchRequest::default()
        };
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let found = c.search(&search).map_err(|e| text("search", e))?;
        let mut answers = 0;
        for (query, hits) in queries.iter().zip(found.by_query()) {
            let hits: Vec<(u64, f32)> = hits.iter().map(|h| (h.row.id, f32::from_bits(h.distance))).collect();
            model.check_hits(query, k, radius, &hits)?;
            answers += 1;
        }
        if answers != queries.len() {
            return Err(format!("{answers} answers to {} queries", queries.len()));
        }
        Ok(())
    }

    pub(super) fn get_rows(&mut self, op: Op) -> Result<(), Failure> {
        let Some(dir) = self.any_collection(op, 0) else {
            return Ok(());
        };
        let model = self.rows(dir)?;
        let ids: Vec<u64> = (0..1 + op.pick(1, 9))
            .map(|i| (op.pick(2, rows::IDS) + 7 * i) % rows::IDS)
            .collect();
        let c = self.collections.get(dir).map_err(|e| text("collection", e))?;
        let got = c.get(&ids).map_err(|e| text("get", e))?;
        for (id, row) in ids.iter().zip(got.rows.iter()) {
            if row.is_some() != model.rows.contains_key(id) {
                return Err(format!("row {id} is there: {}", row.is_some()));
            }
        }
        Ok(())
    }

    fn rows(&self, dir: u64) -> Result<&Rows, Failure> {
        self.state
            .node(dir)
            .ok()
            .and_then(|n| n.rows.as_ref())
            .ok_or_else(|| "no collection".into())
    }

    fn rows_mut(&mut self, dir: u64) -> Result<&mut Rows, Failure> {
        self.state
            .node_mut(dir)
            .ok()
            .and_then(|n| n.rows.as_mut())
            .ok_or_else(|| "no collection".into())
    }
}
