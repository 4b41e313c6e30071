//! A text taken apart into cells, line by line.
//!
//! Commas, semicolons and tabs divide as RFC 4180 has it, quotes and all, by the csv crate; runs of spaces divide too,
//! where that crate would see empty cells.

use std::io::{BufRead, Chain, Cursor, Read as _};
use std::path::Path;

use ::csv::{ErrorKind, Position, StringRecord};

use super::refused;
use crate::{Error, Result};

/// The first line that is filled, put back before the rest.
type Text<R> = Chain<Cursor<Vec<u8>>, R>;

/// The lines of a text that hold something.
pub(super) enum Lines<R: BufRead> {
    /// Cells between runs of spaces.
    Spaced {
        /// What is left of it.
        text: Text<R>,
        /// Lines read.
        line: u64,
        /// The last of them.
        bytes: Vec<u8>,
    },
    /// Cells between delimiters.
    Delimited {
        /// What is left of it.
        text: Box<::csv::Reader<Text<R>>>,
        /// Lines before the first that is filled.
        skipped: u64,
    },
}

impl<R: BufRead> Lines<R> {
    /// Reads up to the first line that is filled, which tells the delimiter; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Read`] where that line is not text, or the disk fails.
    pub fn open(path: &Path, mut text: R) -> Result<Option<Self>> {
        let mut skipped = 0;
        loop {
            let mut bytes = Vec::new();
            if text.read_until(b'\n', &mut bytes).map_err(|e| refused(path, &e))? == 0 {
                return Ok(None);
            }
            if skipped == 0 && bytes.starts_with("\u{feff}".as_bytes()) {
                bytes.drain(.."\u{feff}".len());
            }
            let line = std::str::from_utf8(&bytes).map_err(|_| no_text(path, skipped + 1))?;
            if !filled(line) {
                skipped += 1;
                continue;
            }
            let delimiter = [',', ';', '\t'].into_iter().find(|&c| line.contains(c));
            let text = Cursor::new(bytes).chain(text);
            return Ok(Some(match delimiter {
                None => Self::Spaced { text, line: skipped, bytes: Vec::new() },
                Some(delimiter) => {
                    let text = ::csv::ReaderBuilder::new()
                        .delimiter(delimiter as u8)
                        .has_headers(false)
                        .flexible(true)
                        .comment(Some(b'#'))
                        .trim(::csv::Trim::All)
                        .from_reader(text);
                    Self::Delimited { text: Box::new(text), skipped }
                }
            }));
        }
    }

    /// The cells of the next line that has any, in `row`, and its number counted from 1; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Read`] where the line is not text, or the disk fails.
    pub fn next(&mut self, path: &Path, row: &mut StringRecord) -> Result<Option<u64>> {
        match self {
            Self::Spaced { text, line, bytes } => loop {
                bytes.clear();
                if text.read_until(b'\n', bytes).map_err(|e| refused(path, &e))? == 0 {
                    return Ok(None);
                }
                *line += 1;
                let words = std::str::from_utf8(bytes).map_err(|_| no_text(path, *line))?;
                if filled(words) {
                    row.clear();
                    words.split_whitespace().for_each(|cell| row.push_field(cell));
                    return Ok(Some(*line));
                }
            },
            Self::Delimited { text, skipped } => {
                while text.read_record(row).map_err(|e| broken(path, *skipped, e))? {
                    if row.iter().any(|cell| !cell.is_empty()) {
                        return Ok(Some(*skipped + row.position().map_or(0, Position::line)));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// Neither blank nor a comment.
fn filled(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with('#')
}

fn no_text(path: &Path, line: u64) -> Error {
    Error::read(path, format!("it is not text (line {line} is not UTF-8)"), "save the table as UTF-8 text")
}

fn broken(path: &Path, skipped: u64, e: ::csv::Error) -> Error {
    let line = skipped + e.position().map_or(0, Position::line);
    match e.into_kind() {
        ErrorKind::Io(e) => refused(path, &e),
        ErrorKind::Utf8 { .. } => no_text(path, line),
        _ => Error::read(path, format!("line {line} cannot be taken apart"), "mend that line"),
    }
}
