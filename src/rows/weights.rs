//! The weights of a table's rows: one of its columns, or a file with a number for each row.

use std::path::Path;

use super::{Split, Table, places};
use crate::io::{self, Dialect};
use crate::{Error, Result, stats, words};

/// What is done about a weight that is none.
const HINT: &str = "give weights of 0 or more: a row of weight 2 counts as two rows, one of weight 0 is left out";

/// Whether the text is the name of a file, not of a column.
pub(super) fn is_file(wanted: &str) -> bool {
    io::Format::of(Path::new(wanted)).is_some()
}

/// Takes the weights `wanted` out of a table: the column of that name (or number in its file, from 0), or the rows of
/// the file that is named. One number a row.
///
/// # Errors
/// [`Error::Unknown`] for a column that is not there; [`Error::Read`] for a file of other rows; [`Error::Invalid`] for
/// weights that are negative or not finite, and where no other column is left.
pub(super) fn take(wanted: &str, path: &Path, table: &mut Table, dialect: &Dialect) -> Result<Vec<f64>> {
    let file = Path::new(wanted);
    if is_file(wanted) {
        let io::Whole { array, shape, notes, .. } = io::read_as(file, dialect)?;
        if shape.is_some() || array.cols != 1 {
            let found = if shape.is_some() { "images".into() } else { words::count(array.cols as u64, "column") };
            return Err(Error::read(
                file,
                format!("it holds {found}, not one column of weights"),
                "give one weight a row",
            ));
        }
        let of_file = table.rows_of_file();
        if array.rows != of_file {
            let (found, rows) = (words::count(array.rows as u64, "weight"), words::count(of_file as u64, "row"));
            let problem = format!("it holds {found}, but `{}` has {rows}", path.display());
            return Err(Error::read(file, problem, "give one weight for each row of the data"));
        }
        table.notes.extend(notes);
        check(&array.data, &format!("`{wanted}`"))?;
        return Ok((0..table.n).map(|row| array.data[table.row_of_file(row)]).collect());
    }
    if table.shape.is_some() {
        let problem = format!("the weights `{wanted}`: images have no column of weights");
        return Err(Error::invalid(problem, "give a file with a weight for each image"));
    }
    let place = places(&[wanted.to_owned()], table.columns.as_deref(), &table.numbers)?;
    if table.d == 1 {
        let problem = format!("no column is left to model beside the weights `{wanted}`");
        return Err(Error::invalid(problem, "name another column in `data.weights`"));
    }
    let weights = table.take_columns(&place).0;
    check(&weights, &format!("column `{wanted}` of `{}`", path.display()))?;
    Ok(weights)
}

/// Refuses numbers that are no weights; `whose` they are.
pub(super) fn check(weights: &[f64], whose: &str) -> Result<()> {
    if let Some(row) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
        let why = if weights[row] < 0.0 { ": no density has negative weights" } else { "" };
        let problem =
            format!("row {row} (counted from 0) has the weight {} in {whose}{why}", words::exact(weights[row]));
        return Err(Error::invalid(problem, HINT));
    }
    if weights.iter().all(|w| *w == 0.0) {
        return Err(Error::invalid(format!("all weights in {whose} are 0"), HINT));
    }
    Ok(())
}

/// The weights as rows have them: rows of weight 0 leave the sets of `split`, and weights that are all equal are none.
/// What was done is added to `notes`.
///
/// # Errors
/// [`Error::Invalid`] where no training row is left.
pub(super) fn settled(weights: Vec<f64>, split: &mut Split, notes: &mut Vec<String>) -> Result<Vec<f64>> {
    let before = split.train.len() + split.valid.len() + split.test.len();
    for set in [&mut split.train, &mut split.valid, &mut split.test] {
        set.retain(|row| weights[*row] > 0.0);
    }
    let gone = before - (split.train.len() + split.valid.len() + split.test.len());
    if gone > 0 {
        let have = if gone == 1 { "has the weight 0 and is left out" } else { "have the weight 0 and are left out" };
        notes.push(format!("{} {have}", words::count(gone as u64, "row")));
    }
    let train: Vec<f64> = split.train.iter().map(|row| weights[*row]).collect();
    let Some(first) = train.first() else {
        return Err(Error::invalid("no row for training has a weight above 0", HINT));
    };
    let sets = [&split.train, &split.valid, &split.test];
    if sets.into_iter().flatten().all(|row| weights[*row] == *first) {
        notes.push("all weights are equal: each row counts alike".into());
        return Ok(Vec::new());
    }
    let rows = words::count(train.len() as u64, "training row");
    notes.push(format!("with their weights {rows} count as {:.1} equal ones", stats::effective(&train)));
    // In parts of the greatest, lest a sum leave the range.
    let most = weights.iter().copied().fold(0.0, f64::max);
    Ok(weights.into_iter().map(|w| w / most).collect())
}
