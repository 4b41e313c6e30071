//! Rows as they travel from files to training, scores and checks: points, their context, and how much each counts.

use std::borrow::Cow;
use std::ops::Range;

use crate::io::Numbers;
use crate::stats::counts_by_weight;

/// Rows of a data set, row-major.
///
/// n is the number of rows, d the columns of a point, c those of its context. d is the data set's; where there are
/// rows, c follows from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Points, `[n, d]`, in the units of the data; images are bytes.
    pub x: Numbers,
    /// The context of each point, `[n, c]`; empty without one.
    pub context: Vec<f64>,
    /// The weight of each row, `[n]`; empty where each counts 1.
    pub weight: Vec<f64>,
}

impl Rows {
    /// Points `[n, d]` without a context.
    pub fn new(x: Vec<f64>) -> Self {
        Self { x: x.into(), ..Self::default() }
    }

    /// Points `[n, d]`, each with a row of the context `[n, c]`.
    pub fn under(x: Vec<f64>, context: Vec<f64>) -> Self {
        Self { x: x.into(), context, ..Self::default() }
    }

    /// The points as f64.
    pub fn points(&self) -> Cow<'_, [f64]> {
        self.x.all()
    }

    /// The points of some rows as f64; `d` as in [`Rows::count`].
    ///
    /// # Panics
    /// Behind the last row, as a slice does.
    pub fn part(&self, d: usize, rows: Range<usize>) -> Cow<'_, [f64]> {
        self.x.part(rows.start * d..rows.end * d)
    }

    /// n, for points of `d` columns.
    pub fn count(&self, d: usize) -> usize {
        self.x.len() / d.max(1)
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }

    /// c, for points of `d` columns; 0 where there are no rows.
    pub fn context_dim(&self, d: usize) -> usize {
        self.context.len().checked_div(self.count(d)).unwrap_or(0)
    }

    /// The rows of these numbers, in this order; `d` as in [`Rows::count`].
    #[must_use]
    pub fn pick(&self, d: usize, rows: &[usize]) -> Self {
        let of = |all: &[f64], width: usize| -> Vec<f64> {
            // Without a width nothing is taken, and no row is looked for.
            let taken = if width == 0 { &[][..] } else { rows };
            taken.iter().flat_map(|i| &all[i * width..(i + 1) * width]).copied().collect()
        };
        Self {
            x: self.x.pick(d, rows),
            context: of(&self.context, self.context_dim(d)),
            weight: of(&self.weight, usize::from(!self.weight.is_empty())),
        }
    }

    /// At most `most` rows, evenly taken.
    #[must_use]
    pub fn evenly(&self, d: usize, most: usize) -> Self {
        let n = self.count(d);
        let count = n.min(most);
        self.pick(d, &(0..count).map(|i| i * n / count).collect::<Vec<_>>())
    }

    /// The first rows, at most `most`.
    #[must_use]
    pub fn first(&self, d: usize, most: usize) -> Self {
        self.pick(d, &(0..self.count(d).min(most)).collect::<Vec<_>>())
    }

    /// As many rows that count alike, each as often as it weighs, rounded: what stands for them where weights have no
    /// place, as in a picture. The rows themselves where none have weights.
    #[must_use]
    pub fn by_weight(&self, d: usize) -> Self {
        if self.weight.is_empty() {
            return self.clone();
        }
        self.drawn(d, self.count(d) as f64)
    }

    /// As [`Rows::by_weight`], but with no row twice, and so fewer rows, Σ w / max w of them: copies would be neighbours
    /// of each other.
    #[must_use]
    pub fn thinned(&self, d: usize) -> Self {
        if self.weight.is_empty() {
            return self.clone();
        }
        let most = self.weight.iter().copied().fold(0.0, f64::max);
        self.drawn(d, self.weight.iter().map(|w| w / most).sum())
    }

    /// About `total` rows that count alike.
    fn drawn(&self, d: usize, total: f64) -> Self {
        let counts = counts_by_weight(&self.weight, total, 0.5);
        let drawn = counts.iter().enumerate().flat_map(|(row, count)| std::iter::repeat_n(row, *count as usize));
        Self { weight: Vec::new(), ..self.pick(d, &drawn.collect::<Vec<_>>()) }
    }

    /// The rows but for those of the numbers `gone`, which rise.
    #[must_use]
    pub fn without(&self, d: usize, gone: &[usize]) -> Self {
        let kept = |i: &usize| gone.binary_search(i).is_err();
        self.pick(d, &(0..self.count(d)).filter(kept).collect::<Vec<_>>())
    }
}

impl From<Vec<f64>> for Rows {
    fn from(x: Vec<f64>) -> Self {
        Self::new(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let x = (0..10).map(f64::from).collect::<Vec<_>>().into();
        Rows { x, context: vec![0.0, 1.0, 2.0, 3.0, 4.0], weight: vec![5.0, 6.0, 7.0, 8.0, 9.0] }
    }

    #[test]
    fn a_row_keeps_its_context_and_its_weight_through_every_cut() {
        let all = rows();
        assert_eq!((all.count(2), all.context_dim(2)), (5, 1));
        let cuts = [
            (all.pick(2, &[4, 0]), vec![4, 0]),
            (all.evenly(2, 2), vec![0, 2]),
            (all.evenly(2, 9), vec![0, 1, 2, 3, 4]),
            (all.first(2, 3), vec![0, 1, 2]),
            (all.without(2, &[1, 3]), vec![0, 2, 4]),
            (all.without(2, &[0, 1, 2, 3, 4]), vec![]),
        ];
        for (cut, kept) in cuts {
            let of = |from: f64| kept.iter().map(|i| from + f64::from(*i)).collect::<Vec<f64>>();
            assert_eq!((&cut.context, &cut.weight), (&of(0.0), &of(5.0)), "{kept:?}");
            assert_eq!(
                cut.points(),
                kept.iter().flat_map(|i| [f64::from(2 * i), f64::from(2 * i + 1)]).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn rows_by_their_weights_count_alike() {
        let all = Rows { weight: vec![1.0, 0.2, 3.0, 0.2, 0.6], ..rows() };
        let drawn = all.by_weight(2);
        assert_eq!((drawn.count(2), drawn.weight.len()), (5, 0));
        assert_eq!(drawn.context, [0.0, 2.0, 2.0, 2.0, 4.0]);
        // Σ w / max w = 5/3.
        assert_eq!(all.thinned(2).context, [2.0, 4.0]);
        let plain = Rows { weight: Vec::new(), ..rows() };
        assert_eq!((plain.by_weight(2), plain.thinned(2)), (plain.clone(), plain));
    }

    #[test]
    fn rows_without_a_context_have_none_after_a_cut() {
        let cut = Rows::new(vec![1.0, 2.0, 3.0, 4.0]).pick(2, &[1]);
        assert_eq!(cut, Rows::new(vec![3.0, 4.0]));
        assert_eq!((Rows::default().context_dim(2), Rows::default().count(2)), (0, 0));
        assert_eq!(Rows::default().evenly(2, 5), Rows::default());
    }
}
