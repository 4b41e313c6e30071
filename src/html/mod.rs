//! A report as one HTML file that needs nothing else: no network, no folder beside it, no script even.
//!
//! [`render`] makes the page from plain text and pictures, [`write()`] puts it into a file. The table sorts by a click
//! on a column's head, the frames of a [`Slides`] move with one slider; without a script the table stands as it was
//! given, and of each strip up to six frames, the first and the last among them, are shown in a row, as they are on
//! paper.
//!
//! All text is escaped, pictures are `data:` addresses, and a content security policy names the hash of the one script
//! and forbids everything else, so that even markup that slipped in could neither run nor load. A framework or a
//! plotting library in the page is rejected: a report must open without either in twenty years.

mod page;
mod picture;

use std::path::Path;

pub use page::render;
pub use picture::{Image, Mime};

use crate::{Error, Result, io};

/// A page. Parts that are empty are left out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// The question and the result, in a sentence or two.
    pub lead: String,
    /// Under what conditions: data set, budget, machine, seed; names and values.
    pub facts: Vec<(String, String)>,
    /// The numbers.
    pub table: Table,
    /// Pictures that stand still.
    pub figures: Vec<Figure>,
    /// Pictures that move with a slider.
    pub slides: Vec<Slides>,
    /// What a reader must know to judge, a paragraph each.
    pub notes: Vec<String>,
}

/// Numbers, one row a thing, its name in the first column.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What the rows are.
    pub caption: String,
    /// From left to right.
    pub columns: Vec<Column>,
    /// A cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

/// The head of a column.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// One or two words.
    pub title: String,
    /// `nats`, `s`; may be empty.
    pub unit: String,
    /// What it contains, in a sentence: shown on hovering, and in the notes under the table.
    pub about: String,
    /// Which end is set in bold.
    pub better: Better,
}

/// Which of a column's values is best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Better {
    /// The smallest.
    Lower,
    /// The greatest.
    Higher,
    /// Neither end is better.
    #[default]
    Neither,
}

/// What is shown, and what it sorts by.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// As it shall read, `2.831 ± 0.004`.
    pub text: String,
    /// The number behind it; `None` (and NaN) sorts last. A column without any sorts by its text.
    pub value: Option<f64>,
}

/// A picture that stands still.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What is to be seen; its number is put before it.
    pub caption: String,
    /// The alternative text.
    pub alt: String,
    /// The picture.
    pub image: Image,
}

/// Strips of frames that move with one slider.
#[derive(Clone, Debug, Default)]
pub struct Slides {
    /// What is to be seen; its number is put before it.
    pub caption: String,
    /// Shown side by side. The slider is the part of the way, 0 to 1; each strip shows its frame nearest to it, so that
    /// one of 4 layers moves along with one of 21 times.
    pub strips: Vec<Strip>,
}

/// Frames of one thing on its way.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// Of what.
    pub name: String,
    /// A label (`t = 0.25`, `layer 3`) and a picture each, evenly spaced on the way.
    pub frames: Vec<(String, Image)>,
}

/// Writes the page to a file, aside and renamed.
///
/// # Errors
/// [`Error::Dimension`] where a row of the table has not a cell for every column; [`Error::Write`] where the folder is
/// missing or the file cannot be written.
pub fn write(path: &Path, report: &Report) -> Result<()> {
    let expected = report.table.columns.len();
    if let Some((row, cells)) = report.table.rows.iter().enumerate().find(|(_, cells)| cells.len() != expected) {
        return Err(Error::Dimension { what: format!("row {row} of the table"), expected, found: cells.len() });
    }
    io::write_atomically(path, |out| out.write_all(render(report).as_bytes()))
}
