//! A data set of rows that are in memory, as a program that calls the library has them.
//!
//! It is split as a file of the same rows would be: the same seed gives the same sets.

use std::path::Path;

use cnflow_kernels::ImageShape;

use super::table::{by_codes, code};
use super::{Context, DataOptions, Dataset, Numbers, Rows, Split, SplitRule, Table, of_table, places};
use crate::io::{Header, Layout, Plan, plan};
use crate::{Error, Result};

/// A context and its values, `[n, c]`.
type Given = (Context, Vec<f64>);

/// Rows in memory, row-major.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What errors call them.
    pub name: String,
    /// `[n, dim]`; bytes where rows are images.
    pub x: Numbers,
    /// d, with the columns that become the context.
    pub dim: usize,
    /// The shape of a row, where rows are images.
    pub shape: Option<ImageShape>,
    /// The names of the columns.
    pub columns: Option<Vec<String>>,
    /// A context that is not among the columns, and its values, `[n, c]`.
    pub context: Option<Given>,
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
    /// [`Error::Invalid`] for numbers that are not finite or rows that do not fit; as [`resolve`](super::resolve).
    pub fn dataset(self, options: &DataOptions, seed: u64, valid: Option<Self>) -> Result<Dataset> {
        let name = self.name.clone();
        let (mut table, context) = self.table(options)?;
        if let Some(valid) = valid {
            let (other, given) = valid.table(options)?;
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
            let held_out =
                Rows { x: other.x, context: given.map_or(Vec::new(), |(_, values)| values), weight: Vec::new() };
            return Ok(Dataset { valid: held_out, places: None, ..of_table(&name, table, context) });
        }
        let path = Path::new(&name);
        if let SplitRule::Column(column) = &options.table.split {
            let problem = || format!("{name} have no column `{column}` for the split");
            let names = table.columns.as_deref().unwrap_or_default();
            let j = names.iter().position(|known| known == column);
            let j = j.ok_or_else(|| Error::invalid(problem(), "name a column of the frame, or give shares"))?;
            let codes: Vec<_> = (0..table.n).map(|row| table.x.at(row * table.d + j)).collect();
            let codes: Vec<_> = codes.iter().map(|v| code(*v).ok_or_else(|| v.to_string())).collect();
            let split = by_codes(path, &format!("column `{column}`"), &codes, &|row| format!("row {row}"))?;
            let table = Table { split, ..without(table, &[j])? };
            return Ok(of_table(&name, table, context));
        }
        let table = table.divided(path, &options.table, seed)?;
        Ok(of_table(&name, table, context))
    }

    /// The table without its columns that are left out, and the context.
    fn table(self, options: &DataOptions) -> Result<(Table, Option<Given>)> {
        let Self { name, x, dim: d, shape, columns, context } = self;
        if d == 0 || !x.len().is_multiple_of(d) {
            let found = x.len() % d.max(1);
            return Err(Error::Dimension { what: format!("the last row of {name}"), expected: d, found });
        }
        let n = x.len() / d;
        check_finite(&name, &x, d, columns.as_deref())?;
        let numbers = (0..d).collect();
        let mut table = Table { columns, x, n, d, shape, numbers, split: Split::default(), notes: Vec::new() };
        if !options.table.drop.is_empty() {
            let drop = places(&options.table.drop, table.columns.as_deref(), &table.numbers)?;
            table = without(table, &drop)?;
        }
        let path = Path::new(&name);
        let context = match context {
            None => Context::take(&options.condition, path, &mut table, Header::Auto)?,
            Some((given, values)) => {
                if values.len() != n * given.dim {
                    let rows = values.len() / given.dim.max(1);
                    let problem = format!("there are {rows} rows of conditions for {n} rows of {name}");
                    return Err(Error::invalid(problem, "give one row of conditions for each row"));
                }
                let names = Some(&given.columns[..]).filter(|names| !names.is_empty());
                check_finite("the conditions", &Numbers::F64(values.clone()), given.dim, names)?;
                Some((given, values))
            }
        };
        Ok((table, context))
    }
}

/// The table without these columns.
fn without(table: Table, drop: &[usize]) -> Result<Table> {
    let left: Vec<usize> = (0..table.d).filter(|j| !drop.contains(j)).collect();
    if left.is_empty() {
        return Err(Error::invalid("no column is left", "leave out fewer columns"));
    }
    let at = |i: usize| left.iter().map(move |j| (i, *j));
    let x: Vec<f64> = (0..table.n).flat_map(at).map(|(i, j)| table.x.at(i * table.d + j)).collect();
    Ok(Table {
        columns: table.columns.as_ref().map(|names| left.iter().map(|j| names[*j].clone()).collect()),
        numbers: left.iter().map(|j| table.numbers[*j]).collect(),
        d: left.len(),
        x: x.into(),
        ..table
    })
}

/// Refuses NaN and infinities, by the first of them.
fn check_finite(name: &str, x: &Numbers, d: usize, columns: Option<&[String]>) -> Result<()> {
    let Numbers::F64(numbers) = x else { return Ok(()) };
    let Some(i) = numbers.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let column = columns.map_or_else(|| (i % d).to_string(), |names| format!("`{}`", names[i % d]));
    let problem = format!("row {} of {name} has {} in column {column}", i / d, numbers[i]);
    let hint = format!("{}; rows and columns are counted from 0", crate::words::leave_out(numbers[i]));
    Err(Error::invalid(problem, hint))
}
