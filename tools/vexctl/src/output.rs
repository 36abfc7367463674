// SPDX-License-Identifier: Apache-2.0
//! Printing: JSON documents for programs, tables for people.

use std::io::IsTerminal;

use serde_json::Value;

use crate::cli::Color;
use crate::error::SysError;

/// How to print.
pub struct Output {
    pub json: bool,
    color: bool,
    /// Columns of the terminal, when there is one.
    width: Option<usize>,
}

/// How a cell is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

impl Output {
    pub fn new(json: bool, color: Color) -> Output {
        let terminal = std::io::stdout().is_terminal();
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Output {
            json,
            color,
            width: if terminal { terminal_width() } else { None },
        }
    }

    /// Prints a document.
    pub fn document(&self, value: &Value) {
        println!("{value}");
    }

    /// Prints an error to standard error.
    pub fn error(&self, error: &anyhow::Error) {
        let system = error.chain().find_map(|e| e.downcast_ref::<SysError>());
        let hint = system.and_then(|e| e.hint);
        if self.json {
            let errno = system.map(|e| e.errno);
            eprintln!(
                "{}",
                serde_json::json!({ "error": format!("{error:#}"), "errno": errno, "hint": hint })
            );
            return;
        }
        eprintln!("vexctl: {error:#}");
        if let Some(hint) = hint {
            eprintln!("hint: {hint}");
        }
    }

    /// Sets text off as a heading.
    pub fn strong(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Sets text back.
    pub fn faint(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }

    /// Prints names and values in two columns.
    pub fn pairs(&self, pairs: &[(&str, String)]) {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs {
            println!("{}  {value}", self.faint(&format!("{name:<width$}")));
        }
    }

    /// Prints a table under its headings; on a terminal its last column is cut to fit.
    pub fn table(&self, headings: &[(&str, Align)], rows: &[Vec<String>]) {
        let mut widths: Vec<usize> = headings.iter().map(|(heading, _)| heading.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let before: usize = widths.iter().rev().skip(1).map(|w| w + 2).sum();
        let room = self.width.map(|w| w.saturating_sub(before).max(20));

        let line = |cells: Vec<&str>| {
            let mut out = String::new();
            for (i, ((cell, width), (_, align))) in cells.iter().zip(&widths).zip(headings).enumerate() {
                let last = i + 1 == widths.len();
                let cell = match (last, room) {
                    (true, Some(room)) => cut(cell, room),
                    _ => cell.to_string(),
                };
                match (align, last) {
                    (Align::Right, _) => out.push_str(&format!("{cell:>width$}")),
                    (Align::Left, false) => out.push_str(&format!("{cell:<width$}")),
                    (Align::Left, true) => out.push_str(&cell),
                }
                if !last {
                    out.push_str("  ");
                }
            }
            out
        };
        println!(
            "{}",
            self.faint(&line(headings.iter().map(|(heading, _)| *heading).collect()))
        );
        for row in rows {
            println!("{}", line(row.iter().map(String::as_str).collect()));
        }
    }
}

/// Cuts text to `room` characters and says so with an ellipsis.
pub fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    let mut out: String = text.chars().take(room.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Returns bytes in a unit a person reads.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Returns a payload value as one line of text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn terminal_width() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `winsize`, and `size` is one that outlives the call.
    let ret = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (ret == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_read_well() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn long_text_is_cut_at_characters_and_control_characters_do_not_reach_the_terminal() {
        assert_eq!(cut("größer", 4), "grö…");
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(plain(&Value::String("a\x1b[31m\nb".into())), "a [31m b");
    }
}
