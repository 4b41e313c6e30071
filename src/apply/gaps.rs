//! Rows with a missing cell among others: nothing is computed for them, and their results are NaN.

use crate::transform::Cost;

/// Which of n rows have all their cells. A missing cell is NaN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gaps {
    /// The rows without a missing cell, rising.
    kept: Vec<usize>,
    n: usize,
}

impl Gaps {
    /// Of rows `x` (`[n, d]`) under `condition` (`[n, c]`, or nothing); none where no cell is missing.
    pub fn of(x: &[f64], d: usize, condition: &[f64]) -> Option<Self> {
        if !x.iter().chain(condition).any(|v| v.is_nan()) {
            return None;
        }
        let n = x.len() / d.max(1);
        let c = condition.len() / n.max(1);
        let whole = |rows: &[f64], width: usize, row: usize| !rows[row * width..][..width].iter().any(|v| v.is_nan());
        let kept = (0..n).filter(|row| whole(x, d, *row) && whole(condition, c, *row)).collect();
        Some(Self { kept, n })
    }

    /// n.
    pub fn rows(&self) -> usize {
        self.n
    }

    /// The rows without a missing cell, rising.
    pub fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// The rows with a missing cell, rising.
    pub fn lacking(&self) -> Vec<usize> {
        (0..self.n).filter(|row| self.kept.binary_search(row).is_err()).collect()
    }

    /// How many rows have a missing cell.
    pub fn missing(&self) -> usize {
        self.n - self.kept.len()
    }

    /// The rows without a missing cell of `[n, width]`.
    pub fn pick(&self, rows: &[f64]) -> Vec<f64> {
        let width = rows.len() / self.n.max(1);
        self.kept.iter().flat_map(|row| &rows[row * width..][..width]).copied().collect()
    }

    /// Results `[m, width]` of the rows without a missing cell in the places of these, `[n, width]`; NaN in the others.
    pub fn spread(&self, results: &[f64], width: usize) -> Vec<f64> {
        let mut all = vec![f64::NAN; self.n * width];
        for (row, result) in self.kept.iter().zip(results.chunks_exact(width.max(1))) {
            all[row * width..][..width].copy_from_slice(result);
        }
        all
    }

    /// What all rows took, where those without a missing cell took this.
    pub fn spread_cost(&self, cost: Cost) -> Cost {
        let counts = |counts: Vec<u32>| -> Vec<u32> {
            if counts.is_empty() {
                return counts;
            }
            let mut all = vec![0; self.n];
            self.kept.iter().zip(counts).for_each(|(row, count)| all[*row] = count);
            all
        };
        let errors = |errors: Vec<f64>| if errors.is_empty() { errors } else { self.spread(&errors, 1) };
        Cost {
            nfe: counts(cost.nfe),
            traces: counts(cost.traces),
            logdet_error: errors(cost.logdet_error),
            logdet_se: errors(cost.logdet_se),
            failures: cost.failures.into_iter().map(|(row, failure)| (self.kept[row], failure)).collect(),
            outside: cost.outside.into_iter().map(|row| self.kept[row]).collect(),
            unsettled: cost.unsettled,
            stiff: cost.stiff,
        }
    }

    /// What the rows without a missing cell took: the other way of [`Gaps::spread_cost`].
    pub fn pick_cost(&self, cost: &Cost) -> Cost {
        let counts = |counts: &[u32]| self.kept.iter().filter_map(|row| counts.get(*row)).copied().collect();
        let errors = |errors: &[f64]| self.kept.iter().filter_map(|row| errors.get(*row)).copied().collect();
        let place = |row: &usize| self.kept.binary_search(row).ok();
        Cost {
            nfe: counts(&cost.nfe),
            traces: counts(&cost.traces),
            logdet_error: errors(&cost.logdet_error),
            logdet_se: errors(&cost.logdet_se),
            failures: cost.failures.iter().filter_map(|(row, failure)| Some((place(row)?, *failure))).collect(),
            outside: cost.outside.iter().filter_map(place).collect(),
            unsettled: cost.unsettled,
            stiff: cost.stiff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    #[test]
    fn what_is_picked_and_spread_stays_in_its_row() {
        let nan = f64::NAN;
        let x = [0.0, 1.0, nan, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(Gaps::of(&x[4..], 2, &[1.0, 2.0]), None);
        let gaps = Gaps::of(&x, 2, &[0.0, 1.0, nan, 3.0]).unwrap();
        assert_eq!((gaps.kept(), gaps.missing(), gaps.rows()), (&[0, 3][..], 2, 4));
        assert_eq!(gaps.pick(&x), [0.0, 1.0, 6.0, 7.0]);
        let bits = |rows: &[f64]| rows.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&gaps.spread(&[1.0, 2.0], 1)), bits(&[1.0, nan, nan, 2.0]));
        let cost = Cost {
            nfe: vec![5, 6],
            logdet_error: vec![0.1, 0.2],
            failures: vec![(1, Failure::Overflow)],
            outside: vec![0],
            stiff: 1,
            ..Cost::default()
        };
        let all = gaps.spread_cost(cost.clone());
        assert_eq!((&all.nfe[..], &all.traces[..], &all.outside[..]), (&[5, 0, 0, 6][..], &[][..], &[0][..]));
        assert_eq!(all.failures, [(3, Failure::Overflow)]);
        let again = gaps.pick_cost(&all);
        assert_eq!((again.nfe, again.failures, again.outside), (cost.nfe, cost.failures, cost.outside));
        // Where each row has one, nothing is left.
        let none = Gaps::of(&[nan], 1, &[]).unwrap();
        assert!(none.kept().is_empty() && none.spread(&[], 3).iter().all(|v| v.is_nan()));
    }
}
