//! Data sets whose rows may have missing cells: those without, and how many there are.

use super::{Dataset, Numbers, Rows, Source, Split};

/// Whether a cell is missing, and whether all are, row by row of `x` (`[n, d]`).
pub(super) fn gaps(x: &Numbers, d: usize) -> Vec<(bool, bool)> {
    let Numbers::F64(x) = x else { return Vec::new() };
    x.chunks_exact(d.max(1)).map(|row| (row.iter().any(|v| v.is_nan()), row.iter().all(|v| v.is_nan()))).collect()
}

impl Dataset {
    /// Whether a row has a missing cell, which is NaN.
    pub fn has_gaps(&self) -> bool {
        let sets = [self.training_rows(), Some(&self.valid), Some(&self.test)];
        sets.into_iter().flatten().any(|rows| gaps(&rows.x, self.dim).iter().any(|(any, _)| *any))
    }

    /// The data set without its rows with a missing cell; each set keeps the order of its others.
    #[must_use]
    pub fn without_gaps(self) -> Self {
        if !self.has_gaps() {
            return self;
        }
        let d = self.dim;
        let kept = |rows: &Rows| -> Vec<usize> {
            gaps(&rows.x, d).iter().enumerate().filter(|(_, (any, _))| !any).map(|(i, _)| i).collect()
        };
        let places = |all: &[usize], kept: &[usize]| kept.iter().filter_map(|i| all.get(*i).copied()).collect();
        let (valid, test) = (kept(&self.valid), kept(&self.test));
        let train = self.training_rows().map(kept).unwrap_or_default();
        let places = self.places.as_ref().map(|all| Split {
            train: places(&all.train, &train),
            valid: places(&all.valid, &valid),
            test: places(&all.test, &test),
        });
        let source = match self.train {
            Source::Rows(rows) => Source::Rows(rows.pick(d, &train)),
            toy => toy,
        };
        Self { train: source, valid: self.valid.pick(d, &valid), test: self.test.pick(d, &test), places, ..self }
    }
}
