//! Which columns of a table are used, and in which order.
//!
//! A column is called by its name, or by its number from 0 as the file has it; a name goes before a number.

use crate::words::count;
use crate::{Error, Result};

/// The columns of a table that are used: all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    /// Those that are used, in this order; all where it is empty.
    pub keep: Vec<String>,
    /// Those that are left out; they may hold text.
    pub drop: Vec<String>,
    /// Those that are used too where `keep` names some, behind them: each by the first of its names that the file has.
    pub also: Vec<Vec<String>>,
}

/// The place of a column among those with these names and numbers.
fn place(text: &str, names: Option<&[String]>, numbers: &[usize]) -> Option<usize> {
    let named = names.and_then(|names| names.iter().position(|known| known == text));
    named.or_else(|| text.parse().ok().and_then(|number: usize| numbers.iter().position(|at| *at == number)))
}

impl Pick {
    /// All columns but these.
    pub fn without(drop: Vec<String>) -> Self {
        Self { drop, ..Self::default() }
    }

    /// The places of the columns that are used, among those with these `names` and `numbers` in the file; `unknown` is the
    /// error for one that is not there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a column that is named twice, kept and dropped, or whose name is that of two, for an order
    /// that cannot be found again, and where none is left.
    pub(crate) fn places(
        &self,
        names: Option<&[String]>,
        numbers: &[usize],
        unknown: &dyn Fn(&str) -> Error,
    ) -> Result<Vec<usize>> {
        let one = |text: &String| {
            let at = place(text, names, numbers).ok_or_else(|| unknown(text))?;
            let twice = |names: &&[String]| names.iter().filter(|known| *known == text).count() > 1;
            match names.filter(twice) {
                None => Ok(at),
                Some(_) => {
                    let problem = format!("it has several columns called `{text}`");
                    Err(Error::invalid(problem, "give each column its own name"))
                }
            }
        };
        let dropped = self.drop.iter().map(one).collect::<Result<Vec<usize>>>()?;
        if self.keep.is_empty() {
            let left: Vec<usize> = (0..numbers.len()).filter(|at| !dropped.contains(at)).collect();
            if left.is_empty() {
                let problem = format!("no column is left: {} dropped", count(numbers.len() as u64, "column"));
                return Err(Error::invalid(problem, "drop fewer columns"));
            }
            return Ok(left);
        }
        let mut kept = Vec::with_capacity(self.keep.len());
        for text in &self.keep {
            let at = one(text)?;
            if kept.contains(&at) {
                return Err(Error::invalid(format!("`data.keep` has the column `{text}` twice"), "name it once"));
            }
            if dropped.contains(&at) {
                let problem = format!("the column `{text}` is both kept and dropped");
                return Err(Error::invalid(problem, "name it in `data.keep` or in `data.drop`"));
            }
            kept.push(at);
        }
        if names.is_none() && is_reordered(&kept) {
            return Err(Error::invalid(
                format!("`data.keep` {} only brings columns without names into another order", self.keep.join(",")),
                "give the numbers in rising order, or names: the order of files that come later would be unknown",
            ));
        }
        let also = self.also.iter().filter_map(|texts| texts.iter().find_map(|text| place(text, names, numbers)));
        for at in also {
            if !kept.contains(&at) {
                kept.push(at);
            }
        }
        Ok(kept)
    }

    /// Whether the column of this number is surely not used: its cells decide nothing.
    pub(super) fn skips(&self, number: usize) -> bool {
        let is = |text: &String| text.parse() == Ok(number);
        let numbered = !self.keep.is_empty() && self.keep.iter().all(|text| text.parse::<usize>().is_ok());
        let used = || self.keep.iter().chain(self.also.iter().flatten()).any(is);
        self.drop.iter().any(is) || (numbered && !used())
    }
}

/// Whether these are the first columns in another order than their own. A later file of as many columns may be the table
/// itself, or one with the columns of the model.
fn is_reordered(places: &[usize]) -> bool {
    let rising = places.windows(2).all(|pair| pair[0] < pair[1]);
    !rising && places.iter().all(|at| *at < places.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn found(keep: &str, drop: &str, also: &str, names: Option<&str>) -> Result<Vec<usize>> {
        let names = names.map(texts);
        let also = texts(also).into_iter().map(|text| vec![text.clone(), text.replace(":class", "")]).collect();
        let pick = Pick { keep: texts(keep), drop: texts(drop), also };
        let unknown = |name: &str| Error::Unknown { kind: "column", name: name.into(), known: String::new() };
        // The first column of the file has the labels of the rows.
        pick.places(names.as_deref(), &[1, 2, 3, 4], &unknown)
    }

    #[test]
    fn columns_are_kept_in_the_order_in_which_they_are_named() {
        let names = Some("a b c 1");
        for (keep, drop, also, places) in [
            ("", "", "", &[0, 1, 2, 3][..]),
            ("", "b 4", "", &[0, 2]),
            ("c a", "", "", &[2, 0]),
            // A name goes before a number, and a number is that in the file.
            ("1 2", "", "", &[3, 1]),
            ("c a", "b", "", &[2, 0]),
            ("c a", "", "b:class a x:class", &[2, 0, 1]),
        ] {
            assert_eq!(found(keep, drop, also, names).unwrap(), places, "{keep}; {drop}; {also}");
        }
        assert_eq!(found("4 2", "", "", None).unwrap(), [3, 1]);
        for (keep, drop, names, part) in [
            ("c c", "", names, "twice"),
            ("c", "c", names, "both kept and dropped"),
            ("c", "x", names, "unknown column `x`"),
            ("5", "", names, "unknown column `5`"),
            ("a", "", Some("a b a c"), "several columns called `a`"),
            ("", "1 2 3 4", None, "no column is left: 4 columns dropped"),
            ("2 1", "", None, "another order"),
        ] {
            let error = found(keep, drop, "", names).unwrap_err();
            assert!(error.to_string().contains(part) && error.hint().is_some(), "{keep}; {drop}: {error}");
        }
    }

    #[test]
    fn columns_that_are_surely_not_used_decide_nothing() {
        let pick =
            |keep: &str, drop: &str| Pick { keep: texts(keep), drop: texts(drop), also: vec![texts("3:class 3")] };
        let skipped = |pick: Pick| (0..5).filter(|at| pick.skips(*at)).collect::<Vec<_>>();
        assert!(skipped(pick("", "")).is_empty());
        assert_eq!(skipped(pick("", "1 a")), [1]);
        assert_eq!(skipped(pick("0 2", "")), [1, 4]);
        assert!(skipped(pick("0 a", "")).is_empty());
    }
}
