//! What a cell of a text table holds.

/// The kinds of cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// A number; it may be infinite.
    Number(f64),
    /// Empty, or a word for a missing value.
    Missing,
    /// A number with the other decimal mark, such as `1,5`.
    OtherMark,
    /// Anything else.
    Text,
}

/// What programs write for a missing value, in lower case. NaN is one of them.
const MISSING: [&str; 14] =
    ["", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "+nan", "null", "none", "-", "?", "."];

impl Cell {
    /// Reads a cell that has no spaces around it.
    pub fn of(cell: &str) -> Self {
        match cell.parse::<f64>() {
            Ok(number) if !number.is_nan() => Self::Number(number),
            // NaN has a sign and a case in some files, and is not a number in any.
            Ok(_) => Self::Missing,
            Err(_) if cell.len() <= 4 && MISSING.iter().any(|word| cell.eq_ignore_ascii_case(word)) => Self::Missing,
            Err(_) if is_decimal_comma(cell) => Self::OtherMark,
            Err(_) => Self::Text,
        }
    }
}

/// How the cells of a text are read.
#[derive(Clone, Debug, Default)]
pub(super) struct CellRule {
    /// The decimal mark is a comma.
    comma: bool,
    /// More words for a missing value.
    words: Vec<String>,
    /// Those of them that are numbers: any spelling of these is missing.
    numbers: Vec<f64>,
}

impl CellRule {
    /// With a decimal comma or point, and more words for a missing value.
    pub fn new(comma: bool, words: &[String]) -> Self {
        let rule = Self { comma, words: words.to_vec(), numbers: Vec::new() };
        let numbers = words.iter().filter_map(|word| rule.parse(word)).collect();
        Self { numbers, ..rule }
    }

    /// Whether the decimal mark is a comma.
    pub fn comma(&self) -> bool {
        self.comma
    }

    /// Reads a cell that has no spaces around it.
    pub fn of(&self, cell: &str) -> Cell {
        let kind = match self.comma && cell.contains([',', '.']) {
            false => Cell::of(cell),
            true => match (self.parse(cell), Cell::of(cell)) {
                (_, Cell::Missing) => Cell::Missing,
                (Some(number), _) => Cell::Number(number),
                (None, Cell::Number(_)) => Cell::OtherMark,
                (None, _) => Cell::Text,
            },
        };
        match kind {
            Cell::Number(value) if self.numbers.contains(&value) => Cell::Missing,
            _ if self.words.iter().any(|word| word == cell) => Cell::Missing,
            kind => kind,
        }
    }

    /// The number that a cell is; it may be NaN.
    pub fn parse(&self, cell: &str) -> Option<f64> {
        match self.comma {
            false => cell.parse().ok(),
            // A point may divide thousands.
            true if cell.contains('.') => None,
            true => cell.replace(',', ".").parse().ok(),
        }
    }
}

/// Whether a cell is written with digits alone, as names of columns that are numbers are.
pub(super) fn is_whole(cell: &str) -> bool {
    !cell.is_empty() && cell.bytes().all(|c| c.is_ascii_digit()) && (cell == "0" || !cell.starts_with('0'))
}

/// One comma, with digits on both sides or one, and a number where it is a point.
fn is_decimal_comma(cell: &str) -> bool {
    cell.bytes().filter(|c| *c == b',').count() == 1
        && cell.bytes().any(|c| c.is_ascii_digit())
        && cell.replace(',', ".").parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_its_kind() {
        for cell in ["0", "-1", "+1.5", ".5", "1.", "1e-3", "-2E+4", "inf", "1e999"] {
            assert!(matches!(Cell::of(cell), Cell::Number(_)), "{cell}");
        }
        for cell in ["", "NA", "N/A", "#N/A", "<NA>", "nan", "NaN", "-nan", "null", "NULL", "None", "-", "?", "."] {
            assert_eq!(Cell::of(cell), Cell::Missing, "{cell}");
        }
        for cell in ["1,5", "-0,25", ",5", "1,5e-3"] {
            assert_eq!(Cell::of(cell), Cell::OtherMark, "{cell}");
        }
        for cell in ["a", "1,2,3", ",", "x,1", "1 2", "0x1f", "1_000", "−1", "12:30", "1,234.5"] {
            assert_eq!(Cell::of(cell), Cell::Text, "{cell}");
        }
        let comma = CellRule::new(true, &["x".into(), "-999,0".into()]);
        for (cell, kind) in [
            ("1,5", Cell::Number(1.5)),
            ("-,5e1", Cell::Number(-5.0)),
            ("7", Cell::Number(7.0)),
            ("1.5", Cell::OtherMark),
            ("1.234,5", Cell::Text),
            ("1,2,3", Cell::Text),
            (".", Cell::Missing),
            ("x", Cell::Missing),
            ("X", Cell::Text),
            ("-999", Cell::Missing),
            ("-9,99e2", Cell::Missing),
        ] {
            assert_eq!(comma.of(cell), kind, "{cell}");
        }
        for (cell, whole) in [("0", true), ("2019", true), ("00", false), ("1.0", false), ("-1", false), ("", false)] {
            assert_eq!(is_whole(cell), whole, "{cell}");
        }
    }
}
