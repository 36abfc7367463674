// SPDX-License-Identifier: Apache-2.0
//! A chart of the ratios: one bar for each workload and other filesystem, on a logarithmic scale round 1.

use crate::report::Report;
use std::fmt::Write as _;

/// Pixels.
const LEFT: f64 = 300.0;
const WIDTH: f64 = 460.0;
const BAR: f64 = 9.0;
const TOP: f64 = 64.0;
/// The scale reaches from `1 / SPAN` to `SPAN`.
const SPAN: f64 = 8.0;
const COLOURS: [&str; 4] = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0"];

fn x(ratio: f64) -> f64 {
    let place = ratio.clamp(1.0 / SPAN, SPAN).ln() / SPAN.ln();
    LEFT + WIDTH * (place + 1.0) / 2.0
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The chart as an SVG document.
pub fn draw(report: &Report) -> String {
    let others = report.names.len() - 1;
    let step = BAR * others as f64 + 8.0;
    let height = TOP + step * report.rows.len() as f64 + 30.0;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">{}: {} against the others, right is faster</text>",
        LEFT + WIDTH + 60.0,
        escape(&report.title),
        escape(&report.names[0]),
    );
    for (which, name) in report.names[1..].iter().enumerate() {
        let at = 12.0 + 140.0 * which as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{at}\" y=\"34\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"44\">against {}</text>",
            COLOURS[which % COLOURS.len()],
            at + 18.0,
            escape(name)
        );
    }
    let bottom = height - 22.0;
    for tick in [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0] {
        let at = x(tick);
        let colour = if tick == 1.0 { "#333" } else { "#ddd" };
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{tick}</text>",
            bottom + 15.0
        );
    }
    for (number, row) in report.rows.iter().enumerate() {
        let top = TOP + step * number as f64 + 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            top + BAR * others as f64 / 2.0 + 4.0,
            escape(&row.name)
        );
        for which in 1..=others {
            let ratio = row.ratio(which);
            let (from, to) = (x(1.0).min(x(ratio)), x(1.0).max(x(ratio)));
            let y = top + BAR * (which - 1) as f64;
            let _ = writeln!(
                out,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\" fill=\"#333\">{ratio:.2}</text>",
                to - from,
                BAR - 1.0,
                COLOURS[(which - 1) % COLOURS.len()],
                to + 3.0,
                y + BAR - 2.0
            );
        }
    }
    out.push_str("</svg>\n");
    out
}
