// SPDX-License-Identifier: Apache-2.0
//! The rows of a collection in the model, and the oracle for searches: every distance computed in f64, every row looked
//! at.

use libc::EEXIST;
use libc::EINVAL;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use vexfs_engine::payload::Builder;
use vexfs_engine::payload::Value;
use vexfs_engine::Metric;
use vexfs_uapi as uapi;

/// Most rows that an id of the models' small range can stand for.
pub const IDS: u64 = 300;

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub vector: Arc<[f32]>,
    pub payload: Arc<[u8]>,
}

/// The rows of a collection.
#[derive(Clone, Debug)]
pub struct Rows {
    pub dim: usize,
    pub metric: u32,
    pub rows: BTreeMap<u64, Row>,
    pub next_id: u64,
}

impl Rows {
    pub fn new(dim: usize, metric: u32) -> Rows {
        Rows {
            dim,
            metric,
            rows: BTreeMap::new(),
            next_id: 0,
        }
    }

    pub fn engine_metric(&self) -> Metric {
        match self.metric {
            uapi::VEXFS_METRIC_COSINE => Metric::Cosine,
            uapi::VEXFS_METRIC_IP => Metric::Ip,
            _ => Metric::L2,
        }
    }

    /// Inserts; returns the first assigned id (0 if ids were given) and how many rows were replaced.
    pub fn insert(&mut self, ids: Option<&[u64]>, rows: &[Row], upsert: bool) -> Result<(u64, usize), i32> {
        let (ids, first) = match ids {
            Some(ids) => {
                if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
                    return Err(EINVAL);
                }
                if !upsert && ids.iter().any(|id| self.rows.contains_key(id)) {
                    return Err(EEXIST);
                }
                (ids.to_vec(), 0)
            }
            None if upsert => return Err(EINVAL),
            None => ((self.next_id..self.next_id + rows.len() as u64).collect(), self.next_id),
        };
        let mut replaced = 0;
        for (id, row) in ids.iter().zip(rows) {
            replaced += usize::from(self.rows.insert(*id, row.clone()).is_some());
            self.next_id = self.next_id.max(id + 1);
        }
        Ok((first, replaced))
    }

    pub fn delete(&mut self, ids: &[u64]) -> usize {
        ids.iter().filter(|id| self.rows.remove(id).is_some()).count()
    }

    pub fn distance(&self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
        let dot = || pairs().map(|(x, y)| x * y).sum::<f64>();
        match self.metric {
            uapi::VEXFS_METRIC_IP => -dot(),
            uapi::VEXFS_METRIC_COSINE => {
                let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                (1.0 - dot() / (norm(a) * norm(b))).clamp(0.0, 2.0)
            }
            _ => pairs().map(|(x, y)| (x - y).powi(2)).sum(),
        }
    }

    /// Checks an answer: (id, distance) nearest first.
    pub fn check_hits(&self, query: &[f32], k: usize, radius: Option<f32>, hits: &[(u64, f32)]) -> Result<(), String> {
        // Small whole numbers have exact squares and products; the cosine is rounded.
        let tolerance = if self.metric == uapi::VEXFS_METRIC_COSINE {
            1e-5
        } else {
            0.0
        };
        let mut all: Vec<(f64, u64)> = self
            .rows
            .iter()
            .map(|(id, r)| (self.distance(query, &r.vector), *id))
            .collect();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        let limit = radius.map_or(f64::INFINITY, f64::from);
        let surely = all.iter().filter(|(d, _)| *d <= limit - tolerance).count().min(k);
        let maybe = all.iter().filter(|(d, _)| *d <= limit + tolerance).count().min(k);
        if hits.len() < surely || hits.len() > maybe {
            return Err(format!("{} hits, should be {surely} to {maybe}", hits.len()));
        }
        let mut seen = BTreeSet::new();
        for (i, (id, distance)) in hits.iter().enumerate() {
            let Some(row) = self.rows.get(id) else {
                return Err(format!("hit {i}: row {id} does not exist"));
            };
            let right = self.distance(query, &row.vector);
            if (right - f64::from(*distance)).abs() > tolerance {
                return Err(format!(
                    "hit {i}: row {id} is at distance {right}, said to be at {distance}"
                ));
            }
            if !seen.insert(*id) {
                return Err(format!("hit {i}: row {id} came before"));
            }
            if (right - all[i].0).abs() > 2.0 * tolerance {
                return Err(format!(
                    "hit {i} is row {id} at {right}; row {} at {} is nearer",
                    all[i].1, all[i].0
                ));
            }
            if tolerance == 0.0 && all[i].1 != *id {
                return Err(format!("hit {i} is row {id}, should be {}", all[i].1));
            }
        }
        let ordered = hits
            .windows(2)
            .all(|w| w[0].1 < w[1].1 || (w[0].1 == w[1].1 && w[0].0 < w[1].0));
        if !ordered {
            return Err("hits are not in the order of distance and id".into());
        }
        Ok(())
    }
}

/// A vector of small whole numbers, never zero.
pub fn vector(bits: u64, dim: usize) -> Vec<f32> {
    let mut x = bits | 1;
    let mut v: Vec<f32> = (0..dim)
        .map(|_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((x >> 40) % 17) as f32 - 8.0
        })
        .collect();
    if v.iter().all(|e| *e == 0.0) {
        v[0] = 1.0;
    }
    v
}

/// A payload that only these bits make; sometimes none.
pub fn payload(bits: u64) -> Vec<u8> {
    let mut b = Builder::new();
    let text = format!("{bits:x}").repeat((bits % 40) as usize);
    let fields: [(&str, Value<'_>); 4] = [
        ("number", Value::I64(bits as i64)),
        ("name", Value::Keyword("a keyword")),
        ("text", Value::Text(&text)),
        ("flag", Value::Bool(bits & 1 != 0)),
    ];
    for (i, (name, value)) in fields.into_iter().enumerate() {
        if bits >> (i + 8) & 1 != 0 {
            b.add(name, value).expect("a valid field");
        }
    }
    b.finish().expect("a small payload").to_vec()
}

/// The bytes of floats, as the engine takes them.
pub fn bytes(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|f| f.to_le_bytes()).collect()
}
