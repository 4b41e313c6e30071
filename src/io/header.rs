//! Whether the first line of a text table holds the names of its columns.
//!
//! The rule, for [`Header::Auto`], with the first row and up to 100 rows below it:
//!
//! 1. *Words.* A cell that is neither a number nor a missing value is a word. A first row with words and without
//!    numbers holds names. A first row of missing values alone (`NA,NA`) is a row.
//! 2. *Numbers as names.* Numbers are names only where they are written with digits alone, all differ, and stand above
//!    columns of another form:
//!    - `0,1,…,d−1`, as pandas writes: above columns without any whole number; or above 10 rows or more of which one
//!      column has no whole number; or, for d ≥ 3, where no row below counts up too;
//!    - years (1800 to 2100, rising or falling, two or more), where no row below is one of years;
//!    - other numbers at equal distances, rising: above 10 rows or more without any whole number;
//!    - one column called `0` or a year: above 10 rows or more without any whole number, and not in order;
//!    - next to words: above columns without any whole number, or years, or two or more that count up, as above. Else
//!      the row is an error: it may as well be a slip;
//!    - all cells of the row in quotes, and no quotes around the numbers below.
//!
//!    A row whose first cell goes on upwards below it in equal steps (`0,1` above `1,0.54`, `2,-0.42`) is a row all the
//!    same: a table of k and f(k). A word in a column that is left out by its number is not taken for a slip.
//! 3. *Row labels.* A first column without a name (or called `Unnamed: 0`, as pandas reads it back) is left out where
//!    all others have names and it holds words, or whole numbers that all differ: pandas' index, R's row names.
//! 4. *A delimiter at the end* of every line makes no column.
//!
//! Decisions that may be wrong are noted ([`Decision::notes`]). The rule reads the beginning of the file only, so that
//! block by block and whole a file is read alike.

use std::path::Path;

use super::cell::{Cell, CellRule, is_whole};
use super::dialect::Header;
use super::lines::{Delimiter, Row};
use crate::{Error, Result};

/// Rows below which few whole numbers may be chance.
const SEVERAL: usize = 10;
/// The whole numbers that may be years.
const YEARS: std::ops::RangeInclusive<u64> = 1800..=2100;
/// What pandas calls a column without a name.
const UNNAMED: &str = "Unnamed: 0";
/// The way out of a decision that may be wrong.
const AS_ROW: &str = "header none reads it as a row";

/// How a table is read.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// The names of all columns, where the first row holds them.
    pub names: Option<Vec<String>>,
    /// The number of columns.
    pub width: usize,
    /// The first column holds the labels of the rows.
    pub labelled: bool,
    /// Decisions that may be wrong, a sentence each.
    pub notes: Vec<String>,
}

/// Decides by the first row and some rows below it, whose cells are read by a `rule`; columns that are `unused`, by their
/// numbers, or that may hold words hold no slip.
///
/// # Errors
/// [`Error::Read`] for a first row of words and numbers that may be names or a slip.
pub(super) fn decide(
    path: &Path,
    (header, rule): (Header, &CellRule),
    unused: &dyn Fn(usize) -> bool,
    delimiter: Delimiter,
    first: &Row,
    below: &[Row],
) -> Result<Decision> {
    let cells: Vec<&str> = first.cells.iter().collect();
    let (file, line, shown) = (path.display(), first.line, shown(&cells));
    let mut notes = Vec::new();
    let mut note = |words: String| notes.push(format!("`{file}`: {words}"));
    let named = match header {
        Header::None => false,
        Header::First => true,
        Header::Auto => match are_names(rule, first, below, unused) {
            Verdict::Names(None) => true,
            Verdict::Names(Some(why)) => {
                note(format!("line {line} ({shown}) holds the names of the columns: {why}; {AS_ROW}"));
                true
            }
            Verdict::Row => false,
            Verdict::Unclear => {
                note(format!("line {line} ({shown}) is read as a row; header first reads it as names"));
                false
            }
            Verdict::Slip(at) => {
                let cell = shortened(cells[at]);
                let problem = format!("`{cell}` in line {line}, column {at} (counted from 0), is not a number");
                let hint = format!(
                    "correct the cell, or set header first if line {line} holds names, header none if it is a row"
                );
                return Err(Error::read(path, problem, hint));
            }
        },
    };
    let mut width = cells.len();
    if !named {
        // The last cell of every line is empty: each line ends with a delimiter.
        let empty = |row: &Row| row.cells.len() == width && row.cells.get(width - 1) == Some("");
        if width > 1 && !below.is_empty() && empty(first) && below.iter().all(empty) {
            width -= 1;
        }
        return Ok(Decision { names: None, width, labelled: false, notes });
    }
    let mut names: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
    let ended = |row: &Row| row.cells.len() == width - 1 || row.cells.get(width - 1) == Some("");
    if width > 1 && names[width - 1].is_empty() && !below.is_empty() && below.iter().all(ended) {
        width -= 1;
        names.pop();
    }
    if short_of_labels(rule, delimiter, width, below) {
        names.insert(0, String::new());
        width += 1;
    }
    let nameless = |name: &String| name.is_empty() || name == UNNAMED;
    let mut labelled = false;
    if width > 1 && nameless(&names[0]) && !names[1..].iter().any(nameless) {
        labelled = are_labels(rule, below);
        note(match labelled {
            true => "the first column has no name and holds the labels of the rows: it is left out; \
                     a name in the first line keeps it"
                .into(),
            false => "the first column has no name: it is read as data".into(),
        });
    }
    Ok(Decision { names: Some(names), width, labelled, notes })
}

/// What the first row is.
enum Verdict {
    /// Names; where that may be wrong, why.
    Names(Option<&'static str>),
    /// A row of the table.
    Row,
    /// A row, but it may be names.
    Unclear,
    /// A row with a cell that is not a number.
    Slip(usize),
}

fn are_names(rule: &CellRule, first: &Row, below: &[Row], unused: &dyn Fn(usize) -> bool) -> Verdict {
    let kinds: Vec<Cell> = first.cells.iter().map(|cell| rule.of(cell)).collect();
    let is_word = |kind: &Cell| matches!(kind, Cell::Text | Cell::OtherMark);
    let numbers: Vec<usize> = (0..kinds.len()).filter(|j| matches!(kinds[*j], Cell::Number(_))).collect();
    let words: Vec<usize> = (0..kinds.len()).filter(|j| kinds[*j] == Cell::Text).collect();
    if numbers.is_empty() && !words.is_empty() {
        return Verdict::Names(None);
    }
    let quoted = |row: &Row| row.quoted > 0;
    if first.quoted == kinds.len() && !below.is_empty() && !below.iter().any(quoted) {
        return Verdict::Names(Some("they alone are in quotes"));
    }
    if words.is_empty() && kinds.iter().any(is_word) {
        // Numbers, only with another decimal mark: the rows are refused with a better word.
        return Verdict::Row;
    }
    if numbers.is_empty() {
        return Verdict::Row;
    }
    let labels = Labels::of(rule, first, &numbers, below);
    if !words.is_empty() {
        let is_text = |j: usize| below.iter().any(|row| row.cells.get(j).is_some_and(|c| rule.of(c) == Cell::Text));
        return match (labels.filter(Labels::next_to_words), words.iter().find(|j| !unused(**j))) {
            (Some(_), _) => Verdict::Names(Some("it holds words, and the numbers below have another form")),
            (None, Some(at)) => Verdict::Slip(*at),
            // Words in columns that are left out, above words or above other cells.
            (None, None) if words.iter().all(|j| is_text(*j)) => Verdict::Row,
            (None, None) => Verdict::Unclear,
        };
    }
    let missing = kinds.len() - numbers.len();
    if missing > 0 {
        // pandas' index above row labels, and a whole number above each other column.
        let indexed = first.cells.get(0) == Some("") && missing == 1 && labels.is_some() && are_labels(rule, below);
        return if indexed && !below.is_empty() {
            Verdict::Names(Some("its first cell is empty, above labels of the rows"))
        } else {
            Verdict::Row
        };
    }
    match labels {
        Some(labels) if labels.alone() && !labels.goes_on() => Verdict::Names(Some("the rows below have another form")),
        Some(labels) if labels.alone() || labels.doubtful() => Verdict::Unclear,
        _ => Verdict::Row,
    }
}

/// Whole numbers of the first row, held against the rows below.
struct Labels<'a> {
    rule: &'a CellRule,
    values: Vec<u64>,
    columns: &'a [usize],
    below: &'a [Row],
}

impl<'a> Labels<'a> {
    /// The cells of these columns, where they are whole numbers that all differ.
    fn of(rule: &'a CellRule, first: &Row, columns: &'a [usize], below: &'a [Row]) -> Option<Self> {
        let values = whole(first, columns)?;
        let mut sorted = values.clone();
        sorted.sort_unstable();
        sorted.dedup();
        (sorted.len() == columns.len()).then_some(Self { rule, values, columns, below })
    }

    /// Whether they are names where no cell of the first row is a word.
    fn alone(&self) -> bool {
        let several = self.below.len() >= SEVERAL;
        if self.columns.len() == 1 {
            let usual = self.values[0] == 0 || YEARS.contains(&self.values[0]);
            return usual && several && self.all_otherwise() && !self.in_order();
        }
        if self.counts_up() {
            let any = || self.columns.iter().any(|j| self.otherwise(*j));
            let wide = || self.columns.len() >= 3 && !self.below_too(counts_up);
            return self.all_otherwise() || (several && any()) || (!self.below.is_empty() && wide());
        }
        self.years() || (several && self.equally_spaced() && self.all_otherwise())
    }

    /// Whether they are names where other cells of the first row are words.
    fn next_to_words(&self) -> bool {
        let years = self.values.iter().all(|v| YEARS.contains(v)) && !self.below_too(are_years);
        let counting = self.columns.len() > 1 && counts_up(&self.values) && !self.below_too(counts_up);
        self.all_otherwise() || (!self.below.is_empty() && (years || counting))
    }

    /// Whether they may be names, although the rows below have the same form.
    fn doubtful(&self) -> bool {
        self.columns.len() > 1 && !self.below.is_empty() && self.counts_up()
    }

    fn counts_up(&self) -> bool {
        self.values[0] == 0 && counts_up(&self.values)
    }

    fn years(&self) -> bool {
        !self.below.is_empty() && are_years(&self.values) && !self.below_too(are_years)
    }

    fn equally_spaced(&self) -> bool {
        counts_up(&self.values)
            || (self.columns.len() > 2
                && self.values[0] < self.values[1]
                && self.values.windows(3).all(|v| v[1].wrapping_sub(v[0]) == v[2].wrapping_sub(v[1])))
    }

    /// Whether a row below fits the same pattern.
    fn below_too(&self, pattern: fn(&[u64]) -> bool) -> bool {
        self.below.iter().any(|row| whole(row, self.columns).is_some_and(|values| pattern(&values)))
    }

    /// Whether no column holds a whole number, and each some number.
    fn all_otherwise(&self) -> bool {
        self.columns.iter().all(|j| self.otherwise(*j))
    }

    fn otherwise(&self, column: usize) -> bool {
        let cells = || self.below.iter().filter_map(|row| row.cells.get(column));
        !cells().any(is_whole) && cells().any(|cell| matches!(self.rule.of(cell), Cell::Number(_)))
    }

    /// Whether the first column goes on upwards from its first number in equal steps, as the k of k and f(k).
    fn goes_on(&self) -> bool {
        let below = self.below.iter().map(|row| whole(row, &self.columns[..1]).map(|values| values[0]));
        let column: Option<Vec<u64>> = std::iter::once(Some(self.values[0])).chain(below).collect();
        column.is_some_and(|k| {
            k.len() > 2 && k[0] < k[1] && k.windows(3).all(|v| v[1].wrapping_sub(v[0]) == v[2].wrapping_sub(v[1]))
        })
    }

    /// Whether the one column goes on from its first number, rising or falling.
    fn in_order(&self) -> bool {
        let below = self.below.iter().filter_map(|row| self.rule.parse(row.cells.get(self.columns[0])?));
        let column: Vec<f64> = std::iter::once(self.values[0] as f64).chain(below).collect();
        column.is_sorted() || column.is_sorted_by(|a, b| a >= b)
    }
}

/// The whole numbers of some cells; `None` where one is another.
fn whole(row: &Row, columns: &[usize]) -> Option<Vec<u64>> {
    columns.iter().map(|j| row.cells.get(*j).filter(|cell| is_whole(cell))?.parse().ok()).collect()
}

fn counts_up(values: &[u64]) -> bool {
    values.windows(2).all(|v| v[0].checked_add(1) == Some(v[1]))
}

fn are_years(values: &[u64]) -> bool {
    values.iter().all(|v| YEARS.contains(v)) && (values.is_sorted_by(|a, b| a < b) || values.is_sorted_by(|a, b| a > b))
}

/// Whether the first column holds labels: words, or whole numbers that all differ.
fn are_labels(rule: &CellRule, below: &[Row]) -> bool {
    let cells = || below.iter().filter_map(|row| row.cells.get(0));
    let words = cells().all(|cell| rule.of(cell) == Cell::Text);
    words || {
        let mut values: Vec<&str> = cells().filter(|cell| is_whole(cell)).collect();
        values.sort_unstable();
        values.dedup();
        values.len() == below.len()
    }
}

/// Whether the first line is one cell short, and the cells above which it has none are labels as R writes them.
fn short_of_labels(rule: &CellRule, delimiter: Delimiter, width: usize, below: &[Row]) -> bool {
    // A comma may stand for a decimal point, so that a cell more is not a label.
    delimiter != Delimiter::Char(',')
        && !below.is_empty()
        && below.iter().all(|row| row.cells.len() == width + 1 && row.cells.get(width) != Some(""))
        && are_labels(rule, below)
        && below.iter().enumerate().all(|(i, row)| {
            let label = row.cells.get(0).unwrap_or_default();
            !is_whole(label) || label.parse() == Ok(i + 1)
        })
}

/// The cells of a line for a message.
fn shown(cells: &[&str]) -> String {
    let some: Vec<String> = cells.iter().take(4).map(|cell| shortened(cell)).collect();
    format!("`{}`{}", some.join("`, `"), if cells.len() > 4 { ", …" } else { "" })
}

/// A cell for a message.
pub(super) fn shortened(cell: &str) -> String {
    if cell.chars().count() > 24 { format!("{}…", cell.chars().take(24).collect::<String>()) } else { cell.into() }
}
