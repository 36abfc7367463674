// SPDX-License-Identifier: Apache-2.0
//! Printing: JSON documents for programs, tables for people.

use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::CellAlignment;
use comfy_table::ColumnConstraint;
use comfy_table::ContentArrangement;
use comfy_table::Table;
use comfy_table::Width;
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
        for (i, line) in lines(headings, rows, self.width).into_iter().enumerate() {
            match i {
                0 => println!("{}", self.faint(&line)),
                _ => println!("{line}"),
            }
        }
    }
}

/// The lines of a table, the headings first.
fn lines(headings: &[(&str, Align)], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_truncation_indicator("…");
    table.set_header(headings.iter().map(|(heading, _)| *heading));
    table.add_rows(rows);
    let last = headings.len().saturating_sub(1);
    for ((i, column), (_, align)) in table.column_iter_mut().enumerate().zip(headings) {
        column.set_padding((0, if i == last { 0 } else { 2 }));
        column.set_cell_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        });
        if i != last {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if let Some(width) = width.and_then(|width| u16::try_from(width).ok()) {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
        for row in table.row_iter_mut() {
            row.max_height(1);
        }
        if let Some(column) = table.column_mut(last) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(20)));
        }
    }
    table.lines().map(|line| line.trim_end().to_string()).collect()
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
    fn columns_are_aligned_and_the_last_one_is_cut_to_the_terminal() {
        let headings = [("id", Align::Right), ("name", Align::Left), ("text", Align::Left)];
        let rows = [
            vec!["7".into(), "größer".into(), "a b c".into()],
            vec!["1024".into(), "x".into(), "y".repeat(40)],
        ];
        let plain = lines(&headings, &rows, None);
        assert_eq!(plain[0], "  id  name    text");
        assert_eq!(plain[1], "   7  größer  a b c");
        assert_eq!(plain[2], format!("1024  x       {}", "y".repeat(40)));
        let cut = lines(&headings, &rows, Some(40));
        assert_eq!((cut.len(), &cut[..2]), (3, &plain[..2]));
        assert!(
            cut[2].starts_with("1024  x       yyy") && cut[2].ends_with('…'),
            "{cut:?}"
        );
        assert!(cut[2].chars().count() <= 40);
    }

    #[test]
    fn long_text_is_cut_at_characters_and_control_characters_do_not_reach_the_terminal() {
        assert_eq!(cut("größer", 4), "grö…");
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(plain(&Value::String("a\x1b[31m\nb".into())), "a [31m b");
    }
}
