//! A data set of rows that are in memory, as a program that calls the library has them.
//!
//! It is split as a file of the same rows would be: the same seed gives the same sets.

use std::path::Path;

use cnflow_kernels::ImageShape;

use super::missing::{Columns, NoneLeft};
use super::table::{by_codes, code, words_at};
use super::{
    Context, DataOptions, Dataset, MissingRows, Numbers, Rows, Split, SplitRule, Table, TableOptions, of_table, weights,
};
use crate::io::{Layout, Pick, Plan, plan};
use crate::{Error, Result, words};

/// A context and its values, `[n, c]`.
type Given = (Context, Vec<f64>);

/// Rows in memory, row-major.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What errors call them.
    pub name: String,
    /// `[n, dim]`, NaN where a cell is missing; bytes where rows are images.
    pub x: Numbers,
    /// d, with the columns that become the context.
    pub dim: usize,
    /// The shape of a row, where rows are images.
    pub shape: Option<ImageShape>,
    /// The names of the columns.
    pub columns: Option<Vec<String>>,
    /// The words of each column, in their order: its numbers are places among them. Empty for a column of numbers, and
    /// where no column has words.
    pub words: Vec<Vec<String>>,
    /// A context that is not among the columns, and its values, `[n, c]`, NaN where one is missing.
    pub context: Option<Given>,
    /// Weights that are not among the columns, `[n]`.
    pub weight: Option<Vec<f64>>,
}

impl Memory {
    /// Images of whole grey levels: `bytes` are those of an array whose axes behind the first are `axes`, in this order.
    ///
    /// # Errors
    /// [`Error::Read`] where no axis can be that of the channels, and for images beyond use.
    pub fn of_images(name: &str, bytes: Vec<u8>, axes: &[usize], layout: Layout) -> Result<Self> {
        let Plan { shape, places, .. } = plan(Path::new(name), axes, layout)?;
        let dim = shape.len();
        let x = match places {
            None => bytes,
            Some(places) => bytes.chunks_exact(dim).flat_map(|image| places.iter().map(|from| image[*from])).collect(),
        };
        Ok(Self { name: name.into(), x: x.into(), dim, shape: Some(shape), ..Self::default() })
    }

    /// The data set of these rows, divided, and with the columns for its context, as `options` say. With `valid` no
    /// rows are held out: all are for training, and those of `valid` for validation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for infinite numbers, for missing ones where `options` refuse them, or rows that do not fit; as
    /// [`resolve`](super::resolve).
    pub fn dataset(self, options: &DataOptions, seed: u64, valid: Option<Self>) -> Result<Dataset> {
        let name = self.name.clone();
        let (mut table, context, weights) = self.table(options)?;
        if let Some(valid) = valid {
            let (other, given, held_out) = valid.table(options)?;
            if (other.d, other.shape, other.columns.as_ref()) != (table.d, table.shape, table.columns.as_ref()) {
                let columns = |d: usize| crate::words::count(d as u64, "column");
                let problem = format!(
                    "the validation rows have {}, those for training {}, or other names",
                    columns(other.d),
                    columns(table.d)
                );
                return Err(Error::invalid(problem, "give validation rows with the columns of the rows for training"));
            }
            let dims = |context: &Option<Given>| context.as_ref().map_or(0, |(context, _)| context.dim);
            if dims(&given) != dims(&context) {
                let problem = "the validation rows have another number of conditions than those for training";
                return Err(Error::invalid(problem, "give conditions with both"));
            }
            table.split = Split { train: (0..table.n).collect(), ..Split::default() };
            if weights.is_some() != held_out.is_some() {
                let (with, without) =
                    if weights.is_some() { ("training", "validation") } else { ("validation", "training") };
                let problem = format!("the rows for {with} have weights, those for {without} have none");
                return Err(Error::invalid(problem, "give weights with both"));
            }
            let mut data = of_table(&name, table, context, weights)?;
            data.notes.extend(other.notes);
            // As one table: which rows are left out, and whether all count alike, is said of the training rows.
            let rows = Rows { x: other.x, context: given.map_or(Vec::new(), |(_, values)| values), weight: Vec::new() };
            let weight = held_out.unwrap_or_default();
            let kept: Vec<usize> = (0..other.n).filter(|row| weight.get(*row).is_none_or(|w| *w > 0.0)).collect();
            let valid = Rows { weight, ..rows }.pick(other.d, &kept);
            return Ok(Dataset { valid, places: None, ..data });
        }
        let path = Path::new(&name);
        if let SplitRule::Column(column) = &options.table.split {
            let problem = || format!("{name} have no column `{column}` for the split");
            let names = table.columns.as_deref().unwrap_or_default();
            let j = names.iter().position(|known| known == column);
            let j = j.ok_or_else(|| Error::invalid(problem(), "name a column of the frame, or give shares"))?;
            let codes: Vec<_> = (0..table.n).map(|row| table.x.at(row * table.d + j)).collect();
            let codes: Vec<_> = codes.iter().map(|v| code(*v).ok_or_else(|| v.to_string())).collect();
            let place = |row: usize| format!("row {}", table.row_of_file(row));
            let split = by_codes(path, &format!("column `{column}`"), &codes, &place)?;
            let table = Table { split, ..without(table, &[j])? };
            return of_table(&name, table, context, weights);
        }
        let table = table.divided(path, &options.table, seed)?;
        of_table(&name, table, context, weights)
    }

    /// The table without its columns that are left out, the context, and the weights.
    fn table(self, options: &DataOptions) -> Result<(Table, Option<Given>, Option<Vec<f64>>)> {
        let Self { name, x, dim: d, shape, columns, words, context, weight } = self;
        if d == 0 || !x.len().is_multiple_of(d) {
            let found = x.len() % d.max(1);
            return Err(Error::Dimension { what: format!("the last row of {name}"), expected: d, found });
        }
        let n = x.len() / d;
        let (numbers, left, split, notes) = ((0..d).collect(), None, Split::default(), Vec::new());
        let mut table = Table { columns, x, n, d, shape, numbers, words, left, split, notes };
        let split = if let SplitRule::Column(column) = &options.table.split { Some(column.as_str()) } else { None };
        let TableOptions { keep, drop, .. } = &options.table;
        if !keep.is_empty() || !drop.is_empty() {
            let mut also = options.also();
            also.extend(split.map(|name| vec![name.to_owned()]));
            let pick = Pick { keep: keep.clone(), drop: drop.clone(), also };
            let known = || match &table.columns {
                Some(names) => names.join(", "),
                None => format!("their numbers, 0 to {}", d - 1),
            };
            let unknown = |text: &str| Error::Unknown { kind: "column", name: text.into(), known: known() };
            let left = pick.places(table.columns.as_deref(), &table.numbers, &unknown)?;
            table = with(table, &left);
        }
        let (path, gaps) = (Path::new(&name), options.table.missing != MissingRows::Refuse);
        let drops = options.table.missing == MissingRows::Drop;
        check_finite(&name, &table.x, table.d, &table.numbers, table.columns.as_deref(), gaps)?;
        let none_left = |none: NoneLeft| Error::invalid(format!("{name}: {}", none.problem), none.hint);
        let context = match context {
            None => {
                let beside = Context::beside(&options.condition, &options.table.dialect, gaps)?;
                if let Some(beside) = &beside {
                    beside.check_rows(path, n)?;
                }
                let called = |j: usize| beside.as_ref().map(|beside| beside.column(j));
                let given = beside.as_ref().map(|beside| beside.columns(&called));
                if drops {
                    table.leave_out(&name, given, split).map_err(none_left)?;
                }
                Context::take(&options.condition, path, &mut table, beside)?
            }
            Some((given, values)) => {
                if values.len() != n * given.dim {
                    let rows = values.len() / given.dim.max(1);
                    let problem = format!("there are {rows} rows of conditions for {n} rows of {name}");
                    return Err(Error::invalid(problem, "give one row of conditions for each row"));
                }
                let names = Some(&given.columns[..]).filter(|names| !names.is_empty());
                let values = Numbers::F64(values);
                let numbers: Vec<usize> = (0..given.dim).collect();
                check_finite("the conditions", &values, given.dim, &numbers, names, gaps)?;
                let values = values.into_f64();
                let called = |j: usize| Some(format!("{} of the conditions", words::column(names, j)));
                let columns = Columns { x: &values, d: given.dim, name: &called };
                if drops {
                    table.leave_out(&name, Some(columns), split).map_err(none_left)?;
                }
                let values = match &table.left {
                    None => values,
                    Some(left) => Numbers::F64(values).pick(given.dim, &left.rows).into_f64(),
                };
                Some((given, values))
            }
        };
        let weights = match (weight, options.weights.as_deref()) {
            (None, None) => None,
            (None, Some(wanted)) => Some(weights::take(wanted, path, &mut table, &options.table.dialect)?),
            (Some(weight), _) => {
                if weight.len() != n {
                    let found = words::count(weight.len() as u64, "weight");
                    let problem = format!("there are {found} for {n} rows of {name}");
                    return Err(Error::invalid(problem, "give one weight for each row"));
                }
                weights::check(&weight, "the weights")?;
                Some((0..table.n).map(|row| weight[table.row_of_file(row)]).collect())
            }
        };
        let named = |j: usize| match &table.columns {
            Some(names) => options.classes.contains(&names[j]),
            None => options.classes.contains(&j.to_string()),
        };
        if let Some(j) = (0..table.words.len()).find(|j| !table.words[*j].is_empty() && !named(*j)) {
            let column = words::column(table.columns.as_deref(), j);
            let problem = format!("{column} of {name} has text, expected numbers");
            return Err(Error::invalid(problem, "leave the column out, or name it in `data.condition`"));
        }
        Ok((table, context, weights))
    }
}

/// The table without these columns.
fn without(table: Table, drop: &[usize]) -> Result<Table> {
    let left: Vec<usize> = (0..table.d).filter(|j| !drop.contains(j)).collect();
    if left.is_empty() {
        return Err(Error::invalid("no column is left", "leave out fewer columns"));
    }
    Ok(with(table, &left))
}

/// The table of these columns, in this order; a part of an image is not an image.
fn with(table: Table, left: &[usize]) -> Table {
    let at = |i: usize| left.iter().map(move |j| (i, *j));
    let x: Vec<f64> = (0..table.n).flat_map(at).map(|(i, j)| table.x.at(i * table.d + j)).collect();
    let shape = table.shape.filter(|_| left.iter().copied().eq(0..table.d));
    Table {
        columns: table.columns.as_ref().map(|names| left.iter().map(|j| names[*j].clone()).collect()),
        numbers: left.iter().map(|j| table.numbers[*j]).collect(),
        words: words_at(&table.words, left),
        d: left.len(),
        x: x.into(),
        shape,
        ..table
    }
}

/// Refuses infinities, and NaN unless cells may be `missing`, by the first of them. `numbers` are those of the columns.
fn check_finite(
    name: &str,
    x: &Numbers,
    d: usize,
    numbers: &[usize],
    columns: Option<&[String]>,
    missing: bool,
) -> Result<()> {
    let Numbers::F64(x) = x else { return Ok(()) };
    let refused = |v: &f64| !(v.is_finite() || (missing && v.is_nan()));
    let Some(i) = x.iter().position(refused) else { return Ok(()) };
    let column = columns.map_or_else(|| numbers[i % d].to_string(), |names| format!("`{}`", names[i % d]));
    let problem = format!("row {} of {name} has {} in column {column}", i / d, x[i]);
    let hint = format!("{}; rows and columns are counted from 0", words::leave_out(x[i]));
    Err(Error::invalid(problem, hint))
}
