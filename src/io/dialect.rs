//! How a text table is written: what divides its cells, the decimal mark, the words for missing cells, the comments, and
//! whether the first line holds names.
//!
//! What is not set is found out from the first rows (`lines.rs`, `header.rs`). A decimal comma is never guessed: `1,5`
//! may be one number or two.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Format;
use super::cell::CellRule;
use crate::{Error, Result};

/// How a text table is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// What the first line holds.
    pub header: Header,
    /// What divides the cells of a line.
    pub sep: Separator,
    /// The decimal mark.
    pub decimal: Decimal,
    /// Words of missing cells, beside an empty cell, NA, NaN, null and the like; a number stands for all its spellings.
    pub na: Vec<String>,
    /// What the lines begin with that are skipped: `#` where it is left out, and nothing where it is `none`.
    pub comment: Option<String>,
}

/// What the first line of a text table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Header {
    /// Names or numbers, by the rule of `src/io/header.rs`.
    #[default]
    Auto,
    /// Numbers: there is no header.
    None,
    /// The names of the columns, whatever they look like.
    First,
}

/// What divides the cells of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Separator {
    /// The one of `, ; tab | spaces` by which most cells are numbers.
    #[default]
    Auto,
    /// One character.
    Char(char),
    /// Runs of spaces and tabs.
    Spaces,
}

/// The decimal mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Decimal {
    /// `1.5`.
    #[default]
    Point,
    /// `1,5`.
    Comma,
}

/// What the lines begin with that are skipped, unless another text is set.
const COMMENT: &str = "#";

impl Dialect {
    /// One that is found out but for the first line.
    pub fn headed(header: Header) -> Self {
        Self { header, ..Self::default() }
    }

    /// What the lines begin with that are skipped.
    pub(super) fn comment(&self) -> Option<&str> {
        match self.comment.as_deref() {
            None => Some(COMMENT),
            Some("none") => None,
            Some(text) => Some(text),
        }
    }

    /// How its cells are read.
    pub(super) fn cells(&self) -> CellRule {
        CellRule::new(self.decimal == Decimal::Comma, &self.na)
    }

    /// Refuses settings that contradict each other, or under which rows of numbers would be skipped.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field.
    pub fn check(&self) -> Result<()> {
        if self.sep == Separator::Char(',') && self.decimal == Decimal::Comma {
            let problem = "`data.sep` and `data.decimal` are both a comma";
            return Err(Error::invalid(problem, "set `data.sep` to ; or tab, or write numbers with a decimal point"));
        }
        if self.na.iter().any(|word| word.trim() != word) {
            let problem = "a word of `data.na` has spaces around it";
            return Err(Error::invalid(problem, "leave them out: cells are read without the spaces around them"));
        }
        let Some(comment) = self.comment() else { return Ok(()) };
        let digits = comment.trim_start_matches(['+', '-', '.', ',']);
        let signs = digits.is_empty() && comment.len() == 1;
        if comment.trim() != comment || comment.is_empty() || comment.starts_with('"') {
            let problem = format!("`data.comment` `{comment}` is not the beginning of a line");
            return Err(Error::invalid(problem, "set one or more characters, such as # or %, or none"));
        }
        if signs || digits.starts_with(|c: char| c.is_ascii_digit()) {
            let problem = format!("`data.comment` `{comment}`: rows that begin with a number would be skipped");
            return Err(Error::invalid(problem, "set another beginning, such as # or %, or none"));
        }
        if self.sep.char().is_some_and(|sep| comment.starts_with(sep)) {
            let problem = format!("`data.comment` `{comment}`: rows whose first cell is empty would be skipped");
            return Err(Error::invalid(problem, "set another `data.sep`, or another `data.comment`"));
        }
        Ok(())
    }

    /// The field that is set and has a meaning for texts alone.
    fn of_texts(&self) -> Option<&'static str> {
        let set = [
            ("data.sep", self.sep != Separator::Auto),
            ("data.decimal", self.decimal != Decimal::Point),
            ("data.na", !self.na.is_empty()),
            ("data.comment", self.comment.is_some()),
        ];
        set.into_iter().find(|(_, set)| *set).map(|(field, _)| field)
    }

    /// As [`Dialect::check`]; refuses also what is set about texts where none of the files is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field.
    pub fn check_for(&self, files: &[&Path]) -> Result<()> {
        self.check()?;
        let is_text = |file: &&Path| Format::of(file) == Some(Format::Csv);
        let Some(field) = self.of_texts().filter(|_| !files.iter().any(is_text)) else { return Ok(()) };
        let problem = match files.first() {
            Some(file) => format!("`{field}` has no meaning for `{}`, which is not a text", file.display()),
            None => format!("`{field}` has no meaning without a file of text"),
        };
        Err(Error::invalid(problem, format!("leave out `{field}`, or give a table as .csv, .tsv or .txt")))
    }
}

impl Header {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 3] = [("auto", Self::Auto), ("none", Self::None), ("first", Self::First)];

    /// Whether it is the default.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl std::str::FromStr for Header {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, header)| header).ok_or_else(|| {
            let known = Self::ALL.map(|(name, _)| name).join(", ");
            Error::Unknown { kind: "header", name: text.into(), known }
        })
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, header)| header == self).map_or("auto", |(name, _)| name))
    }
}

impl Separator {
    /// Whether it is the default.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }

    /// The one character.
    fn char(self) -> Option<char> {
        if let Self::Char(mark) = self { Some(mark) } else { None }
    }
}

impl std::str::FromStr for Separator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut chars = text.chars();
        match (text, chars.next(), chars.next()) {
            ("auto", ..) => Ok(Self::Auto),
            ("space" | "spaces" | " ", ..) => Ok(Self::Spaces),
            ("tab" | "\\t" | "\t", ..) => Ok(Self::Char('\t')),
            // Neither letters nor what numbers and quotes are made of.
            (_, Some(mark), None) if mark.is_ascii_punctuation() && !"+-.\"'_".contains(mark) => Ok(Self::Char(mark)),
            _ => Err(Error::Unknown {
                kind: "separator",
                name: text.escape_debug().to_string(),
                known: ", (comma), ; (semicolon), tab, | (bar), space, another mark such as :, auto".into(),
            }),
        }
    }
}

impl std::fmt::Display for Separator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Char('\t') => f.write_str("tab"),
            Self::Char(mark) => write!(f, "{mark}"),
            Self::Spaces => f.write_str("space"),
        }
    }
}

impl TryFrom<String> for Separator {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Separator> for String {
    fn from(sep: Separator) -> Self {
        sep.to_string()
    }
}

impl Decimal {
    /// Whether it is the default.
    pub fn is_point(&self) -> bool {
        *self == Self::Point
    }
}

impl std::str::FromStr for Decimal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "." | "point" => Ok(Self::Point),
            "," | "comma" => Ok(Self::Comma),
            _ => Err(Error::Unknown { kind: "decimal mark", name: text.into(), known: ". (point), , (comma)".into() }),
        }
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Comma { "," } else { "." })
    }
}

impl TryFrom<String> for Decimal {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Decimal> for String {
    fn from(decimal: Decimal) -> Self {
        decimal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_and_marks_are_read_as_they_are_written() {
        for (text, sep, written) in [
            ("auto", Separator::Auto, "auto"),
            (",", Separator::Char(','), ","),
            (";", Separator::Char(';'), ";"),
            ("|", Separator::Char('|'), "|"),
            (":", Separator::Char(':'), ":"),
            ("\\t", Separator::Char('\t'), "tab"),
            ("\t", Separator::Char('\t'), "tab"),
            ("tab", Separator::Char('\t'), "tab"),
            (" ", Separator::Spaces, "space"),
            ("space", Separator::Spaces, "space"),
        ] {
            assert_eq!(text.parse::<Separator>().unwrap(), sep, "{text:?}");
            assert_eq!(sep.to_string(), written);
            assert_eq!(written.parse::<Separator>().unwrap(), sep);
        }
        for text in ["", "a", "5", ".", "-", "\"", ",,", "semicolon", "é"] {
            assert!(text.parse::<Separator>().is_err(), "{text:?}");
        }
        for decimal in [Decimal::Point, Decimal::Comma] {
            assert_eq!(decimal.to_string().parse::<Decimal>().unwrap(), decimal);
        }
    }

    #[test]
    fn a_dialect_under_which_rows_would_be_lost_is_refused() {
        let with = |sep: &str, decimal: &str, na: &[&str], comment: Option<&str>| Dialect {
            sep: sep.parse().unwrap(),
            decimal: decimal.parse().unwrap(),
            na: na.iter().map(|word| (*word).to_owned()).collect(),
            comment: comment.map(str::to_owned),
            ..Dialect::default()
        };
        for (sep, decimal, na, comment, part) in [
            (",", ",", &[][..], None, "both a comma"),
            ("auto", ".", &[" x"], None, "spaces around it"),
            ("auto", ".", &[], Some(""), "not the beginning of a line"),
            ("auto", ".", &[], Some(" #"), "not the beginning of a line"),
            ("auto", ".", &[], Some("\"x"), "not the beginning of a line"),
            ("auto", ".", &[], Some("-"), "begin with a number"),
            ("auto", ".", &[], Some("1"), "begin with a number"),
            ("auto", ".", &[], Some("-.5"), "begin with a number"),
            (";", ".", &[], Some(";;"), "first cell is empty"),
            ("#", ".", &[], None, "first cell is empty"),
        ] {
            let refused = with(sep, decimal, na, comment).check().unwrap_err();
            assert!(refused.to_string().contains(part) && refused.hint().is_some(), "{refused}");
        }
        for comment in ["#", "%", "//", "--", "none", "*"] {
            with("auto", ",", &["-999", "x"], Some(comment)).check().unwrap();
        }
        let semicolon = with(";", ".", &[], None);
        let (text, array) = (Path::new("x.csv.gz"), Path::new("x.npy"));
        semicolon.check_for(&[array, text]).unwrap();
        let refused = semicolon.check_for(&[array]).unwrap_err().to_string();
        assert_eq!(refused, "`data.sep` has no meaning for `x.npy`, which is not a text");
        assert!(semicolon.check_for(&[]).unwrap_err().to_string().contains("without a file of text"));
        Dialect::headed(Header::First).check_for(&[array]).unwrap();
    }
}
