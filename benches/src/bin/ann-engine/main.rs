// SPDX-License-Identifier: Apache-2.0
//! Holds one collection over a real image and obeys line commands, for `make bench-ann`: what `benches/ann/peer.py` is
//! for other libraries, this is for VexFS, so that all are timed the same way.
//!
//! A command is `verb name=value ...` on standard input; the answer is a line of JSON on standard output, followed by
//! as many bytes as its "bytes" says. `{"error": ...}` answers what cannot be done.
//!
//! ```text
//! load base=FILE query=FILE metric=l2 element=f32 rows=N
//! build path=IMAGE index=hnsw m=16 efc=200 codes=sq8 threads=1     inserts the base and builds the index
//! open path=IMAGE                                                  mounts it again, and tells memory
//! search k=10 ef=64 nprobe=0 rerank=0 exact=0 below=N passes=1 queries=N
//! insert base=FILE metric=l2 path=IMAGE batch=1000 repeats=5       durable inserts
//! bandwidth base=FILE metric=l2 mib=1024 turns=9                   exact search beside reading memory
//! ```

mod bandwidth;
mod clock;
mod command;
mod image;
mod insert;
mod payload;
mod session;
mod vectors;

use anyhow::Result;
use command::Command;
use serde_json::json;
use serde_json::Value;
use session::Session;
use std::io::BufRead as _;
use std::io::Write as _;

/// An answer: JSON, and bytes that follow it.
type Answer = (Value, Vec<u8>);

fn obey(session: &mut Session, command: &Command) -> Result<Answer> {
    let plain = |value| (value, Vec::new());
    match command.verb() {
        "load" => session.load(command).map(plain),
        "build" => session.build(command).map(plain),
        "open" => session.open(command).map(plain),
        "search" => session.search(command),
        "insert" => insert::measure(command).map(plain),
        "bandwidth" => bandwidth::measure(command).map(plain),
        verb => anyhow::bail!("no such command: {verb}"),
    }
}

fn main() -> Result<()> {
    let mut session = Session::default();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let (mut answer, bytes) = match obey(&mut session, &Command::parse(&line?)) {
            Ok(answer) => answer,
            Err(e) => (json!({ "error": format!("{e:#}") }), Vec::new()),
        };
        if let Some(fields) = answer.as_object_mut() {
            fields.insert("bytes".into(), bytes.len().into());
        }
        writeln!(out, "{answer}")?;
        out.write_all(&bytes)?;
        out.flush()?;
    }
    Ok(())
}
