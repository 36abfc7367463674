// SPDX-License-Identifier: Apache-2.0
//! `vexctl insert`: rows from files, standard input or the command line, in batches.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use indicatif::ProgressBar;
use indicatif::ProgressState;
use indicatif::ProgressStyle;
use serde_json::json;
use serde_json::Value;
use vexfs::Batch;
use vexfs::ErrorKind;
use vexfs::InsertOptions;
use vexfs::Payload;

use super::queries;
use crate::cli;
use crate::error::Usage;
use crate::input::Input;
use crate::input::Options;
use crate::input::Row;
use crate::output::Output;
use crate::target::Open;
use crate::target::Target;

pub fn run(target: &Target, args: &cli::Insert, out: &Output) -> Result<ExitCode> {
    if args.source.files.is_empty() && args.source.vector.is_empty() {
        return Err(Usage("nothing to insert: name files, or - for standard input, or give --vector".into()).into());
    }
    if args.source.vector.len() > 1 && (args.id.is_some() || args.payload.is_some()) {
        return Err(Usage("--id and --payload describe one vector, and more are given".into()).into());
    }
    if args.metadata.is_some() && args.source.files.len() != 1 {
        return Err(Usage("--metadata describes the rows of one file".into()).into());
    }
    if args.upsert && args.source.files.is_empty() && args.id.is_none() && args.first_id.is_none() {
        return Err(Usage("--upsert needs ids: give --id or --first-id".into()).into());
    }
    let open = target.collection(&args.path)?;
    let mut inserter = Inserter::new(&open, args);
    let result = inserter.run(args);
    inserter.bar.finish_and_clear();
    if let Err(e) = result {
        // Batches before the failed one are in: never hide that.
        return match inserter.done.rows {
            0 => Err(e),
            rows => Err(e.context(format!("{rows} rows before it were inserted"))),
        };
    }
    let done = &inserter.done;
    if out.json {
        out.document(&json!({
            "inserted": done.rows, "replaced": done.replaced, "first_id": done.first_id, "batches": done.batches,
        }));
    } else {
        let replaced = match done.replaced {
            0 => String::new(),
            n => format!(", {n} of them replaced"),
        };
        let ids = match (done.first_id, done.rows) {
            (Some(id), 1) => format!(", id {id}"),
            (Some(id), _) => format!(", ids from {id}"),
            (None, _) => String::new(),
        };
        println!(
            "inserted {} rows into {}{replaced}{ids}",
            done.rows,
            args.path.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What has been inserted.
#[derive(Default)]
struct Done {
    rows: u64,
    replaced: u64,
    batches: u64,
    /// Id of the very first row, when ids were assigned.
    first_id: Option<u64>,
}

/// Collects rows into batches and sends them.
struct Inserter<'a> {
    open: &'a Open,
    upsert: bool,
    normalize: bool,
    max_rows: u32,
    /// The next id, when the user numbers the rows.
    next_id: Option<u64>,
    /// Whether rows have ids: the first one decides for all.
    with_ids: Option<bool>,
    batch: Batch,
    /// Where each of the batch's rows is from.
    places: Vec<String>,
    done: Done,
    bar: ProgressBar,
}

impl<'a> Inserter<'a> {
    fn new(open: &'a Open, args: &cli::Insert) -> Self {
        let bar = match args.quiet || !std::io::stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::no_length(),
        };
        Inserter {
            open,
            upsert: args.upsert,
            normalize: args.normalize,
            max_rows: args.batch,
            next_id: args.first_id,
            with_ids: None,
            batch: open.collection.batch(),
            places: Vec::new(),
            done: Done::default(),
            bar,
        }
    }

    fn run(&mut self, args: &cli::Insert) -> Result<()> {
        for vector in &args.source.vector {
            let payload = match &args.payload {
                None => serde_json::Map::new(),
                Some(text) => match serde_json::from_str(text) {
                    Ok(Value::Object(object)) => object,
                    Ok(_) => return Err(Usage("--payload is not a JSON object".into()).into()),
                    Err(e) => return Err(Usage(format!("--payload: {e}")).into()),
                },
            };
            let row = Row {
                id: args.id,
                vector: vector.as_slice().into(),
                payload,
            };
            self.add(row, "--vector".into())?;
        }
        for file in &args.source.files {
            self.add_file(file, args)?;
        }
        // The last batch's syncing covers those before it.
        self.send(args.sync)
    }

    fn add_file(&mut self, path: &Path, args: &cli::Insert) -> Result<()> {
        let fields = args.source.fields();
        let options = Options {
            format: args.source.format,
            fields: &fields,
            payloads: args.metadata.as_deref(),
            range: args.source.range(),
        };
        let mut input = Input::open(path, &options)?;
        let style = match input.rows() {
            Some(rows) => {
                self.bar.set_length(self.bar.length().unwrap_or(0) + rows);
                "{bar:30} {human_pos}/{human_len} rows  {rate}  {eta} left"
            }
            None => "{spinner} {human_pos} rows  {rate}",
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            let rate = |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{:.0} rows/s", state.per_sec());
            };
            self.bar.set_style(style.with_key("rate", rate));
        }
        while let Some(row) = input.next_row()? {
            self.add(row, input.position())?;
        }
        Ok(())
    }

    /// Adds a row to the batch, which is sent first when it is full.
    fn add(&mut self, row: Row, place: String) -> Result<()> {
        let (id, payload) = self.prepare(&row).with_context(|| place.clone())?;
        let vector_bytes = self.batch.element().vector_bytes(self.batch.dim() as usize);
        let bytes = self.batch.bytes() + vector_bytes + payload.as_bytes().len();
        if self.batch.len() == self.max_rows as usize || bytes > Batch::BYTES_MAX {
            self.send(false)?;
        }
        let pushed = queries::push(&mut self.batch, id, &row.vector, &payload, self.open);
        pushed.with_context(|| place.clone())?;
        self.places.push(place);
        Ok(())
    }

    /// Gives a row its id and its payload the binary form.
    fn prepare(&mut self, row: &Row) -> Result<(Option<u64>, Payload)> {
        let mut id = row.id;
        if let Some(next) = self.next_id {
            id = Some(next);
            self.next_id = Some(next.checked_add(1).context("no ids are left after the largest")?);
        }
        if *self.with_ids.get_or_insert(id.is_some()) != id.is_some() {
            bail!("either every row has an id or none has");
        }
        if id.is_none() && self.upsert {
            bail!("a row without an id cannot replace one");
        }
        let payload = Payload::from_object(&row.payload).context("payload")?;
        Ok((id, payload))
    }

    /// Sends the batch.
    fn send(&mut self, sync: bool) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let options = InsertOptions::new()
            .upsert(self.upsert)
            .normalize(self.normalize)
            .sync(sync);
        let inserted = self.open.collection.insert_with(&self.batch, options);
        let inserted = inserted.map_err(|e| self.refusal(e))?;
        if self.done.batches == 0 {
            self.done.first_id = inserted.first_id;
        }
        self.done.rows += inserted.rows;
        self.done.replaced += inserted.replaced;
        self.done.batches += 1;
        self.bar.inc(inserted.rows);
        self.batch.clear();
        self.places.clear();
        Ok(())
    }

    /// An insert's error; that a vector is refused is said in words.
    fn refusal(&self, error: vexfs::Error) -> anyhow::Error {
        if error.kind() == ErrorKind::Invalid {
            let metric = self.open.collection.metric();
            if let Some((row, why)) = queries::refused(&self.batch, metric, self.normalize) {
                return anyhow::Error::msg(why).context(self.places[row].clone());
            }
        }
        self.open.error("insert into")(error).into()
    }
}
