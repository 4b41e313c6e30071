//! Columns of one table found in another by their names.
//!
//! A model keeps the names of the columns that it was trained on. A table that comes in later may have the same columns
//! in another order, or more of them: columns are matched by name, not by place. Where one of the two has no names, the
//! order counts.

use crate::{Error, Result};

/// More names than this are counted, not listed.
const MOST_LISTED: usize = 12;

/// The columns of a table, as errors and notes call them.
#[derive(Clone, Copy, Debug)]
pub struct NamedTable<'a> {
    /// The table, such as `` `x.csv` ``.
    pub table: &'a str,
    /// The names of its columns.
    pub names: &'a [String],
    /// What to do where one is missing.
    pub hint: &'a str,
}

impl<'a> NamedTable<'a> {
    /// Of the file that holds the points, or conditions alone.
    pub fn of_file(table: &'a str, names: &'a [String]) -> Self {
        Self { table, names, hint: "rename its columns, or remove its header so that the order counts" }
    }
}

/// The columns of a table that are wanted, in the order in which they are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Of each wanted column its place in the table.
    pub places: Vec<usize>,
    /// The names of the table's columns that are not used.
    pub left_out: Vec<String>,
}

impl Matched {
    /// The first `cols` columns as they are.
    pub fn in_order(cols: usize) -> Self {
        Self { places: (0..cols).collect(), left_out: Vec::new() }
    }

    /// The columns called `wanted`; `of` is whose they are, such as "the model".
    ///
    /// # Errors
    /// [`Error::Invalid`] with all names where one is missing, or is that of two columns.
    pub fn by_name(header: NamedTable<'_>, wanted: &[String], of: &str) -> Result<Self> {
        let NamedTable { table, names, hint } = header;
        if names == wanted {
            return Ok(Self::in_order(names.len()));
        }
        let twice = |all: &[String]| all.iter().enumerate().find(|(i, name)| all[..*i].contains(name)).map(|(i, _)| i);
        if let Some(i) = twice(wanted) {
            let problem = format!(
                "{of} has two columns called `{}`, so that the columns {} of {table} cannot be matched by name",
                wanted[i],
                list(names)
            );
            return Err(Error::invalid(problem, format!("give exactly the columns {}", list(wanted))));
        }
        let missing: Vec<String> = wanted.iter().filter(|name| !names.contains(name)).cloned().collect();
        if !missing.is_empty() {
            let s = if missing.len() == 1 { "" } else { "s" };
            let (lost, has, wants) = (list(&missing), list(names), list(wanted));
            let problem = format!("{table} has no column{s} {lost}: it has {has}, and {of} has {wants}");
            return Err(Error::invalid(problem, hint));
        }
        if let Some(name) = wanted.iter().find(|name| names.iter().filter(|other| other == name).count() > 1) {
            let problem = format!("{table} has more than one column called `{name}`: it has {}", list(names));
            return Err(Error::invalid(problem, "give each column its own name, or remove all but one of them"));
        }
        let places = wanted.iter().filter_map(|name| names.iter().position(|other| other == name)).collect();
        let left_out = names.iter().filter(|name| !wanted.contains(name)).cloned().collect();
        Ok(Self { places, left_out })
    }

    /// Whether they are all columns of a table of `cols`, in its own order.
    pub fn is_all_of(&self, cols: usize) -> bool {
        self.places.len() == cols && self.is_rising()
    }

    /// Whether they lie in the table in the order in which they are wanted.
    fn is_rising(&self) -> bool {
        self.places.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// These columns of rows of `cols` numbers.
    pub fn pick(&self, rows: &[f64], cols: usize) -> Vec<f64> {
        if self.is_all_of(cols) {
            return rows.to_vec();
        }
        rows.chunks_exact(cols).flat_map(|row| self.places.iter().map(|j| row[*j])).collect()
    }

    /// What was done to the columns of `header`, in words; `None` where they are already as wanted.
    pub fn note(&self, header: NamedTable<'_>) -> Option<String> {
        let order: Vec<String> = self.places.iter().filter_map(|j| header.names.get(*j)).cloned().collect();
        let reordered = (!self.is_rising()).then(|| format!("its columns are taken by name, as {}", list(&order)));
        let surplus = (!self.left_out.is_empty()).then(|| match self.left_out.len() {
            1 => format!("its column {} is left out", list(&self.left_out)),
            _ => format!("its columns {} are left out", list(&self.left_out)),
        });
        let words: Vec<String> = reordered.into_iter().chain(surplus).collect();
        (!words.is_empty()).then(|| format!("{}: {}", header.table, words.join("; ")))
    }
}

/// Names for messages: `a`, `b`, `c`; the first ones of many.
pub fn list(names: &[String]) -> String {
    let some = names.iter().take(MOST_LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_LISTED) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// Whether these are names that a file gave, not the numbers of columns that have none.
pub fn are_given(names: &[String]) -> bool {
    !names.is_empty() && !names.iter().all(|name| name.parse::<usize>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn matched(found: &str, wanted: &str) -> Result<Matched> {
        Matched::by_name(NamedTable::of_file("`x.csv`", &names(found)), &names(wanted), "the model")
    }

    #[test]
    fn columns_are_found_wherever_they_are() {
        // Every order of four columns, and a strange one at every place.
        let wanted = ["a", "b", "c", "d"];
        for order in 0..24 {
            let (mut rest, mut code, mut found) = (wanted.to_vec(), order, Vec::new());
            for left in (1..=4).rev() {
                found.push(rest.remove(code % left));
                code /= left;
            }
            for strange in 0..6 {
                let mut found = found.clone();
                if strange < 5 {
                    found.insert(strange, "e");
                }
                let one = matched(&found.join(" "), "a b c d").unwrap();
                let row: Vec<f64> = found.iter().map(|name| f64::from(name.as_bytes()[0])).collect();
                assert_eq!(one.pick(&row, found.len()), [97.0, 98.0, 99.0, 100.0], "{found:?}");
                assert_eq!(one.left_out.len(), usize::from(strange < 5), "{found:?}");
                let (found, kept) = (names(&found.join(" ")), order == 0 && strange == 5);
                let header = NamedTable::of_file("`x.csv`", &found);
                assert_eq!(one.note(header).is_none(), kept, "{found:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_or_twice_is_refused_with_the_names() {
        for (found, wanted, sentence) in [
            ("b c", "a b", "has no column `a`: it has `b`, `c`, and the model has `a`, `b`"),
            ("x y", "a b", "has no columns `a`, `b`"),
            ("a b a", "a b", "more than one column called `a`"),
            ("b a", "a a", "two columns called `a`"),
        ] {
            let refused = matched(found, wanted).unwrap_err();
            assert!(refused.to_string().contains(sentence) && refused.hint().is_some(), "{refused}");
        }
        // What is twice in both, and what is not used, does no harm.
        assert_eq!(matched("a a", "a a").unwrap(), Matched::in_order(2));
        assert_eq!(matched("b x x a", "a b").unwrap().places, [3, 0]);
    }

    #[test]
    fn numbers_of_columns_are_no_names() {
        assert!(are_given(&names("a 1")) && !are_given(&names("0 1")) && !are_given(&[]));
    }
}
