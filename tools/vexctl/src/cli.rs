// SPDX-License-Identifier: Apache-2.0
//! The command line.

use std::ops::Range;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::Arg;
use clap::ArgGroup;
use clap::ArgMatches;
use clap::Args;
use clap::FromArgMatches;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use vexfs::Element;
use vexfs::IndexKind;
use vexfs::IndexParams;
use vexfs::Metric;
use vexfs_uapi::Values;
use vexfs_uapi::INDEX_PARAMS;

use crate::input::jsonl::Fields;
use crate::input::parse_range;
use crate::input::parse_vector;
use crate::input::Format;

/// Works with the vector collections of VexFS filesystems.
///
/// A collection is a directory of a mounted VexFS: name it by its path. With --image, commands work on an image or an
/// unmounted device without the kernel. Exit codes: 0 success, 1 failure,
/// 2 usage.
#[derive(Parser)]
#[command(name = "vexctl", version, arg_required_else_help = true)]
pub struct Cli {
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// When to colour text
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "Output")]
    pub color: Color,
    /// Work on an image or an unmounted device, without the kernel; paths are then those inside of it
    #[arg(long, global = true, value_name = "IMAGE", help_heading = "Filesystem")]
    pub image: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl Cli {
    /// Whether the command changes anything.
    pub fn writes(&self) -> bool {
        match &self.command {
            Command::Status(_) | Command::Get(_) | Command::Search(_) | Command::Explain(_) | Command::Bench(_) => {
                false
            }
            Command::Collection(Collection::List { .. } | Collection::Info { .. }) => false,
            Command::Collection(Collection::Create { .. } | Collection::Drop { .. }) => true,
            Command::Index(IndexCommand::Info { .. }) => false,
            Command::Index(IndexCommand::Build(_) | IndexCommand::Drop { .. }) => true,
            Command::Insert(_) | Command::Delete(_) | Command::Optimize(_) => true,
        }
    }
}

/// Parses one of the library's names, which clap lists in its help and completions.
macro_rules! one_of {
    ($type:ident) => {
        PossibleValuesParser::new($type::ALL.iter().map(|it| it.name())).try_map(|name| name.parse::<$type>())
    };
}

#[derive(Subcommand)]
pub enum Command {
    /// Show a mounted filesystem's state and counters
    Status(Status),
    /// Create, list, describe and drop collections
    #[command(subcommand)]
    Collection(Collection),
    /// Insert rows into a collection
    Insert(Insert),
    /// Show rows by id
    Get(Get),
    /// Delete rows by id
    Delete(Delete),
    /// Find the nearest rows of one or many queries
    Search(Search),
    /// Say how a search is answered: what was chosen in each segment, and what it cost
    Explain(Explain),
    /// Build, drop and describe indexes
    #[command(subcommand)]
    Index(IndexCommand),
    /// Merge a collection's rows into one segment without deleted ones, and index it
    Optimize(Optimize),
    /// Measure recall and speed of a collection's searches against exact ones
    Bench(Bench),
}

#[derive(Args)]
pub struct Status {
    /// Any path of the filesystem [default: every mounted VexFS]
    pub path: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Collection {
    /// Make a directory that is a collection
    Create {
        /// Path of the new directory
        path: PathBuf,
        /// Dimensions of its vectors, 1 to 4096
        #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..=4096))]
        dim: u32,
        /// How near two vectors are
        #[arg(short, long, value_parser = one_of!(Metric))]
        metric: Metric,
        /// What its vectors consist of
        #[arg(short, long, value_parser = one_of!(Element), default_value = "f32")]
        element: Element,
        /// Index with default parameters; `vexctl index build` sets others
        #[arg(short, long, value_parser = one_of!(IndexKind), default_value = "flat")]
        index: IndexKind,
    },
    /// List the collections in a directory
    #[command(visible_alias = "ls")]
    List {
        /// The directory [default: the root of every mounted VexFS]
        path: Option<PathBuf>,
        /// Look into directories in directories, too
        #[arg(short, long)]
        recursive: bool,
    },
    /// Describe a collection
    Info { path: PathBuf },
    /// Remove a collection with all its rows
    #[command(visible_alias = "rm")]
    Drop { path: PathBuf },
}

/// Where rows or queries come from.
#[derive(Args)]
pub struct Source {
    /// Files of vectors; - is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A vector: numbers separated by commas
    #[arg(short, long, value_name = "NUMBERS", allow_hyphen_values = true, value_parser = parse_vector)]
    pub vector: Vec<Vector>,
    /// What the files hold
    #[arg(short, long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// Rows to take from each file: 10..20, 10.., or the first ones: 10
    #[arg(long, value_name = "RANGE", value_parser = parse_range)]
    pub rows: Option<Range<u64>>,
    /// JSON field that is the id
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub id_field: String,
    /// JSON field that is the vector
    #[arg(long, value_name = "NAME", default_value = "vector")]
    pub vector_field: String,
    /// JSON field that is the payload; without it, all other fields are
    #[arg(long, value_name = "NAME", default_value = "payload")]
    pub payload_field: String,
}

/// A vector of the command line (an alias, so that clap takes it as one value).
pub type Vector = Vec<f32>;

impl Source {
    pub fn fields(&self) -> Fields {
        Fields {
            id: self.id_field.clone(),
            vector: self.vector_field.clone(),
            payload: self.payload_field.clone(),
        }
    }

    pub fn range(&self) -> Range<u64> {
        self.rows.clone().unwrap_or(0..u64::MAX)
    }
}

#[derive(Args)]
#[command(group = ArgGroup::new("ids").args(["id", "first_id"]))]
pub struct Insert {
    /// The collection
    pub path: PathBuf,
    #[command(flatten)]
    pub source: Source,
    /// Id of the row given by --vector
    #[arg(long, requires = "vector")]
    pub id: Option<u64>,
    /// Payload of the row given by --vector: a JSON object
    #[arg(long, value_name = "JSON", requires = "vector")]
    pub payload: Option<String>,
    /// JSON lines with the payloads of the rows of FILE, in the same order
    #[arg(short, long, value_name = "FILE", conflicts_with = "vector")]
    pub metadata: Option<PathBuf>,
    /// Number the rows from here on instead of having ids assigned
    #[arg(long, value_name = "ID")]
    pub first_id: Option<u64>,
    /// Replace rows whose id exists already
    #[arg(short, long)]
    pub upsert: bool,
    /// Scale vectors to unit length
    #[arg(long)]
    pub normalize: bool,
    /// Return only when the rows are on stable storage
    #[arg(long)]
    pub sync: bool,
    /// Rows a call; each call's rows are inserted all or not at all
    #[arg(long, value_name = "ROWS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: u32,
    /// No progress bar
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct Get {
    /// The collection
    pub path: PathBuf,
    #[arg(required = true)]
    pub ids: Vec<u64>,
    /// Show the vectors, too
    #[arg(long)]
    pub vectors: bool,
    /// Payload fields to show [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub fields: Vec<String>,
}

#[derive(Args)]
pub struct Delete {
    /// The collection
    pub path: PathBuf,
    #[arg(required_unless_present = "from")]
    pub ids: Vec<u64>,
    /// A file of ids, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Return only when the deletion is on stable storage
    #[arg(long)]
    pub sync: bool,
}

/// Which rows are looked for, and how thoroughly.
#[derive(Args)]
pub struct Looking {
    /// Hits a query
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub k: u32,
    /// Only rows at most this far away
    #[arg(short, long, value_name = "DISTANCE", allow_hyphen_values = true)]
    pub radius: Option<f32>,
    /// Only rows whose payload matches, for example {"arch": "all", "size": {"gte": 1000}}; see vexctl(1)
    #[arg(long, value_name = "JSON")]
    pub filter: Option<String>,
    /// Width of the search of a graph (hnsw, vamana) [default: the index's]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub ef: Option<u32>,
    /// Lists (ivf, ivf-pq) or buckets a table (lsh) to look into [default: the index's]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1048576))]
    pub nprobe: Option<u32>,
    /// Candidates found by codes that are compared by whole vectors, as a multiple of k [default: the index's]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub rerank: Option<u32>,
    /// Scan every row instead of using an index
    #[arg(long)]
    pub exact: bool,
    /// Stop after this long with what was found: 500us, 20ms, 1.5s
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub time_limit: Option<u32>,
}

/// Parses a time and returns microseconds.
fn parse_time(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        other => return Err(format!("{other:?} is no unit; use us, ms or s")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{text:?} is no time"))?;
    let micros = (number * unit).ceil();
    match micros >= 1.0 && micros <= f64::from(u32::MAX) {
        true => Ok(micros as u32),
        false => Err("a time limit is 1us to about an hour".into()),
    }
}

#[derive(Args)]
pub struct Search {
    /// The collection
    pub path: PathBuf,
    #[command(flatten)]
    pub source: Source,
    /// Search with the vectors of these rows of the collection
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub id: Vec<u64>,
    #[command(flatten)]
    pub looking: Looking,
    /// Show the vectors, too
    #[arg(long)]
    pub vectors: bool,
    /// Payload fields to show [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// JSON lines that describe the queries of FILE, in the same order
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Field of the labels to show
    #[arg(long, value_name = "NAME", requires = "labels", default_value = "synopsis")]
    pub label_field: String,
}

#[derive(Args)]
pub struct Explain {
    /// The collection
    pub path: PathBuf,
    #[command(flatten)]
    pub source: Source,
    /// Search with the vectors of these rows of the collection
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub id: Vec<u64>,
    #[command(flatten)]
    pub looking: Looking,
}

#[derive(Subcommand)]
pub enum IndexCommand {
    /// Choose an index and build it for all rows
    Build(Box<BuildIndex>),
    /// Take the index away
    Drop { path: PathBuf },
    /// Describe the index and what the collection consists of
    Info { path: PathBuf },
}

/// Parameters that are left out have defaults that suit the rows.
#[derive(Args)]
pub struct BuildIndex {
    /// The collection
    pub path: PathBuf,
    /// The kind of index
    #[arg(value_parser = one_of!(IndexKind))]
    pub kind: IndexKind,
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    pub work: Work,
}

impl BuildIndex {
    pub fn index(&self) -> IndexParams {
        IndexParams {
            kind: self.kind.code(),
            ..self.params.0
        }
    }
}

/// The parameters of indexes: an option each, made of the table in the user ABI.
struct Params(IndexParams);

impl Args for Params {
    fn augment_args(command: clap::Command) -> clap::Command {
        INDEX_PARAMS.iter().fold(command, |command, param| {
            let arg = Arg::new(param.name).long(param.name).help(param.help);
            let number = || clap::value_parser!(u64);
            command.arg(match param.values {
                Values::Range(low, high) => arg.value_name("NUMBER").value_parser(number().range(low..=high)),
                Values::OneOf(values) => arg
                    .value_name("NUMBER")
                    .value_parser(move |text: &str| parse_one_of(text, values)),
                Values::Permille(low, high) => arg
                    .value_name("FRACTION")
                    .value_parser(move |text: &str| parse_permille(text, low, high)),
                Values::Named(names) => arg.value_parser(
                    PossibleValuesParser::new(names)
                        .map(|name| names.iter().position(|known| *known == name).unwrap_or(0) as u64),
                ),
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Params {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut params = Self(IndexParams::FLAT);
        params.update_from_arg_matches(matches)?;
        Ok(params)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for param in INDEX_PARAMS {
            if let Some(value) = matches.get_one::<u64>(param.name) {
                (param.set)(&mut self.0, *value);
            }
        }
        Ok(())
    }
}

fn parse_one_of(text: &str, values: &[u64]) -> Result<u64, String> {
    let value = text.parse().ok().filter(|value| values.contains(value));
    value.ok_or_else(|| {
        let values: Vec<String> = values.iter().map(u64::to_string).collect();
        format!("{} is wanted", values.join(" or "))
    })
}

/// Parses a fraction and returns thousandths.
fn parse_permille(text: &str, low: u64, high: u64) -> Result<u64, String> {
    let permille = text.parse::<f64>().ok().map(|number| (number * 1000.0).round());
    match permille.filter(|number| (low as f64..=high as f64).contains(number)) {
        Some(number) => Ok(number as u64),
        None => Err(format!("{} to {} is wanted", low as f64 / 1000.0, high as f64 / 1000.0)),
    }
}

/// How long work is done.
#[derive(Args)]
pub struct Work {
    /// Threads to use with --image [default: all CPUs]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// No progress bar
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct Optimize {
    /// The collection
    pub path: PathBuf,
    /// Only do what has become due: seal recent rows, merge small segments, index what has no index
    #[arg(long)]
    pub due: bool,
    #[command(flatten)]
    pub work: Work,
}

/// Queries are answered one by one, by one thread; settings take turns, so that what else the machine does troubles all
/// of them alike.
#[derive(Args)]
pub struct Bench {
    /// The collection
    pub path: PathBuf,
    #[command(flatten)]
    pub source: Source,
    /// Without FILE and --vector: so many rows of the collection are the queries
    #[arg(long, value_name = "ROWS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100000))]
    pub sample: u32,
    /// Hits a query
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub k: u32,
    /// Only rows whose payload matches: see search
    #[arg(long, value_name = "JSON")]
    pub filter: Option<String>,
    /// Widths of the search of a graph to measure [default: some around k, if the index is a graph]
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',')]
    pub ef: Vec<u32>,
    /// Numbers of lists or buckets to measure [default: powers of 2, if the index has them]
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',')]
    pub nprobe: Vec<u32>,
    /// Multiples of k to compare by whole vectors to measure [default: the index's]
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',')]
    pub rerank: Vec<u32>,
    /// How often each query is asked at each setting, after once to warm up
    #[arg(long, value_name = "TIMES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// No progress bar
    #[arg(short, long)]
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("500us"), Ok(500));
        assert_eq!(parse_time("20ms"), Ok(20_000));
        assert_eq!(parse_time("1.5s"), Ok(1_500_000));
        for bad in ["", "5", "0ms", "-1s", "1h", "1e9s", "ms"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
