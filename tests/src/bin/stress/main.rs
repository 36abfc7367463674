// SPDX-License-Identifier: Apache-2.0
//! Loads for a mounted filesystem, and checks of what they leave. Prints `ok` and `not ok` lines.
//!
//! - `stress storm MOUNT TABLES --seconds N --victims N --bystanders N --seed N --hog PERCENT`: kills processes at
//!   work;
//! - `stress faults MOUNT TABLES --mode nth|random|io --seconds N --workers N --seed N`: works while allocations or
//!   requests fail, as the machine's fault injection is set to let them;
//! - `stress verify MOUNT TABLES`: all that the two left is there, also after mounting again;
//! - `stress adopt MOUNT TABLES`: after a device failed, all that was promised is there;
//! - `stress exercise FILE COPY --mode buffered|mapped|direct|mixed --operations N --seed N`: one file against a copy
//!   in memory;
//! - `stress mix MOUNT --seconds N --workers N --seed N`: processes that do everything to one tree;
//! - `stress fill MOUNT --kind small|promised|big|xattrs|rows`: fills a new filesystem, uses it while full, and empties
//!   it;
//! - `stress many DIR --files N`: many small files;
//! - `stress alike DIR DIR`: two trees are the same;
//! - `stress clear MOUNT`: removes everything;
//! - `stress space MOUNT FILE`: free space and inodes are as FILE says, which is made where there is none.

mod exercise;
mod faults;
mod fill;
mod mix;
mod promised;
mod seats;
mod storm;
mod tree;
mod worker;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

/// Arguments: words, and numbers or words after `--NAME`.
pub struct Arguments {
    words: Vec<String>,
    options: HashMap<String, String>,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let (mut words, mut options) = (Vec::new(), HashMap::new());
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                Some(name) => {
                    let value = args.next().ok_or(format!("{arg} needs a value"))?;
                    options.insert(name.to_string(), value);
                }
                None => words.push(arg),
            }
        }
        Ok(Arguments { words, options })
    }

    pub fn word(&self, n: usize) -> Result<&str, String> {
        self.words
            .get(n)
            .map(String::as_str)
            .ok_or("too few arguments; see the source's head".into())
    }

    pub fn path(&self, n: usize) -> Result<&Path, String> {
        self.word(n).map(Path::new)
    }

    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.options.get(name).map_or(default, String::as_str)
    }

    pub fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        match self.options.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|e| format!("--{name} {text}: {e}")),
        }
    }
}

/// Prints a result and says whether it is good.
pub fn report(name: &str, result: Result<(), String>) -> bool {
    match &result {
        Ok(()) => println!("ok {name}"),
        Err(why) => println!("not ok {name}: {why}"),
    }
    result.is_ok()
}

fn run(args: &Arguments) -> Result<bool, String> {
    match args.word(0)? {
        "storm" => storm::run(args),
        "faults" => faults::run(args),
        "verify" => seats::verify(args),
        "adopt" => seats::adopt(args),
        "worker" => worker::run(args),
        "exercise" => exercise::run(args),
        "mix" => mix::run(args),
        "mixer" => mix::mixer(args),
        "fill" => fill::run(args),
        "many" => tree::many(args),
        "alike" => tree::alike(args),
        "clear" => tree::clear(args),
        "space" => tree::space(args),
        other => Err(format!("no such command: {other}")),
    }
}

fn main() -> ExitCode {
    match Arguments::parse().and_then(|args| run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("not ok stress: {e}");
            ExitCode::FAILURE
        }
    }
}
