//! What a cell of a text table holds.

/// The kinds of cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// A number; it may be infinite.
    Number(f64),
    /// Empty, or a word for a missing value.
    Missing,
    /// A number with a decimal comma, such as `1,5`.
    DecimalComma,
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
            Err(_) if is_decimal_comma(cell) => Self::DecimalComma,
            Err(_) => Self::Text,
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
            assert_eq!(Cell::of(cell), Cell::DecimalComma, "{cell}");
        }
        for cell in ["a", "1,2,3", ",", "x,1", "1 2", "0x1f", "1_000", "−1", "12:30", "1,234.5"] {
            assert_eq!(Cell::of(cell), Cell::Text, "{cell}");
        }
        for (cell, whole) in [("0", true), ("2019", true), ("00", false), ("1.0", false), ("-1", false), ("", false)] {
            assert_eq!(is_whole(cell), whole, "{cell}");
        }
    }
}
