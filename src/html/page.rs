//! The page, from top to bottom.

use std::fmt::Write as _;

use super::{Better, Cell, Column, Figure, Image, Report, Slides, Strip, Table};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// SHA-256 of `page.js`, as `tests/it/html.rs` computes it: the only script that the page lets run.
const SCRIPT_HASH: &str = "X0Ab2p/YLdGBtCq+X7nd8LSzk53OCHE3HkYcX94B6Hw=";
/// Gaps between the frames of a strip that are shown where there is no slider; the first that fits, or else four.
const GAPS: [usize; 3] = [4, 5, 3];

/// The page as text. A row of the table that has too few cells is filled with empty ones.
pub fn render(report: &Report) -> String {
    let title = escaped(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'unsafe-inline'; script-src 'sha256-{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n<script>{SCRIPT}</script>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n"
    );
    if !report.lead.is_empty() {
        out += &format!("<p class=\"lead\">{}</p>\n", escaped(&report.lead));
    }
    if !report.facts.is_empty() {
        out += "<dl class=\"facts\">\n";
        for (name, value) in &report.facts {
            out += &format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(name), escaped(value));
        }
        out += "</dl>\n";
    }
    out += "</header>\n";
    if !report.table.columns.is_empty() {
        section(&mut out, "Results", |out| table(out, &report.table));
    }
    if !report.figures.is_empty() || !report.slides.is_empty() {
        section(&mut out, "Metrics", |out| {
            for (figure, number) in report.figures.iter().zip(1..) {
                still(out, figure, number);
            }
            for (slides, number) in report.slides.iter().zip(report.figures.len() + 1..) {
                moving(out, slides, number);
            }
        });
    }
    if !report.notes.is_empty() {
        section(&mut out, "Notes", |out| {
            for note in &report.notes {
                *out += &format!("<p>{}</p>\n", escaped(note));
            }
        });
    }
    out += "</main>\n</body>\n</html>\n";
    out
}

fn section(out: &mut String, title: &str, fill: impl FnOnce(&mut String)) {
    let id = title.to_lowercase();
    *out += &format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n");
    fill(out);
    *out += "</section>\n";
}

fn table(out: &mut String, table: &Table) {
    let values = |c: usize| table.rows.iter().filter_map(move |row| row.get(c)?.value).filter(|v| v.is_finite());
    let numeric: Vec<bool> = (0..table.columns.len()).map(|c| values(c).next().is_some()).collect();
    let best: Vec<Option<f64>> = table.columns.iter().enumerate().map(|(c, col)| best(col.better, values(c))).collect();
    // A wide table scrolls in its own box, which the keyboard must reach.
    *out += "<div class=\"scroll\" role=\"region\" aria-labelledby=\"table-1\" tabindex=\"0\">\n<table>\n";
    *out += &format!("<caption id=\"table-1\"><b>Table 1.</b> {}</caption>\n<thead>\n<tr>\n", escaped(&table.caption));
    for (column, numeric) in table.columns.iter().zip(&numeric) {
        let mut attributes = String::from(if *numeric { " class=\"number\"" } else { "" });
        attributes += match column.better {
            Better::Lower => " data-better=\"lower\"",
            Better::Higher => " data-better=\"higher\"",
            Better::Neither => "",
        };
        let about = about(column);
        if !about.is_empty() {
            attributes += &format!(" title=\"{}\"", escaped(&about));
        }
        let mut unit = String::new();
        if !column.unit.is_empty() {
            unit = format!(" <span class=\"unit\">{}</span>", escaped(&column.unit));
        }
        *out += &format!(
            "<th scope=\"col\"{attributes}><span class=\"head\"><span class=\"title\">{}</span>{unit}</span></th>\n",
            escaped(&column.title)
        );
    }
    *out += "</tr>\n</thead>\n<tbody>\n";
    let empty = Cell::default();
    for row in &table.rows {
        *out += "<tr>";
        for c in 0..table.columns.len() {
            cell(out, row.get(c).unwrap_or(&empty), c == 0, numeric[c], best[c]);
        }
        *out += "</tr>\n";
    }
    *out += "</tbody>\n</table>\n</div>\n";
    explain(out, table);
}

/// The best of the finite values.
fn best(better: Better, values: impl Iterator<Item = f64>) -> Option<f64> {
    match better {
        Better::Lower => values.reduce(f64::min),
        Better::Higher => values.reduce(f64::max),
        Better::Neither => None,
    }
}

fn cell(out: &mut String, cell: &Cell, first: bool, numeric: bool, best: Option<f64>) {
    let value = match cell.value {
        // As JavaScript's Number reads it.
        Some(v) if v.is_infinite() => format!(" data-value=\"{}Infinity\"", if v < 0.0 { "-" } else { "" }),
        Some(v) if !v.is_nan() => format!(" data-value=\"{v:e}\""),
        _ => String::new(),
    };
    let class = if numeric { " class=\"number\"" } else { "" };
    let mut text = escaped(&cell.text);
    if best.is_some() && best == cell.value {
        text = format!("<strong>{text}</strong>");
    }
    let (name, scope) = if first { ("th", " scope=\"row\"") } else { ("td", "") };
    *out += &format!("<{name}{scope}{class}{value}>{text}</{name}>");
}

/// What a column contains, and which end of it is better.
fn about(column: &Column) -> String {
    let better = match column.better {
        Better::Lower => "Lower is better.",
        Better::Higher => "Higher is better.",
        Better::Neither => "",
    };
    [column.about.as_str(), better].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Hovering reaches neither phones nor paper: the same words under the table.
fn explain(out: &mut String, table: &Table) {
    let described: Vec<(&Column, String)> =
        table.columns.iter().map(|c| (c, about(c))).filter(|(_, words)| !words.is_empty()).collect();
    if described.is_empty() {
        return;
    }
    *out += "<dl class=\"about\">\n";
    for (column, words) in described {
        let unit = if column.unit.is_empty() { String::new() } else { format!(", {}", column.unit) };
        *out +=
            &format!("<div><dt>{}{}</dt><dd>{}</dd></div>\n", escaped(&column.title), escaped(&unit), escaped(&words));
    }
    *out += "</dl>\n";
    if table.columns.iter().any(|c| c.better != Better::Neither) {
        *out += "<p class=\"about\">The best value of a column is set in bold.</p>\n";
    }
}

fn still(out: &mut String, figure: &Figure, number: usize) {
    let image = image(&figure.image, &figure.alt);
    let caption = escaped(&figure.caption);
    *out += &format!("<figure>\n{image}\n<figcaption><b>Figure {number}.</b> {caption}</figcaption>\n</figure>\n");
}

fn moving(out: &mut String, slides: &Slides, number: usize) {
    let longest = slides.strips.iter().map(|s| s.frames.len()).max().unwrap_or(0);
    *out += "<figure class=\"slides\">\n";
    if longest > 1 {
        // The script shows it: without one there is nothing to move.
        *out += &format!(
            "<div class=\"way\" hidden><button type=\"button\">Play</button>\
             <label for=\"way-{number}\">Along the way</label>\
             <input type=\"range\" id=\"way-{number}\" min=\"0\" max=\"{}\" step=\"1\" value=\"{0}\">\
             <output for=\"way-{number}\"></output></div>\n",
            longest - 1
        );
    }
    *out += "<div class=\"strips\">\n";
    for (strip, k) in slides.strips.iter().zip(1..) {
        frames(out, strip, &format!("strip-{number}-{k}"));
    }
    let caption = escaped(&slides.caption);
    *out += &format!("</div>\n<figcaption><b>Figure {number}.</b> {caption}</figcaption>\n</figure>\n");
}

fn frames(out: &mut String, strip: &Strip, id: &str) {
    let last = strip.frames.len().saturating_sub(1);
    // Evenly spaced if that can be, the first and the last among them.
    let gaps = GAPS.into_iter().find(|gaps| last >= *gaps && last.is_multiple_of(*gaps)).unwrap_or(last.min(GAPS[0]));
    let key = |i: usize| last == 0 || (0..=gaps).any(|k| (k * last + gaps / 2) / gaps == i);
    let name = escaped(&strip.name);
    *out +=
        &format!("<div class=\"strip\" role=\"group\" aria-labelledby=\"{id}\">\n<p id=\"{id}\">{name}</p>\n<ol>\n");
    for (i, (label, picture)) in strip.frames.iter().enumerate() {
        let class = match (key(i), i == last) {
            (true, true) => " class=\"key now\"",
            (true, false) => " class=\"key\"",
            _ => "",
        };
        let image = image(picture, &format!("{}, {label}", strip.name));
        *out += &format!("<li{class}>{image}<span class=\"label\">{}</span></li>\n", escaped(label));
    }
    *out += "</ol>\n</div>\n";
}

/// Decoded at once: a frame that comes late would flicker.
fn image(image: &Image, alt: &str) -> String {
    let size = image.size().map(|(w, h)| format!(" width=\"{w}\" height=\"{h}\"")).unwrap_or_default();
    format!("<img src=\"{}\" alt=\"{}\"{size} decoding=\"sync\">", image.address(), escaped(alt))
}

/// Text as text, between tags and inside of quotes. Control characters, which HTML cannot hold, become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing into a String cannot fail.
        let _ = match c {
            '&' => write!(out, "&amp;"),
            '<' => write!(out, "&lt;"),
            '>' => write!(out, "&gt;"),
            '"' => write!(out, "&quot;"),
            '\'' => write!(out, "&#39;"),
            c if c.is_control() => write!(out, " "),
            c => write!(out, "{c}"),
        };
    }
    out
}
