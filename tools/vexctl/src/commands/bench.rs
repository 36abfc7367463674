// SPDX-License-Identifier: Apache-2.0
//! `vexctl bench`: recall and speed of a collection's own searches, against exact ones.
//!
//! Every query is a call of its own and timed alone. A round asks all queries at all settings, setting by setting, so
//! that a machine that is busy for a while slows all settings down and not one of them; the first round only warms up.
//! Latencies of all rounds are kept, and percentiles are read from them, none is smoothed.

use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use vexfs::Answer;
use vexfs::CollectionInfo;
use vexfs::IndexKind;
use vexfs::Search;

use super::queries;
use super::queries::Labels;
use super::queries::Queries;
use super::work;
use crate::cli;
use crate::output::Align;
use crate::output::Output;
use crate::target::Open;
use crate::target::Target;

/// How thoroughly a search looks; 0 is the index's default.
#[derive(Clone, Copy, Default)]
struct SearchParams {
    exact: bool,
    ef: u32,
    nprobe: u32,
    rerank: u32,
}

/// How a search looks, and what came of it.
struct Setting {
    name: String,
    params: SearchParams,
    search: Search,
    latencies: Vec<Duration>,
    found: u64,
    wanted: u64,
    scanned: u64,
}

pub fn run(target: &Target, args: &cli::Bench, out: &Output) -> Result<ExitCode> {
    let filter = queries::filter_program(args.filter.as_deref())?;
    let open = target.collection(&args.path)?;
    let info = open.collection.info().map_err(open.error("describe"))?;
    let queries = collect(&open, &info, args)?;
    let mut base = Search::new(args.k as usize);
    if let Some(program) = filter {
        base = base.filter_program(program);
    }
    let mut settings = settings(&info, args, &base);

    let bar = work::bar(args.quiet);
    let count = queries.each().len();
    bar.set_length(count as u64 * settings.len() as u64 * (u64::from(args.rounds) + 1));
    let mut truth: Vec<Answer> = Vec::new();
    for round in 0..=args.rounds {
        for setting in &mut settings {
            for (i, query) in queries.each().enumerate() {
                let start = Instant::now();
                let answers = open.collection.search_many(query, &setting.search);
                let elapsed = start.elapsed();
                let answers = answers.map_err(|e| queries.refusal("search", e))?;
                bar.inc(1);
                let Some(answer) = answers.answers.into_iter().next() else {
                    bail!("a query without an answer");
                };
                if round > 0 {
                    setting.latencies.push(elapsed);
                    setting.scanned += answers.scanned;
                } else if setting.params.exact {
                    // The exact setting comes first: the others are compared with it.
                    truth.push(answer);
                } else if let Some(truth) = truth.get(i) {
                    setting.wanted += truth.hits.len() as u64;
                    setting.found += agreement(truth, &answer);
                }
            }
        }
    }
    bar.finish_and_clear();
    report(&settings, args, &info, count, out);
    Ok(ExitCode::SUCCESS)
}

/// The hits that are as near as those of the exact search: where distances are equal, any of the rows will do.
fn agreement(truth: &Answer, answer: &Answer) -> u64 {
    let Some(last) = truth.hits.last() else { return 0 };
    let hits = answer.hits.iter().filter(|hit| hit.distance <= last.distance);
    hits.count().min(truth.hits.len()) as u64
}

fn collect<'a>(open: &'a Open, info: &CollectionInfo, args: &cli::Bench) -> Result<Queries<'a>> {
    let mut queries = Queries::new(open);
    queries.add_source(&args.source, &Labels::default())?;
    if queries.each().len() == 0 {
        sample(info, args.sample as usize, &mut queries)?;
    }
    if queries.each().len() == 0 {
        bail!("no queries: the files have none, and the collection has no rows to take instead");
    }
    Ok(queries)
}

/// Takes rows of the collection as queries, spread over the ids that were assigned or given.
fn sample(info: &CollectionInfo, wanted: usize, queries: &mut Queries<'_>) -> Result<()> {
    // As many ids again as were hit by gaps, up to a bound; steps of the golden ratio visit them evenly, each once.
    let most = info.next_id.min(64 * wanted as u64);
    let step = ((info.next_id as f64 * 0.618_033_988_75) as u64).max(1) | 1;
    let mut at = 0;
    let mut asked = 0;
    while asked < most && queries.each().len() < wanted {
        let mut ids = Vec::new();
        while asked < most && ids.len() < 1024 {
            ids.push(at);
            at = (u128::from(at) + u128::from(step)).rem_euclid(u128::from(info.next_id.max(1))) as u64;
            asked += 1;
        }
        ids.sort_unstable();
        ids.dedup();
        let missing = wanted - queries.each().len();
        for row in queries.rows(&ids)?.iter().flatten().take(missing) {
            queries.add_row(row)?;
        }
    }
    if queries.each().len() == 0 && info.rows > 0 {
        bail!("the ids of this collection are too far apart to find rows by guessing: name a file of queries");
    }
    Ok(())
}

fn settings(info: &CollectionInfo, args: &cli::Bench, base: &Search) -> Vec<Setting> {
    let mut all = vec![setting(
        "exact".into(),
        SearchParams {
            exact: true,
            ..SearchParams::default()
        },
        base,
    )];
    let kind = info.index.kind().unwrap_or_default();
    let graph = matches!(kind, IndexKind::Hnsw | IndexKind::Vamana);
    let lists = matches!(kind, IndexKind::Ivf | IndexKind::IvfPq | IndexKind::Lsh);
    let efs: Vec<u32> = match (&args.ef[..], graph, &args.nprobe[..]) {
        ([], true, []) => [1, 2, 4, 8, 16]
            .map(|factor| args.k.saturating_mul(factor).max(16))
            .into(),
        (given, ..) => given.to_vec(),
    };
    let nprobes: Vec<u32> = match (&args.nprobe[..], lists, &args.ef[..]) {
        ([], true, []) => vec![1, 2, 4, 8, 16, 32, 64],
        (given, ..) => given.to_vec(),
    };
    let reranks = match args.rerank.is_empty() {
        true => vec![0],
        false => args.rerank.clone(),
    };
    let mut params: Vec<(u32, u32)> = efs.iter().map(|ef| (*ef, 0)).collect();
    params.extend(nprobes.iter().map(|nprobe| (0, *nprobe)));
    if params.is_empty() {
        params.push((0, 0));
    }
    params.dedup();
    for (ef, nprobe) in params {
        for rerank in &reranks {
            let name: Vec<String> = [("ef", ef), ("nprobe", nprobe), ("rerank", *rerank)]
                .iter()
                .filter(|(_, value)| *value > 0)
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            let name = match name.is_empty() {
                true => "default".into(),
                false => name.join(", "),
            };
            all.push(setting(
                name,
                SearchParams {
                    exact: false,
                    ef,
                    nprobe,
                    rerank: *rerank,
                },
                base,
            ));
        }
    }
    all
}

fn setting(name: String, params: SearchParams, base: &Search) -> Setting {
    let search = base.clone().ef(params.ef).nprobe(params.nprobe).rerank(params.rerank);
    Setting {
        name,
        params,
        search: if params.exact { search.exact() } else { search },
        latencies: Vec::new(),
        found: 0,
        wanted: 0,
        scanned: 0,
    }
}

impl Setting {
    fn recall(&self) -> f64 {
        match self.params.exact || self.wanted == 0 {
            true => 1.0,
            false => self.found as f64 / self.wanted as f64,
        }
    }

    /// Queries a second, of one thread that does nothing else.
    fn rate(&self) -> f64 {
        let seconds: f64 = self.latencies.iter().map(Duration::as_secs_f64).sum();
        self.latencies.len() as f64 / seconds.max(1e-9)
    }

    fn scanned(&self) -> f64 {
        self.scanned as f64 / self.latencies.len().max(1) as f64
    }
}

/// The smallest latency that this share of all does not exceed, in microseconds.
fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let at = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e6)
}

const SHARES: [(&str, f64); 4] = [("p50_us", 0.5), ("p95_us", 0.95), ("p99_us", 0.99), ("max_us", 1.0)];

fn report(settings: &[Setting], args: &cli::Bench, info: &CollectionInfo, count: usize, out: &Output) {
    let mut documents: Vec<Value> = Vec::new();
    let mut table = Vec::new();
    for setting in settings {
        let mut sorted = setting.latencies.clone();
        sorted.sort_unstable();
        let latencies = SHARES.map(|(name, share)| (name, percentile(&sorted, share)));
        let mut document = json!({
            "setting": setting.name, "exact": setting.params.exact, "ef": setting.params.ef,
            "nprobe": setting.params.nprobe, "rerank": setting.params.rerank, "recall": setting.recall(),
            "qps": setting.rate(), "scanned": setting.scanned(),
        });
        let mut cells = vec![
            setting.name.clone(),
            format!("{:.4}", setting.recall()),
            format!("{:.0}", setting.rate()),
        ];
        for (name, micros) in latencies {
            document[name] = json!(micros);
            cells.push(format!("{micros:.0}"));
        }
        cells.push(format!("{:.0}", setting.scanned()));
        documents.push(document);
        table.push(cells);
    }
    if out.json {
        out.document(&json!({
            "collection": args.path, "index": info.index.kind(), "rows": info.rows, "k": args.k, "queries": count,
            "rounds": args.rounds, "settings": documents,
        }));
        return;
    }
    println!(
        "{} rows, {}, {count} queries, {} rounds, one thread",
        info.rows,
        info.index.kind().unwrap_or_default(),
        args.rounds
    );
    let recall = format!("recall@{}", args.k);
    let headings = [
        ("setting", Align::Left),
        (recall.as_str(), Align::Right),
        ("queries/s", Align::Right),
        ("p50 µs", Align::Right),
        ("p95 µs", Align::Right),
        ("p99 µs", Align::Right),
        ("max µs", Align::Right),
        ("compared rows", Align::Right),
    ];
    out.table(&headings, &table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_latency_that_was_measured() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        let at = |share| percentile(&sorted, share).round() as u64;
        assert_eq!((at(0.5), at(0.95), at(0.99), at(1.0)), (50, 95, 99, 100));
        assert_eq!(percentile(&sorted[..1], 0.99).round() as u64, 1);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
