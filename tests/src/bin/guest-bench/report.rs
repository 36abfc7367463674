// SPDX-License-Identifier: Apache-2.0
//! What was measured, as a table and as JSON.

use crate::workloads;
use crate::workloads::Kind;
use serde_json::json;
use std::fmt::Write as _;
use std::time::Duration;

/// The times of one workload.
pub struct Row {
    pub name: String,
    pub kind: Kind,
    operations: u64,
    /// By target, in the order of the rounds.
    pub times: Vec<Vec<Duration>>,
}

impl Row {
    pub fn new(name: &str, kind: Kind, operations: u64, targets: usize) -> Row {
        Row {
            name: name.into(),
            kind,
            operations,
            times: vec![Vec::new(); targets],
        }
    }

    /// Operations a second on target `which`, the median of its rounds.
    fn rate(&self, which: usize) -> f64 {
        let mut times = self.times[which].clone();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        self.operations as f64 / median.as_secs_f64().max(1e-9)
    }

    /// The first target's rate over that of target `which`.
    pub fn ratio(&self, which: usize) -> f64 {
        self.rate(0) / self.rate(which)
    }

    /// The first target's rate over the best of the others.
    pub fn ratio_to_best(&self) -> f64 {
        (1..self.times.len())
            .map(|which| self.ratio(which))
            .fold(f64::INFINITY, f64::min)
    }
}

/// Everything that was measured in a run.
pub struct Report {
    pub title: String,
    /// Of the targets; the first one is measured against the others.
    pub names: Vec<String>,
    pub rounds: usize,
    pub rows: Vec<Row>,
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), v| (sum + v.ln(), n + 1));
    (sum / f64::from(n.max(1))).exp()
}

impl Report {
    /// For each target, how many times as fast two tasks in two folders create files as one does; empty if that was not
    /// measured.
    fn scaling(&self) -> Vec<f64> {
        let (two, one) = workloads::scaling_names();
        let find = |name: &str| self.rows.iter().find(|row| row.name == name);
        match (find(&two), find(&one)) {
            (Some(two), Some(one)) => (0..self.names.len())
                .map(|which| two.rate(which) / one.rate(which))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The table that is printed.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let others = &self.names[1..];
        let _ = writeln!(
            out,
            "{}: operations a second, medians of {} interleaved rounds\n",
            self.title, self.rounds
        );
        let _ = write!(out, "{:<42}", "workload");
        for name in &self.names {
            let _ = write!(out, " {name:>10}");
        }
        for name in others {
            let _ = write!(out, " {:>8}", format!("/{name}"));
        }
        let _ = writeln!(out, " {:>8}", "/best");
        for row in &self.rows {
            let _ = write!(out, "{:<42}", row.name);
            for which in 0..self.names.len() {
                let _ = write!(out, " {:>10.0}", row.rate(which));
            }
            for which in 1..self.names.len() {
                let _ = write!(out, " {:>8.2}", row.ratio(which));
            }
            let _ = writeln!(out, " {:>8.2}", row.ratio_to_best());
        }
        for (what, kind) in [
            ("geometric mean", None),
            ("geometric mean of metadata", Some(Kind::Metadata)),
            ("geometric mean of data", Some(Kind::Data)),
            ("geometric mean of durability", Some(Kind::Durability)),
        ] {
            let rows = || self.rows.iter().filter(|row| kind.is_none_or(|kind| row.kind == kind));
            if rows().next().is_none() {
                continue;
            }
            let _ = write!(out, "{what:<42}{:width$}", "", width = 11 * self.names.len());
            for which in 1..self.names.len() {
                let _ = write!(out, " {:>8.2}", geometric_mean(rows().map(|row| row.ratio(which))));
            }
            let _ = writeln!(out, " {:>8.2}", geometric_mean(rows().map(Row::ratio_to_best)));
        }
        let scaling = self.scaling();
        if !scaling.is_empty() {
            let _ = write!(out, "{:<42}", "two tasks in two folders against one");
            for gain in scaling {
                let _ = write!(out, " {gain:>10.2}");
            }
            out.push('\n');
        }
        out
    }

    /// Every figure.
    pub fn json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let seconds: Vec<Vec<f64>> = row
                    .times
                    .iter()
                    .map(|all| all.iter().map(Duration::as_secs_f64).collect())
                    .collect();
                json!({
                    "workload": row.name,
                    "kind": format!("{:?}", row.kind).to_lowercase(),
                    "operations": row.operations,
                    "seconds": seconds,
                })
            })
            .collect();
        let all = json!({ "title": self.title, "filesystems": self.names, "rounds": self.rounds, "workloads": rows });
        format!("{all:#}\n")
    }
}
