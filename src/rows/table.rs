//! A table of numbers, and which of its rows are for training, for validation, for the test.
//!
//! Codes are 0 train, 1 validation, 2 test, one a row. The columns keep their own units: the model
//! standardises them.

use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;

use cnflow_kernels::ImageShape;

use super::beside::Beside;
use super::copies::{first_equal, first_equal_bytes};
use super::missing::{Columns, Left, MissingRows, NoneLeft, left_of};
use crate::io::{self, Array, Dialect, Format, Layout, Numbers, Pick, Reader, Words, csv, npz};
use crate::{Error, Result, rng, words};

/// The stream of the generator that shuffles rows into their sets.
pub const SPLIT_STREAM: u64 = 0xda7a_0003;

/// The shares of training and validation by default; the rest is the test.
pub const USUAL_SHARES: (f64, f64) = (0.8, 0.1);
/// The most images that validation and test get each by default: they are dear to score, and the standard error of a
/// mean over so many is some 0.006 bits per dimension on MNIST.
const MOST_HELD_OUT: f64 = 2500.0;

/// Where the split of a table comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitRule {
    /// `NAME_split.npy` beside `NAME.npy` if there is one, else 80/10/10 at random; of images at most 2500 each for
    /// validation and test.
    Auto,
    /// A file of codes, one a row.
    File(PathBuf),
    /// A named column of a text table or of Parquet: 0, 1, 2, or train, valid, test.
    Column(String),
    /// The shares of training and validation, drawn by the seed; the rest is the test.
    Fractions {
        /// Of training.
        train: f64,
        /// Of validation.
        valid: f64,
    },
}

/// How to read a table.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// Where the split comes from.
    pub split: SplitRule,
    /// The columns to use, in this order, by name, or by number from 0 as the file has them; all where it is empty. Those
    /// of conditions and weights need not be among them.
    pub keep: Vec<String>,
    /// Columns to leave out, by name, or by number from 0 as the file has them.
    pub drop: Vec<String>,
    /// Whether copies of a row stay in one set of a random split. Splits were once drawn without.
    pub copies_together: bool,
    /// Columns of whole numbers or classes, by name or number: equal rows of these alone are no copies.
    pub whole: Vec<String>,
    /// How texts are written: the table, and files beside it.
    pub dialect: Dialect,
    /// The order of the axes of images.
    pub layout: Layout,
    /// What becomes of rows with a missing cell.
    pub missing: MissingRows,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            split: SplitRule::Auto,
            keep: Vec::new(),
            drop: Vec::new(),
            copies_together: true,
            whole: Vec::new(),
            dialect: Dialect::default(),
            layout: Layout::Auto,
            missing: MissingRows::default(),
        }
    }
}

/// The rows of each set, in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// For training.
    pub train: Vec<usize>,
    /// For choosing among models.
    pub valid: Vec<usize>,
    /// For the one figure that is reported.
    pub test: Vec<usize>,
}

/// A table and its split.
#[derive(Clone, Debug)]
pub struct Table {
    /// The names of the columns, where the file has them.
    pub columns: Option<Vec<String>>,
    /// The numbers, `[n, d]` row-major, all finite, or NaN where a cell is missing and may be; images are bytes.
    pub x: Numbers,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub d: usize,
    /// The shape of a row, where rows are images.
    pub shape: Option<ImageShape>,
    /// The number of each column in the file, from 0.
    pub numbers: Vec<usize>,
    /// The words of each column, in their order: its numbers are places among them. Empty for a column of numbers, and
    /// where no column has words.
    pub words: Vec<Vec<String>>,
    /// The rows of the file that these are, where rows with missing cells were left out.
    pub left: Option<Left>,
    /// The sets.
    pub split: Split,
    /// How its files were read, where that is not plain: a sentence each.
    pub notes: Vec<String>,
}

impl Table {
    /// Reads a table and splits it; the seed matters only to random fractions.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that is not a table or a split that does not fit it, [`Error::Unknown`]
    /// for an unknown ending, [`Error::Invalid`] for shares that leave a set empty.
    pub fn read(path: &Path, options: &TableOptions, seed: u64) -> Result<Self> {
        Self::read_beside(path, options, Extra::default(), None, seed)
    }

    /// As [`Table::read`], with `extra` about its columns, and of rows that have their conditions in a file `beside` them: a
    /// missing cell there counts too.
    pub(super) fn read_beside(
        path: &Path,
        options: &TableOptions,
        extra: Extra,
        beside_them: Option<&Beside>,
        seed: u64,
    ) -> Result<Self> {
        let column = match &options.split {
            SplitRule::Column(name) => Some(name.clone()),
            _ => None,
        };
        let format = Format::of(path);
        let (text, gaps) = (format == Some(Format::Csv), options.missing != MissingRows::Refuse);
        if let (false, Some(name)) = (format.is_some_and(Format::names_columns), &column) {
            let problem =
                format!("the column `{name}` of a split is read from texts and Parquet, and this is an array");
            return Err(Error::read(path, problem, "give the split as a file of codes: `data.split` FILE.npy"));
        }
        let pick = Pick { keep: options.keep.clone(), drop: options.drop.clone(), also: extra.also };
        let (mut read, cells, lines) = if text {
            let (dialect, words) = (options.dialect.clone(), extra.words);
            let columns = csv::Columns { dialect, pick, split: column, missing: gaps, words };
            let csv::Parsed { array, split, lines, numbers, words, notes } = io::read_text(path, &columns)?;
            (Self { words, ..Self::of_array(array, numbers, notes) }, split, Some(lines))
        } else {
            let rules = (&options.dialect, options.layout);
            let mut reader = Reader::open_pick(path, rules, &pick, column.as_deref(), &Words::default())?;
            reader.find_words(&extra.words)?;
            // The pixels of images are counted in their own order.
            let images = reader.shape().is_some() && reader.columns().is_none();
            let numbers = if images { (0..reader.cols()).collect() } else { reader.numbers().to_vec() };
            if gaps {
                reader.allow_missing();
            }
            let cells = column.map(|name| io::column_cells(path, &name)).transpose()?;
            let notes = reader.notes().to_vec();
            let table = match reader.shape() {
                None => {
                    let words = reader.words();
                    Self { words, ..Self::of_array(reader.whole()?, numbers, notes) }
                }
                Some(shape) => Self::of_images(reader.whole_bytes()?, shape, notes),
            };
            (table, cells, None)
        };
        if let Some(beside) = beside_them {
            beside.check_rows(path, read.n)?;
        }
        let name = |j: usize| beside_them.map(|beside| beside.column(j));
        let given = beside_them.map(|beside| beside.columns(&name));
        if options.missing != MissingRows::Marginal {
            let left_out = read.leave_out(&format!("`{}`", path.display()), given, None);
            left_out.map_err(|none| Error::read(path, none.problem, none.hint))?;
        }
        let beside = beside(path).filter(|file| file.is_file());
        match (&options.split, beside) {
            (SplitRule::Column(name), _) => {
                let cells = cells.unwrap_or_default();
                let codes = (0..read.n).filter_map(|row| cells.get(read.row_of_file(row)));
                let codes = codes.map(|cell| code_of_word(cell)).collect::<Vec<_>>();
                let place = |row| io::place(lines.as_deref(), read.row_of_file(row));
                let split = by_codes(path, &format!("column `{name}`"), &codes, &place)?;
                Ok(Self { split, ..read })
            }
            (SplitRule::Auto, Some(file)) => {
                read.divided(path, &TableOptions { split: SplitRule::File(file), ..options.clone() }, seed)
            }
            (_, _) => read.divided(path, options, seed),
        }
    }

    /// The table, called `path`, with a split that no column gives.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub(super) fn divided(mut self, path: &Path, options: &TableOptions, seed: u64) -> Result<Self> {
        let shares = match &options.split {
            SplitRule::File(file) => {
                let mut notes = std::mem::take(&mut self.notes);
                self.split = by_file(file, path, &self, &options.dialect, &mut notes)?;
                return Ok(Self { notes, ..self });
            }
            &SplitRule::Fractions { train, valid } => (train, valid),
            SplitRule::Auto | SplitRule::Column(_) => self.usual_shares(),
        };
        let name =
            |j: usize| self.columns.as_ref().map_or_else(|| self.numbers[j].to_string(), |names| names[j].clone());
        let all_whole = (0..self.d).all(|j| options.whole.contains(&name(j)));
        let together = options.copies_together && !all_whole;
        self.split = at_random(path, &self, shares, together, seed)?;
        Ok(self)
    }

    /// Leaves out rows with a missing cell, also those that lack one of their conditions, `given` in the order of the
    /// rows; a note says how many. The column of the split does not count.
    pub(super) fn leave_out(
        &mut self,
        whose: &str,
        given: Option<Columns<'_>>,
        split: Option<&str>,
    ) -> std::result::Result<(), NoneLeft> {
        let names = self.columns.as_deref();
        let own = |j: usize| {
            let apart = split.is_some() && names.is_some_and(|names| split == Some(&names[j]));
            let at = if names.is_some() { j } else { self.numbers[j] };
            (!apart).then(|| words::column(names, at))
        };
        let mut parts = Vec::new();
        // No grey level is missing.
        if let Numbers::F64(x) = &self.x {
            parts.push(Columns { x, d: self.d, name: &own });
        }
        parts.extend(given);
        if let Some((left, note)) = left_of(whose, self.n, &parts)? {
            self.keep(left);
            self.notes.push(note);
        }
        Ok(())
    }

    /// Keeps some rows of a table of which none was left out yet.
    fn keep(&mut self, left: Left) {
        self.x = self.x.pick(self.d, &left.rows);
        self.n = left.rows.len();
        self.left = Some(left);
    }

    /// Rows of the file.
    pub fn rows_of_file(&self) -> usize {
        self.left.as_ref().map_or(self.n, |left| left.of)
    }

    /// Which row of the file a row is, from 0.
    pub fn row_of_file(&self, row: usize) -> usize {
        self.left.as_ref().map_or(row, |left| left.rows[row])
    }

    /// A table that is not split yet.
    fn of_array(array: Array, numbers: Vec<usize>, notes: Vec<String>) -> Self {
        let Array { rows: n, cols: d, data, columns, .. } = array;
        let (words, left, split) = (Vec::new(), None, Split::default());
        Self { columns, x: data.into(), n, d, shape: None, numbers, words, left, split, notes }
    }

    /// Images, `[n, d]` bytes, that are not split yet.
    pub(super) fn of_images(bytes: Vec<u8>, shape: ImageShape, notes: Vec<String>) -> Self {
        let (d, numbers) = (shape.len(), (0..shape.len()).collect());
        let (columns, words, left, split) = (None, Vec::new(), None, Split::default());
        let (n, shape) = (bytes.len() / d, Some(shape));
        Self { columns, n, x: bytes.into(), d, shape, numbers, words, left, split, notes }
    }

    /// The shares of training and validation where none are given.
    fn usual_shares(&self) -> (f64, f64) {
        let (train, valid) = USUAL_SHARES;
        let most = if self.shape.is_some() { MOST_HELD_OUT / self.n.max(1) as f64 } else { 1.0 };
        if most < valid { (1.0 - 2.0 * most, most) } else { (train, valid) }
    }

    /// Takes the columns at `places` out: their values, `[n, places.len()]`, their names, or else their numbers in the
    /// file, and their words.
    pub(super) fn take_columns(&mut self, places: &[usize]) -> (Vec<f64>, Vec<String>, Vec<Vec<String>>) {
        let rest: Vec<usize> = (0..self.d).filter(|j| !places.contains(j)).collect();
        let cut = |columns: &[usize]| -> Vec<f64> {
            let at = |i: usize| columns.iter().map(move |j| (i, *j));
            (0..self.n).flat_map(at).map(|(i, j)| self.x.at(i * self.d + j)).collect()
        };
        let (values, x) = (cut(places), cut(&rest));
        let of = |columns: &[usize]| -> Option<Vec<String>> {
            self.columns.as_ref().map(|names| columns.iter().map(|j| names[*j].clone()).collect())
        };
        let (names, left) = (of(places), of(&rest));
        let names = names.unwrap_or_else(|| places.iter().map(|j| self.numbers[*j].to_string()).collect());
        self.numbers = rest.iter().map(|j| self.numbers[*j]).collect();
        (self.x, self.d, self.columns) = (x.into(), rest.len(), left);
        let words = words_at(&self.words, places);
        self.words = words_at(&self.words, &rest);
        (values, names, words)
    }

    /// The rows of a set, `[rows.len(), d]`.
    pub fn rows(&self, rows: &[usize]) -> Vec<f64> {
        self.x.pick(self.d, rows).into_f64()
    }
}

/// The words of the columns at these places; nothing where none of them has some.
pub(super) fn words_at(words: &[Vec<String>], places: &[usize]) -> Vec<Vec<String>> {
    let found: Vec<Vec<String>> = places.iter().map(|j| words.get(*j).cloned().unwrap_or_default()).collect();
    if found.iter().all(Vec::is_empty) { Vec::new() } else { found }
}

/// What is asked of the columns of a table beside its options.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// Columns that are used where only some are kept, each with the names that it may have.
    pub also: Vec<Vec<String>>,
    /// Columns that may hold words.
    pub words: Words,
}

/// `NAME_split.npy` for `NAME.npy`.
fn beside(path: &Path) -> Option<PathBuf> {
    let (file, _) = npz::split_member(path);
    let stem = io::without_gz(&file).file_stem()?.to_str()?;
    Some(file.with_file_name(format!("{stem}_split.npy")))
}

pub(super) fn by_file(
    file: &Path,
    path: &Path,
    table: &Table,
    dialect: &Dialect,
    notes: &mut Vec<String>,
) -> Result<Split> {
    let whole = io::read_as(file, dialect)?;
    let (array, rows) = (&whole.array, table.rows_of_file());
    if array.cols != 1 || array.rows != rows {
        let (found, path) = (array.rows, path.display());
        let columns = if array.cols == 1 { String::new() } else { format!(" of {} columns", array.cols) };
        let problem = format!(
            "it holds {}{columns}, but `{path}` has {}",
            crate::words::count(found as u64, "code"),
            crate::words::count(rows as u64, "row")
        );
        return Err(Error::read(file, problem, "give one code for each row: 0 train, 1 validation, 2 test"));
    }
    let codes = (0..table.n).map(|row| array.data[table.row_of_file(row)]);
    let codes = codes.map(|v| code(v).ok_or_else(|| v.to_string())).collect::<Vec<_>>();
    notes.extend(whole.notes.iter().cloned());
    by_codes(file, "the split", &codes, &|row| whole.place(table.row_of_file(row)))
}

pub(super) fn code(value: f64) -> Option<u8> {
    [0u8, 1, 2].into_iter().find(|&c| f64::from(c) == value)
}

fn code_of_word(cell: &str) -> std::result::Result<u8, String> {
    match cell.to_ascii_lowercase().as_str() {
        "train" | "training" => Ok(0),
        "valid" | "validation" | "val" => Ok(1),
        "test" => Ok(2),
        other => other.parse().ok().and_then(code).ok_or_else(|| cell.to_owned()),
    }
}

/// The split of these codes; `place` names the place of a row in the file.
pub(super) fn by_codes(
    path: &Path,
    what: &str,
    codes: &[std::result::Result<u8, String>],
    place: &dyn Fn(usize) -> String,
) -> Result<Split> {
    let hint = "use the codes 0 train, 1 validation, 2 test";
    let mut split = Split::default();
    for (row, code) in codes.iter().enumerate() {
        match code {
            Ok(0) => split.train.push(row),
            Ok(1) => split.valid.push(row),
            Ok(_) => split.test.push(row),
            Err(other) => {
                let problem = format!("{what} has the unknown code `{other}` in {}", place(row));
                return Err(Error::read(path, problem, hint));
            }
        }
    }
    if split.train.is_empty() {
        return Err(Error::read(path, format!("{what} leaves no row for training"), hint));
    }
    Ok(split)
}

/// Shares at random. Rows that are equal stay on one side: a copy in the test set would be scored by its own density.
pub(super) fn at_random(
    path: &Path,
    table: &Table,
    (train, valid): (f64, f64),
    together: bool,
    seed: u64,
) -> Result<Split> {
    let rows = table.n;
    if !(train > 0.0 && valid >= 0.0 && train + valid <= 1.0 + 1e-12) {
        return Err(Error::invalid(
            format!("the shares {train} for training and {valid} for validation are not a split"),
            "give shares between 0 and 1 that add up to at most 1",
        ));
    }
    let wants_test = train + valid < 1.0 - 1e-12;
    let least = 1 + usize::from(valid > 0.0) + usize::from(wants_test);
    if rows < least {
        let problem = format!("its {} cannot be split into {least} sets", crate::words::count(rows as u64, "row"));
        return Err(Error::read(path, problem, "give more rows"));
    }
    let count = |share: f64| ((share * rows as f64).round() as usize).max(usize::from(share > 0.0));
    let n_valid = count(valid);
    let n_test = if wants_test { count(1.0 - train - valid) } else { 0 };
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut rng::stream(seed, SPLIT_STREAM));
    let first = match &table.x {
        _ if !together => (0..rows).collect(),
        Numbers::F64(x) => first_equal(x, table.d),
        Numbers::U8(x) => first_equal_bytes(x, table.d),
    };
    let different = first.iter().enumerate().filter(|(i, first)| i == *first).count();
    if different < least {
        let problem = format!(
            "its {rows} rows have {}, which cannot be split into {least} sets",
            crate::words::count(different as u64, "different value")
        );
        let hint = "copies stay in one set: add noise of the resolution, or give the split as a file of codes";
        return Err(Error::read(path, problem, hint));
    }
    let (valid, test);
    if different == rows {
        let mut part = |n: usize| {
            let mut rows = order.split_off(order.len() - n.min(order.len()));
            rows.sort_unstable();
            rows
        };
        (valid, test) = (part(n_valid), part(n_test));
        order.sort_unstable();
    } else {
        ([valid, test], order) = by_groups(&order, &first, [n_valid, n_test]);
    }
    if order.is_empty() {
        return Err(Error::read(
            path,
            format!("its {} leave none for training", crate::words::count(rows as u64, "row")),
            "give more rows",
        ));
    }
    Ok(Split { train: order, valid, test })
}

/// Sets of about so many rows, and the rest, where rows with the same `first` stay together. From the end of the order,
/// a group goes to the first set that it brings nearer to its size; a set that all groups are too large for gets the
/// smallest of those left.
fn by_groups(order: &[usize], first: &[usize], sizes: [usize; 2]) -> ([Vec<usize>; 2], Vec<usize>) {
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); first.len()];
    (0..first.len()).for_each(|i| members[first[i]].push(i));
    // Each group where its first member is.
    let mut left: Vec<Vec<usize>> =
        order.iter().rev().map(|i| std::mem::take(&mut members[*i])).filter(|group| !group.is_empty()).collect();
    let mut sets = [Vec::new(), Vec::new()];
    for (k, size) in sizes.into_iter().enumerate().filter(|(_, size)| *size > 0) {
        let set = &mut sets[k];
        // Each later set needs a group, and training is the last.
        let later = 1 + sizes[k + 1..].iter().filter(|size| **size > 0).count();
        let mut spare = left.len() - later.min(left.len());
        left.retain_mut(|group| {
            let nearer = set.len() < size && 2 * (set.len() + group.len()) <= 2 * size + group.len();
            let taken = nearer && spare > 0;
            if taken {
                spare -= 1;
                set.append(group);
            }
            !taken
        });
        if set.is_empty()
            && let Some(smallest) = (0..left.len()).min_by_key(|i| left[*i].len())
        {
            *set = left.remove(smallest);
        }
        set.sort_unstable();
    }
    let mut rest: Vec<usize> = left.into_iter().flatten().collect();
    rest.sort_unstable();
    (sets, rest)
}
