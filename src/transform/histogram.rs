//! A table of probabilities in one or two dimensions: a baseline density without training.
//!
//! p(x) = p_i/w in the i-th bin of width w; in two dimensions p(x₁) p(x₂ | the bin of x₁). As a bijection it is
//! Rosenblatt's: u_j = Φ(z_j) column by column, and x_j where the conditional distribution function, straight lines and
//! exponential tails, reaches u_j. In a tail of the first column there are no rows to condition on, and the second has
//! its marginal.  Ref: Rosenblatt (1952).
//!
//! Bins are of equal width, so that one number a column describes them; bins of equal mass follow the data more
//! closely, but their widths are then fitted too, and change with every new row.

pub(crate) mod law;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bijection::check_rows;
use super::normal::log_pdf;
use super::{Bijection, Cost, Mapped};
use crate::{Error, Result};
use law::{Axis, Law, Place};

/// Rows that one task takes at the least: results do not depend on it.
const CHUNK: usize = 256;

/// What lies beyond one end of a column: density (share/scale) e^(−distance/scale).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Its probability, in [0, 1); with 0 what lies there is outside the support.
    pub share: f64,
    /// The mean distance from the end, above 0, in the column's units.
    pub scale: f64,
}

impl Tail {
    /// Nothing lies there.
    pub const NONE: Self = Self { share: 0.0, scale: 1.0 };
}

/// Probabilities of the bins of one or two columns, and the tails beyond; the map from z ~ N(0, I) to that density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Histogram {
    parts: Parts,
    axes: Vec<Axis>,
    /// Of the first column.
    first: Law,
    /// Of the second, given each bin of the first; the last is its marginal. None in one dimension.
    second: Vec<Law>,
}

/// What a table is made of, as text would hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    range: Vec<[f64; 2]>,
    bins: Vec<usize>,
    probabilities: Vec<f64>,
    tails: Vec<[Tail; 2]>,
}

impl TryFrom<Parts> for Histogram {
    type Error = Error;

    fn try_from(Parts { range, bins, probabilities, tails }: Parts) -> Result<Self> {
        Self::new(range, bins, probabilities)?.with_tails(tails)
    }
}

impl From<Histogram> for Parts {
    fn from(histogram: Histogram) -> Self {
        histogram.parts
    }
}

impl Histogram {
    /// Probabilities `[n₁]` or `[n₁, n₂]`, row-major, of `bins` bins of equal width over the range `[low, high]` of
    /// each column. They add up to 1 (within 1e-9; round-off is divided out); where one is 0 and beyond the range the
    /// density is
    /// 0. So it is at the two ends of the support themselves, which have no latent.
    ///
    /// # Errors
    /// [`Error::Invalid`] for other than one or two columns, lengths that do not fit, a range without a width, bins
    /// narrower than an f64 resolves, a probability that is negative or no number, or a sum that is not 1.
    pub fn new(range: Vec<[f64; 2]>, bins: Vec<usize>, probabilities: Vec<f64>) -> Result<Self> {
        let wrong = |problem: String| {
            Error::invalid(
                problem,
                "give a range and a number of bins for each column, and probabilities [n1] or [n1, n2]",
            )
        };
        let d = range.len();
        check_columns(d)?;
        let cells = bins.iter().try_fold(1_usize, |cells, n| cells.checked_mul(*n));
        if bins.len() != d || cells != Some(probabilities.len()) {
            let given = probabilities.len();
            return Err(wrong(format!("{given} probabilities and bins {bins:?} for {d} columns make no table")));
        }
        if let Some(i) = probabilities.iter().position(|p| !(*p >= 0.0 && p.is_finite())) {
            return Err(wrong(format!("the probability of bin {i} is {}", probabilities[i])));
        }
        let total: f64 = probabilities.iter().sum();
        if (total - 1.0).abs() > 1e-9 {
            return Err(wrong(format!("the probabilities of a table must add up to 1, not to {total}")));
        }
        let axes = range.iter().zip(&bins).map(|(range, bins)| Axis::new(*range, *bins)).collect::<Result<_>>()?;
        Ok(Self::of(Parts { range, bins, probabilities, tails: vec![[Tail::NONE; 2]; d] }, axes))
    }

    /// The same table with these tails beyond each column, below and above: what is inside is scaled by 1 − both
    /// shares.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of columns, a share that is not in [0, 1) or two that leave nothing
    /// inside, a scale that is not a number above 0.
    pub fn with_tails(self, tails: Vec<[Tail; 2]>) -> Result<Self> {
        let hint = "give each column a tail below and one above, each with a share in [0, 1) and a scale above 0";
        if tails.len() != self.axes.len() {
            let problem = format!("tails of {} columns for a table of {}", tails.len(), self.axes.len());
            return Err(Error::invalid(problem, hint));
        }
        for (j, pair) in tails.iter().enumerate() {
            let sound = |tail: &Tail| tail.share >= 0.0 && tail.scale > 0.0 && tail.scale.is_finite();
            let inside = 1.0 - pair[0].share - pair[1].share;
            if !(pair.iter().all(sound) && inside > 0.0) {
                let [below, above] = pair.map(|tail| format!("{} (scale {})", tail.share, tail.scale));
                let problem = format!("column {j} of a table has tails of share {below} below and {above} above");
                return Err(Error::invalid(problem, hint));
            }
        }
        let axes = self.axes.into_iter().zip(&tails).map(|(axis, pair)| axis.with_tails(*pair)).collect();
        Ok(Self::of(Parts { tails, ..self.parts }, axes))
    }

    /// From sound parts.
    fn of(parts: Parts, axes: Vec<Axis>) -> Self {
        let p = &parts.probabilities;
        let (first, second) = match &axes[..] {
            [rows, columns] => {
                let n = parts.bins[1];
                let law = |weights: &[f64]| Law::new(weights, columns.tails());
                let marginal: Vec<f64> = (0..n).map(|j| p.iter().skip(j).step_by(n).sum()).collect();
                let sums: Vec<f64> = p.chunks_exact(n).map(|row| row.iter().sum()).collect();
                let laws = p.chunks_exact(n).chain(std::iter::once(&marginal[..])).map(law).collect();
                (Law::new(&sums, rows.tails()), laws)
            }
            axes => (Law::new(p, axes[0].tails()), Vec::new()),
        };
        Self { parts, axes, first, second }
    }

    /// d, 1 or 2.
    pub fn dim(&self) -> usize {
        self.axes.len()
    }

    /// `[low, high]` of each column, in its units.
    pub fn range(&self) -> &[[f64; 2]] {
        &self.parts.range
    }

    /// The number of bins of each column.
    pub fn bins(&self) -> &[usize] {
        &self.parts.bins
    }

    /// The probabilities inside, `[n₁]` or `[n₁, n₂]`, row-major, as given: they add up to 1 whatever the tails hold.
    pub fn probabilities(&self) -> &[f64] {
        &self.parts.probabilities
    }

    /// What lies below and above each column.
    pub fn tails(&self) -> &[[Tail; 2]] {
        &self.parts.tails
    }

    /// All its numbers, as named arrays with their shapes: range `[d, 2]`, tails `[d, 2, 2]` (below and above; share
    /// and scale), probabilities `[n₁]` or `[n₁, n₂]`. [`Histogram::from_tensors`] makes the same bits of them.
    pub fn to_tensors(&self) -> [(&'static str, Vec<usize>, Vec<f64>); 3] {
        let (d, Parts { range, bins, probabilities, tails }) = (self.dim(), &self.parts);
        let tails = tails.iter().flatten().flat_map(|tail| [tail.share, tail.scale]).collect();
        [
            ("range", vec![d, 2], range.concat()),
            ("tails", vec![d, 2, 2], tails),
            ("probabilities", bins.clone(), probabilities.clone()),
        ]
    }

    /// The table of the arrays of [`Histogram::to_tensors`]; `bins` is the shape of the probabilities.
    ///
    /// # Errors
    /// As [`Histogram::new`] and [`Histogram::with_tails`].
    pub fn from_tensors(range: &[f64], tails: &[f64], probabilities: &[f64], bins: &[usize]) -> Result<Self> {
        let d = bins.len();
        if range.len() != 2 * d || tails.len() != 4 * d {
            let (r, t) = (range.len(), tails.len());
            let problem = format!("{r} numbers of ranges and {t} of tails for a table of {d} columns");
            return Err(Error::invalid(problem, "give ranges as [d, 2] and tails as [d, 2, 2]"));
        }
        let tail = |t: &[f64]| Tail { share: t[0], scale: t[1] };
        let range = range.chunks_exact(2).map(|r| [r[0], r[1]]).collect();
        let tails = tails.chunks_exact(4).map(|t| [tail(&t[..2]), tail(&t[2..])]).collect();
        Self::new(range, bins.to_vec(), probabilities.to_vec())?.with_tails(tails)
    }

    /// The law of the column after one at this place, if any.
    fn law(&self, before: Option<Place>) -> &Law {
        match before {
            None => &self.first,
            Some(Place::Bin(i)) => &self.second[i],
            Some(Place::Below | Place::Above) => &self.second[self.second.len() - 1],
        }
    }

    /// Takes a row to its latent in place and gives ln p(x) and ln φ(z); none where it is outside the support.
    fn encode(&self, row: &mut [f64]) -> Option<(f64, f64)> {
        let (mut before, mut log_p, mut log_normal) = (None, 0.0, 0.0);
        for (x, axis) in row.iter_mut().zip(&self.axes) {
            let spot = self.law(before).spot(axis, *x)?;
            *x = spot.z();
            before = Some(spot.place);
            log_p += spot.log_p;
            log_normal += log_pdf(*x);
        }
        Some((log_p, log_normal))
    }

    /// bar ← ∂/∂x of ℓ(z) + ln|det ∂z/∂x| at a row, where bar is ∂ℓ/∂z; NaN outside the support. A bin that has an edge
    /// has its derivative there.
    pub(crate) fn pull_back(&self, row: &[f64], bar: &mut [f64]) {
        let mut before = None;
        for ((x, bar), axis) in row.iter().zip(bar).zip(&self.axes) {
            let spot = if x.is_nan() { None } else { self.law(before).spot(axis, *x) };
            let Some(spot) = spot else {
                *bar = f64::NAN;
                continue;
            };
            let (z, [below, above]) = (spot.z(), axis.tails());
            let by_density = match spot.place {
                Place::Below => 1.0 / below.scale,
                Place::Bin(_) => 0.0,
                Place::Above => -1.0 / above.scale,
            };
            *bar = (*bar + z) * (spot.log_p - log_pdf(z)).exp() + by_density;
            before = Some(spot.place);
        }
    }

    /// log p of the rows of `x`, `[n, d]` row-major, in nats: −∞ outside the support, NaN where a row holds NaN.
    pub fn log_prob_rows(&self, x: &[f64]) -> Vec<f64> {
        let one = |row: &[f64]| {
            if row.iter().any(|x| x.is_nan()) {
                return f64::NAN;
            }
            let mut before = None;
            let mut columns = row.iter().zip(&self.axes);
            let log_p = columns.try_fold(0.0, |sum, (x, axis)| {
                let spot = self.law(before).spot(axis, *x)?;
                before = Some(spot.place);
                Some(sum + spot.log_p)
            });
            log_p.unwrap_or(f64::NEG_INFINITY)
        };
        x.par_chunks_exact(self.dim()).with_min_len(CHUNK).map(one).collect()
    }

    /// Applies a map of single rows that gives log|det|, or nothing outside the support. A row that holds NaN, or
    /// becomes no number, is NaN.
    fn map(&self, rows: &mut Mapped, row: impl Fn(&mut [f64]) -> Option<f64> + Sync) {
        let one = |values: &mut [f64]| {
            let known = values.iter().all(|v| !v.is_nan());
            let logdet = if known { row(values) } else { Some(f64::NAN) };
            match logdet {
                Some(logdet) if logdet.is_finite() && values.iter().all(|v| v.is_finite()) => return logdet,
                _ => values.fill(f64::NAN),
            }
            logdet.map_or(f64::NEG_INFINITY, |_| f64::NAN)
        };
        let logdet: Vec<f64> = rows.y.par_chunks_exact_mut(self.dim()).with_min_len(CHUNK).map(one).collect();
        let outside = (0..logdet.len()).filter(|i| logdet[*i] == f64::NEG_INFINITY).collect();
        rows.add_logdet(logdet);
        rows.cost.merge(Cost { outside, ..Cost::default() });
    }
}

/// Refuses tables of other than one or two columns.
pub(crate) fn check_columns(d: usize) -> Result<()> {
    if (1..=2).contains(&d) {
        return Ok(());
    }
    let hint = "choose one or two columns: the bins of more are too many to fill";
    Err(Error::invalid(format!("a table of probabilities has one or two columns, not {d}"), hint))
}

impl Bijection for Histogram {
    fn dim(&self) -> usize {
        self.axes.len()
    }

    /// A latent that is not finite gives NaN. Without tails x stays strictly inside the range.
    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, 0)?;
        self.map(rows, |row| {
            let (mut before, mut logdet) = (None, 0.0);
            for (value, axis) in row.iter_mut().zip(&self.axes) {
                let z = *value;
                if z.is_infinite() {
                    return Some(f64::NAN);
                }
                let (x, place, log_p) = self.law(before).x_of(axis, z);
                *value = x;
                before = Some(place);
                logdet += log_pdf(z) - log_p;
            }
            Some(logdet)
        });
        Ok(())
    }

    /// Rows outside the support are listed in the cost; z is NaN there, the log-determinant −∞.
    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, 0)?;
        self.map(rows, |row| self.encode(row).map(|(log_p, log_normal)| log_p - log_normal));
        Ok(())
    }
}
