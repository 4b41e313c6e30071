//! Tables for notebooks.

/// Text as HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Names and values, a row each.
pub fn table(rows: &[(String, String)]) -> String {
    let one = |(name, value): &(String, String)| {
        format!("<tr><th style=\"text-align:left\">{}</th><td>{}</td></tr>", escaped(name), escaped(value))
    };
    format!("<table>{}</table>", rows.iter().map(one).collect::<String>())
}

/// A table with a head.
pub fn headed(head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.map(|cell| format!("<{tag} style=\"text-align:left\">{}</{tag}>", escaped(cell))).collect()
    };
    let head = cells("th", &mut head.iter().copied());
    let row = |row: &Vec<String>| format!("<tr>{}</tr>", cells("td", &mut row.iter().map(String::as_str)));
    format!("<table><tr>{head}</tr>{}</table>", rows.iter().map(row).collect::<String>())
}
