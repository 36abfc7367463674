// SPDX-License-Identifier: Apache-2.0
//! The command line.

use std::ops::Range;
use std::path::PathBuf;

use clap::ArgGroup;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use crate::backend::Metric;
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
            Command::Status(_) | Command::Get(_) | Command::Search(_) => false,
            Command::Collection(Collection::List { .. } | Collection::Info { .. }) => false,
            Command::Collection(Collection::Create { .. } | Collection::Drop { .. }) => true,
            Command::Insert(_) | Command::Delete(_) => true,
        }
    }
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
        #[arg(short, long, value_enum)]
        metric: Metric,
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

#[derive(Args)]
pub struct Search {
    /// The collection
    pub path: PathBuf,
    #[command(flatten)]
    pub source: Source,
    /// Search with the vectors of these rows of the collection
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub id: Vec<u64>,
    /// Hits a query
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub k: u32,
    /// Only rows at most this far away
    #[arg(short, long, value_name = "DISTANCE", allow_hyphen_values = true)]
    pub radius: Option<f32>,
    /// Scan every row instead of using an index
    #[arg(long)]
    pub exact: bool,
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
