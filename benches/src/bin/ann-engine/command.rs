// SPDX-License-Identifier: Apache-2.0
//! Commands: a verb and named values.

use anyhow::Context as _;
use anyhow::Result;
use std::str::FromStr;

/// A parsed line.
pub struct Command {
    verb: String,
    values: Vec<(String, String)>,
}

impl Command {
    /// Reads a line. Words without `=` stand for themselves with an empty value.
    pub fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or("").to_owned();
        let values = words
            .map(|word| word.split_once('=').unwrap_or((word, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { verb, values }
    }

    pub fn verb(&self) -> &str {
        &self.verb
    }

    /// The value of this name, if it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of this name, which has to be there.
    pub fn needed(&self, name: &str) -> Result<&str> {
        self.text(name).with_context(|| format!("{} needs {name}=", self.verb))
    }

    /// A number, or what it is if it was not given.
    pub fn number<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T> {
        match self.text(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().ok().with_context(|| format!("{name}={text} is no number")),
        }
    }
}
