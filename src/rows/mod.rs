//! Where points come from: toy densities whose truth is known, and tables from files.
//!
//! [`resolve`] turns what the user typed into a [`Dataset`]. A toy is an unlimited source of fresh rows;
//! its held-out sets come from streams of the generator of their own, so that no amount of training
//! touches them.
//!
//! To add a toy: write its sampler and its log-density in a file of this folder, add an entry to
//! [`toys::ALL`], and run `tests/it/data.rs`, whose laws it then has to meet.

mod beside;
mod context;
pub mod copies;
mod curve;
pub mod diagnose;
pub mod digits;
mod gaps;
mod memory;
mod missing;
pub mod mixture;
mod pinwheel;
mod points;
pub mod ring;
pub mod table;
pub mod toys;
mod weights;

use std::path::{Path, PathBuf};

use cnflow_kernels::ImageShape;
use rand::Rng as _;

pub use crate::io::Numbers;
pub use context::{Context, is_file, name_of, places};
pub use memory::Memory;
pub use missing::{Left, MissingRows};
pub use mixture::Mixture;
pub use points::Rows;
pub use table::{Split, SplitRule, Table, TableOptions, USUAL_SHARES};
pub use toys::Toy;

use crate::names::{Matched, NamedTable};
use crate::{Error, Result, Rng, io, names, rng, words};

/// The stream of a toy's validation set; training must draw from another.
pub const VALID_STREAM: u64 = 0xda7a_0001;
/// The stream of a toy's test set; training must draw from another.
pub const TEST_STREAM: u64 = 0xda7a_0002;

/// How to resolve a data set.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// How to read and split a file.
    pub table: TableOptions,
    /// Rows of a toy's validation set, and of its test set.
    pub held_out: usize,
    /// The columns of a table that are conditions, as `NAME` or `NAME:KIND`, or by number from 0 as the file has them;
    /// or one file with a row for each of its rows.
    pub condition: Vec<String>,
    /// The column of a table that holds the weights of its rows, by name, or by number from 0 as the file has it; or a
    /// file with a number for each of its rows. Each row counts 1 without.
    pub weights: Option<String>,
    /// The columns of a table that are classes, by name, or by number from 0 without those of the condition: they may hold
    /// words.
    pub classes: Vec<String>,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            table: TableOptions::default(),
            held_out: 10_000,
            condition: Vec::new(),
            weights: None,
            classes: Vec::new(),
        }
    }
}

impl DataOptions {
    /// The columns that are used beside those of the points, each with the names that it may have.
    pub(crate) fn also(&self) -> Vec<Vec<String>> {
        let conditions = if is_file(&self.condition) { &[][..] } else { &self.condition };
        let condition = conditions.iter().map(|text| vec![text.clone(), name_of(text).to_owned()]);
        let weights = self.weights.iter().filter(|text| !weights::is_file(text)).map(|text| vec![text.clone()]);
        condition.chain(weights).collect()
    }

    /// The files that are read: the table at `path`, and those beside it.
    fn files<'a>(&'a self, path: &'a Path) -> Vec<&'a Path> {
        let condition = self.condition.iter().filter(|_| is_file(&self.condition)).map(|text| Path::new(name_of(text)));
        let weights = self.weights.iter().filter(|text| weights::is_file(text)).map(Path::new);
        let split = if let SplitRule::File(file) = &self.table.split { Some(file.as_path()) } else { None };
        std::iter::once(path).chain(condition).chain(weights).chain(split).collect()
    }

    /// What is asked of the columns of the table beside `table`.
    fn extra(&self) -> table::Extra {
        table::Extra { also: self.also(), words: self.words() }
    }

    /// Which columns of the table may hold words: those of the conditions, and those of classes.
    pub(crate) fn words(&self) -> io::Words {
        let one = |text: &String| {
            context::may_be_words(text).map(|class| (vec![text.clone(), name_of(text).to_owned()], class))
        };
        let conditions = if is_file(&self.condition) { &[][..] } else { &self.condition };
        let classes = self.classes.iter().map(|name| (vec![name.clone()], true));
        io::Words { columns: conditions.iter().filter_map(one).chain(classes).collect(), all: None }
    }
}

/// Where the rows for training come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Drawn afresh, without end.
    Toy(&'static Toy),
    /// These rows.
    Rows(Rows),
}

/// Rows to train on, and rows held out.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// As the user typed it.
    pub name: String,
    /// d.
    pub dim: usize,
    /// The shape of a row, where rows are images: bytes, `[y][x][channel]`.
    pub shape: Option<ImageShape>,
    /// The names of the columns, where the file has them.
    pub columns: Option<Vec<String>>,
    /// The rows for training.
    pub train: Source,
    /// The validation set; empty where the split has none.
    pub valid: Rows,
    /// The test set; empty where the split has none.
    pub test: Rows,
    /// The columns of the rows' context, where the data have one.
    pub context: Option<Context>,
    /// The words of each column, in their order: its numbers are places among them. Empty for a column of numbers, and
    /// where no column has words.
    pub words: Vec<Vec<String>>,
    /// Which rows of the file the rows of each set are, where they come from one.
    pub places: Option<Split>,
    /// How its files were read, where that is not plain: a sentence each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// n rows for training, `[n, d]`: fresh ones of a toy; of a file, rows drawn with replacement, by their weights.
    pub fn draw(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        match &self.train {
            Source::Toy(toy) => (toy.sample)(n, rng),
            Source::Rows(rows) => {
                let count = rows.count(self.dim);
                let picked: Vec<usize> = match &rows.weight[..] {
                    [] => (0..n).map(|_| rng.random_range(0..count)).collect(),
                    weights => {
                        let mut sum = 0.0;
                        let sums: Vec<f64> = weights
                            .iter()
                            .map(|w| {
                                sum += w;
                                sum
                            })
                            .collect();
                        let one = |at: f64| sums.partition_point(|s| *s <= at * sum).min(count - 1);
                        (0..n).map(|_| one(rng.random())).collect()
                    }
                };
                rows.x.pick(self.dim, &picked).into_f64()
            }
        }
    }

    /// How many rows there are to train on; `None` where they never end.
    pub fn n_train(&self) -> Option<usize> {
        match &self.train {
            Source::Toy(_) => None,
            Source::Rows(rows) => Some(rows.count(self.dim)),
        }
    }

    /// Brings the columns, and those of the conditions, into the order of the names of a model; columns that it does
    /// not have are left out. Without names the order counts. What was done is returned in words.
    ///
    /// # Errors
    /// As [`Matched::by_name`].
    pub fn arrange(&mut self, columns: &[String], condition: &[String]) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        let table = format!("`{}`", self.name);
        if let Some(mut context) = self.context.clone() {
            let (whose, own) = (format!("the condition of {table}"), context.names(self.columns.is_some()));
            if !condition.is_empty() && !own.is_empty() {
                let hint = "set `data.condition` to the columns that the model was trained with";
                let header = NamedTable { table: &whose, names: own, hint };
                let matched = Matched::by_name(header, condition, "the model")?;
                notes.extend(matched.note(header));
                for rows in self.sets_mut() {
                    rows.context = matched.pick(&rows.context, context.dim);
                }
                context.words = table::words_at(&context.words, &matched.places);
                (context.dim, context.columns) = (condition.len(), condition.to_vec());
            }
            self.context = Some(context);
        }
        if let (Some(names), false) = (&self.columns, columns.is_empty()) {
            let header = NamedTable::of_file(&table, names);
            let matched = Matched::by_name(header, columns, "the model")?;
            notes.extend(matched.note(header));
            let dim = self.dim;
            for rows in self.sets_mut() {
                rows.x = matched.pick(&rows.x.all(), dim).into();
            }
            self.words = table::words_at(&self.words, &matched.places);
            (self.dim, self.columns) = (columns.len(), Some(columns.to_vec()));
        }
        Ok(notes)
    }

    /// Gives the words of the columns and of the conditions the numbers that a model has for them: `columns` and `condition`
    /// are its words with their numbers, a list a column, empty for a column of numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a word that the model does not have, and for words where it has numbers.
    pub fn translate(&mut self, columns: &[Vec<Known>], condition: &[Vec<Known>]) -> Result<()> {
        let d = self.dim;
        for j in 0..self.words.len() {
            let name = words::column(self.columns.as_deref(), j);
            let known = columns.get(j).map_or(&[][..], Vec::as_slice);
            let Some((numbers, ordered)) = translated(&self.words[j], known, &name)? else { continue };
            for rows in self.sets_mut() {
                for value in rows.x.real_mut().into_iter().flatten().skip(j).step_by(d).filter(|value| !value.is_nan())
                {
                    *value = numbers[*value as usize];
                }
            }
            self.words[j] = ordered;
        }
        let Some(mut context) = self.context.clone() else { return Ok(()) };
        for (j, own) in context.words.iter_mut().enumerate() {
            let name = context.columns.get(j).cloned().unwrap_or_else(|| j.to_string());
            let known = condition.get(j).map_or(&[][..], Vec::as_slice);
            let Some((numbers, ordered)) = translated(own, known, &format!("the condition `{name}`"))? else {
                continue;
            };
            for rows in self.sets_mut() {
                for value in rows.context.iter_mut().skip(j).step_by(context.dim).filter(|value| !value.is_nan()) {
                    *value = numbers[*value as usize];
                }
            }
            *own = ordered;
        }
        self.context = Some(context);
        Ok(())
    }

    /// The rows for training; none of a toy, which is drawn afresh.
    pub fn training_rows(&self) -> Option<&Rows> {
        match &self.train {
            Source::Toy(_) => None,
            Source::Rows(rows) => Some(rows),
        }
    }

    /// The columns of the context; 0 without one.
    pub fn context_dim(&self) -> usize {
        self.context.as_ref().map_or(0, |context| context.dim)
    }

    /// The rows of every set that is kept in memory.
    fn sets_mut(&mut self) -> impl Iterator<Item = &mut Rows> {
        let train = if let Source::Rows(rows) = &mut self.train { Some(rows) } else { None };
        train.into_iter().chain([&mut self.valid, &mut self.test])
    }

    /// The truth, where it is known.
    pub fn toy(&self) -> Option<&'static Toy> {
        match self.train {
            Source::Toy(toy) => Some(toy),
            Source::Rows(_) => None,
        }
    }
}

/// A word, and the number that stands for it.
type Known = (String, f64);

/// For the words `own` of a column called `name` their numbers among those that are `known`, and these words by their
/// numbers; none where it has no words.
fn translated(own: &[String], known: &[Known], name: &str) -> Result<Option<(Vec<f64>, Vec<String>)>> {
    if own.is_empty() {
        return Ok(None);
    }
    let mut numbers = Vec::with_capacity(own.len());
    for word in own {
        let Some((_, number)) = known.iter().find(|(known, _)| known == word) else {
            let all: Vec<String> = known.iter().map(|(word, _)| word.clone()).collect();
            let problem = format!("{name} has the word `{word}`, which the model does not have");
            let hint = match all[..] {
                [] => "give numbers: the model was trained on numbers there".to_owned(),
                _ => format!("give one of its classes: {}", names::list(&all)),
            };
            return Err(Error::invalid(problem, hint));
        };
        numbers.push(*number);
    }
    let most = known.iter().map(|(_, number)| *number as usize).max().unwrap_or(0);
    let mut ordered = vec![String::new(); most + 1];
    known.iter().for_each(|(word, number)| ordered[*number as usize].clone_from(word));
    Ok(Some((numbers, ordered)))
}

/// The data set that a name stands for: a toy, or the path of a file.
///
/// The seed fixes a toy's held-out sets and a table's random split.
///
/// # Errors
/// [`Error::Unknown`] for what is neither a toy nor looks like a file; what reading a file can raise.
pub fn resolve(name: &str, options: &DataOptions, seed: u64) -> Result<Dataset> {
    if let Ok(toy) = toys::find(name) {
        if let Some(weights) = &options.weights {
            let problem = format!("the weights `{weights}`: the toy `{name}` is drawn without weights");
            return Err(Error::invalid(problem, "set `data.source` to a file: only tables have weights"));
        }
        if let Some(column) = options.condition.first() {
            let problem = format!("the condition `{column}`: the toy `{name}` is drawn without conditions");
            return Err(Error::invalid(problem, "set `data.source` to a file: only tables have conditions"));
        }
        let held_out = |stream| Rows::new((toy.sample)(options.held_out, &mut rng::stream(seed, stream)));
        return Ok(Dataset {
            name: name.into(),
            dim: toy.dim,
            shape: None,
            columns: None,
            train: Source::Toy(toy),
            valid: held_out(VALID_STREAM),
            test: held_out(TEST_STREAM),
            context: None,
            words: Vec::new(),
            places: None,
            notes: Vec::new(),
        });
    }
    if name == digits::NAME {
        let mut table = digits::table(&options.table, seed)?;
        let weights = options.weights.as_deref();
        let weights =
            weights.map(|w| weights::take(w, Path::new(name), &mut table, &options.table.dialect)).transpose()?;
        return of_table(name, table, digits::context(&options.condition)?, weights);
    }
    if name == "-" {
        let problem = "the rows came from stdin, which can be read once";
        return Err(Error::invalid(problem, "save them in a file, and give that"));
    }
    let path = PathBuf::from(name);
    if io::Format::of(&path).is_none() && !looks_like_a_path(&path) {
        let known = format!("{}, {}, or a .npy, .npz or .csv file", toys::names(), digits::NAME);
        return Err(Error::Unknown { kind: "data set", name: name.into(), known });
    }
    let missing = options.table.missing != MissingRows::Refuse;
    let dialect = &options.table.dialect;
    dialect.check_for(&options.files(&path))?;
    let beside = Context::beside(&options.condition, dialect, missing)?;
    let mut table = Table::read_beside(&path, &options.table, options.extra(), beside.as_ref(), seed)?;
    let weights = options.weights.as_deref().map(|w| weights::take(w, &path, &mut table, dialect)).transpose()?;
    let context = Context::take(&options.condition, &path, &mut table, beside)?;
    of_table(name, table, context, weights)
}

/// The data set of a table, the context of its rows, and their weights.
fn of_table(
    name: &str,
    mut table: Table,
    context: Option<(Context, Vec<f64>)>,
    weights: Option<Vec<f64>>,
) -> Result<Dataset> {
    let (context, values) = context.unzip();
    let found = gaps::gaps(&table.x, table.d);
    let some = found.iter().filter(|(any, _)| *any).count();
    if some > 0 {
        // Of what was read with its gaps a row without any value says nothing.
        let Split { train, valid, test } = &mut table.split;
        [train, valid, test].into_iter().for_each(|set| set.retain(|row| !found[*row].1));
        let (of, none) = (words::count(table.n as u64, "row"), found.iter().filter(|(_, all)| *all).count());
        let have = if some == 1 {
            "has a missing cell: its other cells count"
        } else {
            "have a missing cell: their other cells count"
        };
        let empty = if none > 0 { format!("; {none} without a value left out") } else { String::new() };
        table.notes.push(format!("`{name}`: {some} of {of} {have}{empty}"));
    }
    let weight = weights.map_or(Ok(Vec::new()), |w| weights::settled(w, &mut table.split, &mut table.notes))?;
    let all = Rows { x: std::mem::take(&mut table.x), context: values.unwrap_or_default(), weight };
    let set = |rows: &[usize]| all.pick(table.d, rows);
    let of_file = |rows: &[usize]| rows.iter().map(|row| table.row_of_file(*row)).collect();
    let Split { train, valid, test } = &table.split;
    let places = Split { train: of_file(train), valid: of_file(valid), test: of_file(test) };
    Ok(Dataset {
        name: name.into(),
        dim: table.d,
        shape: table.shape,
        train: Source::Rows(set(&table.split.train)),
        valid: set(&table.split.valid),
        test: set(&table.split.test),
        columns: table.columns,
        words: table.words,
        context,
        places: Some(places),
        notes: table.notes,
    })
}

fn looks_like_a_path(path: &Path) -> bool {
    path.components().count() > 1 || path.exists()
}
