//! A text taken apart into rows of cells.
//!
//! A line ends with LF, CRLF or CR. Blank lines and comments (which begin with `#`) are skipped, and counted: every message
//! has the number that an editor shows. Cells are those of RFC 4180, quotes and all; a quoted cell may go on in the
//! next lines. The csv crate is not used for reading: it loses count of the lines after CRLF and does not report
//! which cells were quoted.
//!
//! Unless it is set, the delimiter is the one of `, ; tab | spaces` by which the first rows have the most cells that are numbers, and as
//! many cells as the first line (see [`Lines::guess`]). So a comma inside a name decides nothing.

use std::collections::VecDeque;
use std::io::BufRead;
use std::path::Path;

use ::csv::StringRecord;

use super::cell::{Cell, CellRule};
use super::dialect::{Dialect, Separator};
use super::refused;
use crate::{Error, Result};

/// The rows behind the first that are looked at before anything is decided.
pub(super) const AHEAD: usize = 100;
/// The bytes after which no further row is looked at, unless there are fewer than three.
const AHEAD_BYTES: usize = 1 << 20;
/// The lines that a quoted cell may go over.
const QUOTED_LINES: u64 = 100;
/// The bytes that a row may have: what has more is not a table of lines.
const MOST_LINE_BYTES: usize = 64 << 20;

/// What divides the cells of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// One character.
    Char(char),
    /// Runs of spaces and tabs.
    Spaces,
}

/// Those that are tried, the most usual first.
const DELIMITERS: [Delimiter; 5] =
    [Delimiter::Char(','), Delimiter::Char(';'), Delimiter::Char('\t'), Delimiter::Char('|'), Delimiter::Spaces];

/// A row of cells, and where it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The cells, without spaces around them.
    pub cells: StringRecord,
    /// The number of its first line, from 1.
    pub line: u64,
    /// How many cells were in quotes.
    pub quoted: usize,
}

/// The rows of a text.
pub(super) struct Lines<R: BufRead> {
    text: R,
    /// Lines read from the text.
    count: u64,
    /// The last line ended with CR, so that LF would belong to the same end.
    after_cr: bool,
    bytes: Vec<u8>,
    /// Lines that were looked at already, with their numbers.
    ahead: VecDeque<(u64, String)>,
    delimiter: Delimiter,
    /// What the lines begin with that are skipped.
    comment: Option<String>,
}

impl<R: BufRead> Lines<R> {
    /// Looks at the first rows, which show the delimiter where it is not set.
    ///
    /// # Errors
    /// [`Error::Read`] where they are not text, or the disk fails.
    pub fn open(path: &Path, text: R, dialect: &Dialect) -> Result<Self> {
        let mut lines = Self {
            text,
            count: 0,
            after_cr: false,
            bytes: Vec::new(),
            ahead: VecDeque::new(),
            delimiter: Delimiter::Spaces,
            comment: dialect.comment().map(str::to_owned),
        };
        let (mut rows, mut bytes) = (0, 0);
        while rows <= AHEAD && (bytes < AHEAD_BYTES || rows < 3) {
            let Some((number, line)) = lines.fresh(path)? else { break };
            rows += usize::from(lines.filled(&line));
            bytes += line.len();
            lines.ahead.push_back((number, line));
        }
        lines.delimiter = match dialect.sep {
            Separator::Auto => lines.guess(&dialect.cells()),
            Separator::Char(mark) => Delimiter::Char(mark),
            Separator::Spaces => Delimiter::Spaces,
        };
        Ok(lines)
    }

    /// What divides the cells.
    pub fn delimiter(&self) -> Delimiter {
        self.delimiter
    }

    /// The rows that were looked at, but at most `most`. They are given out again by [`Lines::next`].
    pub fn peek(&self, most: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        self.each_row(self.delimiter, most, |row| rows.push(row.clone()));
        rows
    }

    /// Reads the next row that has any cell; false behind the last.
    ///
    /// # Errors
    /// [`Error::Read`] where the line is not text, a quote is not closed, or the disk fails.
    pub fn next(&mut self, path: &Path, row: &mut Row) -> Result<bool> {
        let (first, mut line) = loop {
            match self.line(path)? {
                None => return Ok(false),
                Some((_, line)) if !self.filled(&line) => {}
                Some(found) => break found,
            }
        };
        row.line = first;
        while split(&line, self.delimiter, row) {
            let last = self.line(path)?;
            let Some((_, next)) = last.filter(|(number, _)| number - first < QUOTED_LINES) else {
                let problem = format!("the quote opened in line {first} is not closed");
                return Err(Error::read(path, problem, "close the quote, or remove it"));
            };
            if line.len() + next.len() >= MOST_LINE_BYTES {
                return Err(too_long(path, first));
            }
            line.push('\n');
            line.push_str(&next);
        }
        Ok(true)
    }

    /// The next line without its end, and its number.
    fn line(&mut self, path: &Path) -> Result<Option<(u64, String)>> {
        match self.ahead.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.fresh(path),
        }
    }

    /// The next line that was not looked at.
    fn fresh(&mut self, path: &Path) -> Result<Option<(u64, String)>> {
        if !self.read_line(path)? {
            return Ok(None);
        }
        self.count += 1;
        let mut bytes = &self.bytes[..];
        if self.count == 1 {
            if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
                return Err(Error::read(path, "it is UTF-16 text", "save the table as UTF-8 text"));
            }
            bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        }
        let line = std::str::from_utf8(bytes).map_err(|_| {
            let problem = format!("it is not text (line {} is not UTF-8)", self.count);
            Error::read(path, problem, "save the table as UTF-8 text")
        })?;
        Ok(Some((self.count, line.to_owned())))
    }

    /// Reads into `bytes` up to the end of the line; false behind the last.
    fn read_line(&mut self, path: &Path) -> Result<bool> {
        self.bytes.clear();
        let mut any = false;
        loop {
            let buffer = match self.text.fill_buf() {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                buffer => buffer.map_err(|e| refused(path, &e))?,
            };
            if std::mem::take(&mut self.after_cr) && buffer.first() == Some(&b'\n') {
                self.text.consume(1);
                continue;
            }
            if buffer.is_empty() {
                return Ok(any);
            }
            any = true;
            let end = buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let length = end.unwrap_or(buffer.len());
            if self.bytes.len() + length > MOST_LINE_BYTES {
                return Err(too_long(path, self.count + 1));
            }
            self.bytes.extend_from_slice(&buffer[..length]);
            match end {
                Some(at) => {
                    self.after_cr = buffer[at] == b'\r';
                    self.text.consume(at + 1);
                    return Ok(true);
                }
                None => self.text.consume(length),
            }
        }
    }

    /// The delimiter of the lines that were looked at.
    ///
    /// Each candidate is tried on all of them, and judged in this order: does it make rows of more than one cell; the
    /// share of cells in rows of the usual width that are numbers or missing (another decimal mark counts a little less);
    /// has the first line as many cells as the usual row; its place in the list. A decimal comma divides nothing.
    fn guess(&self, rule: &CellRule) -> Delimiter {
        let mut best = (Delimiter::Spaces, None);
        for delimiter in DELIMITERS.into_iter().filter(|mark| !(rule.comma() && *mark == Delimiter::Char(','))) {
            let merit = Some(self.merit(delimiter, rule));
            if merit > best.1 {
                best = (delimiter, merit);
            }
        }
        best.0
    }

    fn merit(&self, delimiter: Delimiter, rule: &CellRule) -> (bool, u64, bool) {
        let mut widths: Vec<(usize, usize)> = Vec::new();
        let mut first = 0;
        let all = self.each_row(delimiter, usize::MAX, |row| {
            let width = row.cells.len();
            first = if first == 0 { width } else { first };
            match widths.iter_mut().find(|(known, _)| *known == width) {
                Some((_, count)) => *count += 1,
                None => widths.push((width, 1)),
            }
        });
        let usual = widths.iter().max_by_key(|(width, count)| (*count, *width)).map_or(0, |(width, _)| *width);
        let (mut worth, mut cells, mut at) = (0, 0, 0);
        self.each_row(delimiter, usize::MAX, |row| {
            // The first line may hold names.
            if at > 0 || all == 1 {
                cells += row.cells.len();
                if row.cells.len() == usual {
                    worth += row.cells.iter().map(|cell| worth_of(rule.of(cell))).sum::<u64>();
                }
            }
            at += 1;
        });
        (usual > 1, worth * 100 / cells.max(1) as u64, first == usual)
    }

    /// The rows of the lines that were looked at, at most `most` of them; a quote that is not closed there ends with the
    /// last. Gives how many.
    fn each_row(&self, delimiter: Delimiter, most: usize, mut take: impl FnMut(&Row)) -> usize {
        let mut row = Row::default();
        let mut lines = self.ahead.iter();
        let mut count = 0;
        while count < most {
            let Some((number, line)) = lines.find(|(_, line)| self.filled(line)) else { break };
            row.line = *number;
            if split(line, delimiter, &mut row) {
                let mut joined = line.clone();
                for (next, line) in lines.by_ref() {
                    joined.push('\n');
                    joined.push_str(line);
                    if next - number >= QUOTED_LINES || !split(&joined, delimiter, &mut row) {
                        break;
                    }
                }
            }
            take(&row);
            count += 1;
        }
        count
    }

    /// Neither blank nor a comment.
    fn filled(&self, line: &str) -> bool {
        let line = line.trim_start();
        !line.is_empty() && !self.comment.as_ref().is_some_and(|comment| line.starts_with(comment))
    }
}

fn too_long(path: &Path, line: u64) -> Error {
    let problem = format!("line {line} is longer than {} MiB", MOST_LINE_BYTES >> 20);
    Error::read(path, problem, "write one row a line")
}

fn worth_of(cell: Cell) -> u64 {
    match cell {
        Cell::Number(_) | Cell::Missing => 10,
        Cell::OtherMark => 9,
        Cell::Text => 0,
    }
}

/// Takes a line apart; true where a quote is open at its end.
fn split(line: &str, delimiter: Delimiter, row: &mut Row) -> bool {
    row.cells.clear();
    row.quoted = 0;
    if !line.contains('"') {
        match delimiter {
            Delimiter::Char(mark) => line.split(mark).for_each(|cell| row.cells.push_field(cell.trim())),
            Delimiter::Spaces => line.split_whitespace().for_each(|cell| row.cells.push_field(cell)),
        }
        return false;
    }
    let ends = |c: char| match delimiter {
        Delimiter::Char(mark) => c == mark,
        Delimiter::Spaces => c.is_whitespace(),
    };
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() && (delimiter == Delimiter::Spaces || !ends(c)));
        if delimiter == Delimiter::Spaces && rest.is_empty() {
            return false;
        }
        match rest.strip_prefix('"') {
            Some(inside) => {
                let Some((cell, after)) = quoted(inside) else { return true };
                let end = after.find(ends).unwrap_or(after.len());
                row.cells.push_field((cell + &after[..end]).trim());
                row.quoted += 1;
                rest = &after[end..];
            }
            None => {
                let end = rest.find(ends).unwrap_or(rest.len());
                row.cells.push_field(rest[..end].trim());
                rest = &rest[end..];
            }
        }
        match rest.chars().next() {
            None => return false,
            Some(mark) => rest = &rest[mark.len_utf8()..],
        }
    }
}

/// The inside of a quoted cell up to the closing quote, and what follows it; `None` where it is not closed.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut cell = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        // Two quotes stand for one.
        match after.strip_prefix('"') {
            Some(after) => {
                cell.push('"');
                rest = after;
            }
            None => return Some((cell, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> (Delimiter, Vec<(u64, Vec<String>)>) {
        let path = Path::new("x.csv");
        let mut lines = Lines::open(path, text, &Dialect::default()).unwrap();
        let mut row = Row::default();
        let mut rows = Vec::new();
        while lines.next(path, &mut row).unwrap() {
            rows.push((row.line, row.cells.iter().map(str::to_owned).collect()));
        }
        (lines.delimiter(), rows)
    }

    #[test]
    fn cells_and_their_lines_are_found() {
        let (_, found) = rows(b"\r\n# c\r\na , \"b\"\"c\" ,\"d\r\ne\"\r\n\r\n1,2,3\r\n");
        let cells = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        assert_eq!(found, [(3, cells(&["a", "b\"c", "d\ne"])), (6, cells(&["1", "2", "3"]))]);
        assert_eq!(rows(b"1 2\r3 4\r").1.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(rows(b"\"x y\" z\n1\t 2\n").1[0].1, ["x y", "z"]);
        assert_eq!(rows(b"1,,\n").1[0].1, ["1", "", ""]);
        // A quote that no line closes.
        let (path, mut row) = (Path::new("x"), Row::default());
        let mut lines = Lines::open(path, &b"a,b\n1,\"2\n3,4\n"[..], &Dialect::default()).unwrap();
        assert!(lines.next(path, &mut row).unwrap());
        let refused = lines.next(path, &mut row).unwrap_err().to_string();
        assert!(refused.contains("the quote opened in line 2 is not closed"), "{refused}");
    }

    #[test]
    fn the_delimiter_is_that_of_the_numbers() {
        let cases: [(&str, Delimiter); 16] = [
            ("a,b\n1,2\n", Delimiter::Char(',')),
            ("1,2\n", Delimiter::Char(',')),
            ("1\n2\n", Delimiter::Char(',')),
            ("flux density\n1\n2\n", Delimiter::Char(',')),
            ("\"x, m\";\"y, m\"\n1;2\n3;4\n", Delimiter::Char(';')),
            ("x, m;y, m\n1;2\n3;4\n", Delimiter::Char(';')),
            ("x (m, s)\ty (m, s)\n1\t2\n", Delimiter::Char('\t')),
            ("x; m,y; m\n1,2\n", Delimiter::Char(',')),
            ("x, m|y\n1|2\n", Delimiter::Char('|')),
            ("x,m y,m\n1 2\n3  4\n", Delimiter::Spaces),
            ("a, b\n1, 2\n3, 4\n", Delimiter::Char(',')),
            ("a;b\n1,5;2,5\n", Delimiter::Char(';')),
            ("a\tb\n1,5\t2,5\n", Delimiter::Char('\t')),
            ("a,b\n1,2\n3\n", Delimiter::Char(',')),
            ("a\tb\n1\t\n\t2\n", Delimiter::Char('\t')),
            ("name,x\n\"Doe; J\",1\n\"Roe; K\",2\n", Delimiter::Char(',')),
        ];
        for (text, delimiter) in cases {
            assert_eq!(rows(text.as_bytes()).0, delimiter, "{text:?}");
        }
    }
}
