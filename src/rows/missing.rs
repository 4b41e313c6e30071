//! Rows with a missing cell: they are left out of a data set, or refused, or kept for models that can score the other cells.
//!
//! A missing cell is NaN in memory: an empty cell or NA of a text, NaN of an array, a null of Parquet or of a frame. Rows
//! are left out before a random split is drawn, so that a table with gaps is the table without these rows, to the bit.
//! To fill the cells in was refused: a density of filled-in values is that of another table.

use serde::{Deserialize, Serialize};

use crate::words::count;
use crate::{Error, Result};

/// What becomes of rows with a missing cell in a column that is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingRows {
    /// They are left out, with a note.
    #[default]
    Drop,
    /// The first of them is an error.
    Refuse,
    /// They are kept, for models that have an exact density of the other cells: Gaussians and mixtures of them.
    Marginal,
}

impl std::str::FromStr for MissingRows {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "drop" => Ok(Self::Drop),
            "refuse" => Ok(Self::Refuse),
            "marginal" => Ok(Self::Marginal),
            _ => Err(Error::Unknown {
                kind: "treatment of missing cells",
                name: text.into(),
                known: "drop, refuse, marginal".into(),
            }),
        }
    }
}

/// The rows of a file that are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Their numbers in the file, from 0, rising.
    pub rows: Vec<usize>,
    /// Of how many rows.
    pub of: usize,
}

/// Some columns of n rows.
pub(super) struct Columns<'a> {
    /// `[n, d]`, NaN where a cell is missing.
    pub x: &'a [f64],
    /// d.
    pub d: usize,
    /// The name of a column in words; none where its cells do not count.
    pub name: &'a dyn Fn(usize) -> Option<String>,
}

/// What is wrong with a table none of whose rows is left.
pub(super) struct NoneLeft {
    pub problem: String,
    pub hint: &'static str,
}

/// The rows of `n` without a missing cell, and a note on the others; none where no row has one. `whose` begins the note.
pub(super) fn left_of(
    whose: &str,
    n: usize,
    parts: &[Columns<'_>],
) -> std::result::Result<Option<(Left, String)>, NoneLeft> {
    let mut gone = vec![false; n];
    let mut columns: Vec<(String, u64)> = Vec::new();
    for Columns { x, d, name } in parts {
        for j in 0..*d {
            let Some(name) = name(j) else { continue };
            let mut missing = 0;
            for (row, value) in x.iter().skip(j).step_by(*d).enumerate() {
                if value.is_nan() {
                    missing += 1;
                    gone[row] = true;
                }
            }
            if missing > 0 {
                columns.push((name, missing));
            }
        }
    }
    let rows: Vec<usize> = (0..n).filter(|row| !gone[*row]).collect();
    if rows.len() == n {
        return Ok(None);
    }
    let most = most(columns);
    if rows.is_empty() {
        let problem = format!("each of its {} has a missing cell: {most}", count(n as u64, "row"));
        return Err(NoneLeft { problem, hint: "leave out the columns with missing cells, or fill the cells" });
    }
    let (gone, of) = ((n - rows.len()) as u64, count(n as u64, "row"));
    let (have, are) = if gone == 1 { ("has", "is") } else { ("have", "are") };
    let note = format!("{whose}: {gone} of {of} {have} a missing cell and {are} left out: {most}");
    Ok(Some((Left { rows, of: n }, note)))
}

/// Columns that are named in words.
const NAMED: usize = 3;

/// The columns with the most missing cells.
fn most(mut columns: Vec<(String, u64)>) -> String {
    columns.sort_by_key(|(_, missing)| std::cmp::Reverse(*missing));
    let named = columns.iter().take(NAMED).map(|(name, missing)| format!("{missing} in {name}"));
    let more = if columns.len() > NAMED { ", …" } else { "" };
    named.collect::<Vec<_>>().join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_once_and_columns_by_their_cells() {
        let nan = f64::NAN;
        let x = [1.0, nan, nan, nan, 5.0, 6.0, nan, 8.0];
        let c = [0.0, 0.0, nan, 0.0];
        let of_x = |j: usize| Some(format!("column {j}"));
        let of_c = |_: usize| Some("the condition".to_owned());
        let parts = |c| [Columns { x: &x, d: 2, name: &of_x }, Columns { x: c, d: 1, name: &of_c }];
        let found = left_of("`x`", 4, &parts(&c[..2])).ok().flatten().unwrap();
        assert_eq!(found.0, Left { rows: vec![2], of: 4 });
        assert_eq!(found.1, "`x`: 3 of 4 rows have a missing cell and are left out: 2 in column 0, 2 in column 1");
        let refused = left_of("`x`", 4, &parts(&c)).err().unwrap();
        assert!(refused.problem.contains("each of its 4 rows has a missing cell"), "{}", refused.problem);
        let whole = [Columns { x: &[1.0, 2.0], d: 2, name: &of_x }];
        assert!(left_of("`x`", 1, &whole).is_ok_and(|left| left.is_none()));
        // A column that does not count may hold anything.
        assert!(left_of("`x`", 4, &[Columns { x: &x, d: 2, name: &|_| None }]).is_ok_and(|left| left.is_none()));
    }
}
