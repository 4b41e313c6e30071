//! Columns whose cells may be words: classes such as `setosa`.
//!
//! In memory a word is a number: its place among the words of its column, in their order. A column of numbers alone stays
//! one. Where words stand beside numbers, one of them may be a slip: such a column has to be called a class.

use std::collections::HashMap;

use super::cell::Cell;

/// More different cells than this are not classes.
const MOST: usize = 1000;
/// More different words than this have to be called classes.
const FEW: usize = 20;

/// The columns of a table that may hold words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Each by the names that it may have (or its number from 0), and whether it is called a class: words may then stand
    /// beside numbers.
    pub columns: Vec<(Vec<String>, bool)>,
    /// For all columns.
    pub all: Option<bool>,
}

impl Words {
    /// Whether a column may hold words, and if so whether it is called a class.
    pub(super) fn of(&self, name: Option<&str>, number: usize) -> Option<bool> {
        let is = |text: &String| match name {
            Some(name) => text == name,
            None => false,
        };
        let is_number = |text: &String| text.parse() == Ok(number);
        let by_name = self.columns.iter().find(|(names, _)| names.iter().any(is));
        let found = by_name.or_else(|| self.columns.iter().find(|(names, _)| names.iter().any(is_number)));
        found.map(|(_, class)| *class).or(self.all)
    }
}

/// A cell that made a column one of words, or that does not go with them: its text and its place.
type Witness = (String, String);

/// The cells of a column that may hold words, as they are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    seen: HashMap<String, u32>,
    /// The cell of each row among those seen; the largest number where it is missing.
    codes: Vec<u32>,
    word: Option<Witness>,
    number: Option<Witness>,
    /// There are too many different ones.
    many: bool,
}

/// What the cells of a column are.
pub(super) enum Settled {
    /// Numbers, as they are.
    Numbers,
    /// Places among these words, which rise; NaN where a cell is missing.
    Words(Vec<String>, Vec<f64>),
    /// Neither: what is wrong, and the way out.
    Wrong(String, &'static str),
}

impl Cells {
    /// Takes a cell and what it holds, with its place in words.
    pub(super) fn push(&mut self, cell: &str, kind: Cell, place: &dyn Fn() -> String) {
        match kind {
            Cell::Missing => return self.codes.push(u32::MAX),
            Cell::Number(_) if self.number.is_none() => self.number = Some((cell.to_owned(), place())),
            Cell::Number(_) => {}
            Cell::Text | Cell::OtherMark if self.word.is_none() => self.word = Some((cell.to_owned(), place())),
            Cell::Text | Cell::OtherMark => {}
        }
        if self.many {
            return;
        }
        let next = self.seen.len() as u32;
        match self.seen.get(cell) {
            Some(code) => self.codes.push(*code),
            None if self.seen.len() == MOST => {
                self.many = true;
                (self.seen, self.codes) = Default::default();
            }
            None => {
                self.seen.insert(cell.to_owned(), next);
                self.codes.push(next);
            }
        }
    }

    /// What they are, of a column that is called a `class` or not.
    pub(super) fn settle(self, class: bool) -> Settled {
        let Some((word, place)) = self.word else { return Settled::Numbers };
        let word = super::header::shortened(&word);
        if self.many {
            let problem =
                format!("`{word}` in {place}, is not a number, and there are more than {MOST} different cells");
            return Settled::Wrong(problem, "correct the cell, or drop its column");
        }
        if let (false, Some((number, at))) = (class, &self.number) {
            let problem = format!("`{word}` in {place}, is not a number, and `{number}` in {at}, is one");
            return Settled::Wrong(problem, "correct the cell, or call the column a class (NAME:class)");
        }
        if !class && self.seen.len() > FEW {
            let n = self.seen.len();
            let problem = format!("`{word}` in {place}, is not a number, and there are {n} different words");
            return Settled::Wrong(problem, "call the column a class (NAME:class), or drop it");
        }
        let mut words: Vec<(String, u32)> = self.seen.into_iter().collect();
        words.sort_unstable();
        let mut ranks = vec![0.0; words.len()];
        for (rank, (_, code)) in words.iter().enumerate() {
            ranks[*code as usize] = rank as f64;
        }
        let values = self.codes.iter().map(|code| ranks.get(*code as usize).copied().unwrap_or(f64::NAN)).collect();
        Settled::Words(words.into_iter().map(|(word, _)| word).collect(), values)
    }
}

/// The cells of a column of words, or of numbers: a text that is neither a number nor missing makes it one of words.
///
/// # Errors
/// What is wrong in a sentence, and the way out.
pub fn words_of(cells: &[Option<String>], class: bool) -> std::result::Result<Option<Coded>, (String, &'static str)> {
    let mut all = Cells::default();
    for (row, cell) in cells.iter().enumerate() {
        let cell = cell.as_deref().unwrap_or_default().trim();
        all.push(cell, Cell::of(cell), &|| format!("row {row} (counted from 0)"));
    }
    match all.settle(class) {
        Settled::Numbers => Ok(None),
        Settled::Words(words, values) => Ok(Some((words, values))),
        Settled::Wrong(problem, hint) => Err((problem, hint)),
    }
}

/// The words of a column, rising, and the place of each row's among them; NaN where it is missing.
pub type Coded = (Vec<String>, Vec<f64>);

/// The number of a word among these.
pub(super) fn number(words: &[(String, f64)], cell: &str) -> Option<f64> {
    words.iter().find(|(word, _)| word == cell).map(|(_, number)| *number)
}

/// What is wrong with a cell that is none of these words, and the way out.
pub(super) fn unknown(words: &[(String, f64)], cell: &str, place: &str) -> (String, String) {
    let known: Vec<String> = words.iter().map(|(word, _)| word.clone()).collect();
    let problem = format!("`{}` in {place}, is not one of the classes", super::header::shortened(cell));
    (problem, format!("give one of them: {}", crate::names::list(&known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(cells: &str, class: bool) -> std::result::Result<Option<Coded>, (String, &'static str)> {
        let cells: Vec<Option<String>> = cells.split(' ').map(|cell| Some(cell.to_owned())).collect();
        words_of(&cells, class)
    }

    #[test]
    fn words_are_numbered_in_their_order_and_numbers_stay_numbers() {
        let (words, values) = coded("b a NA b c", false).unwrap().unwrap();
        assert_eq!(words, ["a", "b", "c"]);
        assert!(values[2].is_nan());
        assert_eq!((values[0], values[1], values[3], values[4]), (1.0, 0.0, 1.0, 2.0));
        assert_eq!(coded("1 2 NA 1.5", true).unwrap(), None);
        assert_eq!(coded("1 x", true).unwrap().unwrap().0, ["1", "x"]);
        let refused = coded("1 x", false).unwrap_err();
        assert!(refused.0.contains("`x` in row 1") && refused.0.contains("`1` in row 0"), "{refused:?}");
        let many = (0..21).map(|k| format!("w{k}")).collect::<Vec<_>>().join(" ");
        assert!(coded(&many, false).unwrap_err().0.contains("21 different words") && coded(&many, true).is_ok());
        let most = (0..1001).map(|k| format!("w{k}")).collect::<Vec<_>>().join(" ");
        assert!(coded(&most, true).unwrap_err().0.contains("more than 1000"));
    }
}
