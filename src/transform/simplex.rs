//! Columns that are the parts of a whole: k positive numbers that sum to a constant T, such as the shares of sand, silt and
//! clay.
//!
//! Such rows lie on a simplex of k − 1 dimensions, and have no density in k. One bijection takes all parts to the isometric
//! log-ratios (Egozcue et al., *Isometric logratio transformations for compositional data analysis*, 2003), by Helmert's
//! basis:
//!
//! y_j = √(j/(j+1)) ln(g(x_1 … x_j) / x_{j+1}), j = 1 … k − 1, with g the geometric mean.
//!
//! The density is that of all parts but the last, as the density of a Dirichlet distribution is. Which part is the last
//! does not matter: ln|det ∂y/∂(x_1 … x_{k−1})| = ln T − Σ ln x_i − ½ ln k.
//!
//! y_j has the column of part j. The column of the last part carries nothing on the latent's side: it is 0 there, does not
//! count in the normal density, and any number that is given in it changes nothing.
//!
//! Parts are rounded: as numbers of 32 bits, or as percentages with one digit. So rows are closed, which is scaled to the
//! total, where their sum is off by at most [`Simplex::LOOSEST`]. What is computed is that of the closed row. Rows beyond
//! that, and rows with a part that is not above 0, which has no logarithm, are outside the support.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bijection::check_rows;
use super::{Bijection, Chain, Cost, Mapped, exact};
use crate::{Error, Result};

/// The parts of a whole among the columns of some data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simplex {
    /// The columns of the parts, at least two, in the order of the log-ratios.
    pub places: Vec<usize>,
    /// What they sum to, above 0.
    #[serde(deserialize_with = "exact::deserialize")]
    pub total: f64,
}

impl Simplex {
    /// A sum that is off by more, in parts of the total, is no rounding.
    pub const LOOSEST: f64 = 0.005;
    /// A total so near to a whole number, in parts of it, is that number.
    const WHOLE: f64 = 1e-6;

    /// The parts in these columns of the rows `[n, dim]`: their total is the median of the sums, or the whole number next to
    /// it (1, 100, …) where the two differ by rounding alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] where no sum is above 0.
    pub fn fit(places: Vec<usize>, rows: &[f64], dim: usize) -> Result<Self> {
        let sum = |row: &[f64]| places.iter().map(|j| row[*j]).sum::<f64>();
        let mut sums: Vec<f64> = rows.chunks_exact(dim).map(sum).filter(|s| *s > 0.0 && s.is_finite()).collect();
        sums.sort_unstable_by(f64::total_cmp);
        let Some(&median) = sums.get(sums.len() / 2) else {
            return Err(Error::invalid("no row has parts with a sum above 0", "give parts above 0"));
        };
        let whole = median.round();
        let total = if (median - whole).abs() <= Self::WHOLE * median { whole } else { median };
        Ok(Self { places, total })
    }

    /// k.
    fn parts(&self) -> usize {
        self.places.len()
    }

    /// The column that carries nothing on the latent's side: that of the last part.
    fn last(&self) -> usize {
        self.places[self.parts() - 1]
    }

    /// The sum of a row's parts; none where one of them is not above 0.
    pub(super) fn sum(&self, row: &[f64]) -> Option<f64> {
        let mut sum = 0.0;
        for j in &self.places {
            if row[*j] <= 0.0 || row[*j].is_infinite() {
                return None;
            }
            sum += row[*j];
        }
        Some(sum)
    }

    /// By how much a sum differs from the total, in parts of that.
    pub(super) fn off(&self, sum: f64) -> f64 {
        (sum / self.total - 1.0).abs()
    }

    /// Log-ratios in place of the parts of a row, but for the last, and ln|det| of that; none outside the support. A row
    /// with NaN has NaN.
    fn encode(&self, row: &mut [f64]) -> Option<f64> {
        let (sum, k) = (self.sum(row)?, self.parts() as f64);
        if self.off(sum) > Self::LOOSEST {
            return None;
        }
        let mut logs = row[self.places[0]].ln();
        for (j, pair) in (1..).map(f64::from).zip(self.places.windows(2)) {
            let next = row[pair[1]].ln();
            row[pair[0]] = (j / (j + 1.0)).sqrt() * (logs / j - next);
            logs += next;
        }
        // The logarithms of the closed parts are less by those of sum over total.
        Some(self.total.ln() - (logs - k * (sum / self.total).ln()) - 0.5 * k.ln())
    }

    /// The parts in place of a row's log-ratios, and ln|det| of that; the place of the last part is written alone.
    fn decode(&self, row: &mut [f64]) -> f64 {
        let k = self.parts();
        let ratios: Vec<f64> = self.places[..k - 1].iter().map(|j| row[*j]).collect();
        // ln x_i but for a constant: each log-ratio has its share of the parts before it and of the one behind.
        let mut logs = vec![0.0; k];
        for (j, y) in ratios.iter().enumerate() {
            let n = (j + 1) as f64;
            let size = (n / (n + 1.0)).sqrt() * y;
            logs[..=j].iter_mut().for_each(|log| *log += size / n);
            logs[j + 1] -= size;
        }
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let constant = self.total.ln() - most - logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln();
        let mut all = 0.0;
        for (j, log) in self.places.iter().zip(&logs) {
            // A part may be less than any number: it is still above 0.
            row[*j] = (log + constant).exp().max(f64::MIN_POSITIVE);
            all += log + constant;
        }
        if row[self.places[0]].is_nan() || !all.is_finite() {
            self.places.iter().for_each(|j| row[*j] = f64::NAN);
            return f64::NAN;
        }
        all - self.total.ln() + 0.5 * (k as f64).ln()
    }

    /// The derivative by the parts of ℓ(y) + ln|det ∂y/∂x|, given those of ℓ by the log-ratios in the columns of the first
    /// parts of `bar`. It is that of the function of all k parts that does not change ℓ along a scaling of them, and it
    /// replaces `bar`.
    fn pull_back(&self, x: &[f64], bar: &mut [f64]) {
        let k = self.parts();
        let by_ratio: Vec<f64> = self.places[..k - 1].iter().map(|j| bar[*j]).collect();
        let sum: f64 = self.places.iter().map(|j| x[*j]).sum();
        let mut by_log = vec![-1.0; k];
        for (j, g) in by_ratio.iter().enumerate() {
            let n = (j + 1) as f64;
            let size = (n / (n + 1.0)).sqrt() * g;
            by_log[..=j].iter_mut().for_each(|sum| *sum += size / n);
            by_log[j + 1] -= size;
        }
        for (j, by_log) in self.places.iter().zip(by_log) {
            bar[*j] = by_log / x[*j] + k as f64 / sum;
        }
    }
}

/// The simplexes among the columns of some data.
#[derive(Clone, Debug, PartialEq)]
pub struct Simplexes {
    all: Vec<Simplex>,
    /// The columns, with all parts.
    dim: usize,
    /// The columns of last parts, rising.
    apart: Vec<usize>,
}

impl Simplexes {
    /// Those among `dim` columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one of fewer than two parts, a column that there is not, or that is two parts, and a total that
    /// is not above 0.
    pub fn new(all: Vec<Simplex>, dim: usize) -> Result<Self> {
        let mut places: Vec<usize> = all.iter().flat_map(|one| &one.places).copied().collect();
        places.sort_unstable();
        let sound = places.windows(2).all(|pair| pair[0] < pair[1])
            && places.last().is_none_or(|last| *last < dim)
            && all.iter().all(|one| one.parts() >= 2 && one.total > 0.0 && one.total.is_finite());
        if !sound {
            let problem = "the parts of a whole do not fit the columns";
            return Err(Error::invalid(problem, "give each at least two columns of its own, and a total above 0"));
        }
        let mut apart: Vec<usize> = all.iter().map(Simplex::last).collect();
        apart.sort_unstable();
        Ok(Self { all, dim, apart })
    }

    /// Each of them.
    pub fn all(&self) -> &[Simplex] {
        &self.all
    }

    /// The columns, with all parts.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The columns of the last parts, rising.
    pub fn apart(&self) -> &[usize] {
        &self.apart
    }

    /// The columns of log-ratios, as they are counted without the last parts, rising.
    pub fn ratios(&self) -> Vec<usize> {
        let parts = self.all.iter().flat_map(|one| &one.places[..one.parts() - 1]);
        let mut places: Vec<usize> = parts.map(|j| j - self.apart.partition_point(|last| last < j)).collect();
        places.sort_unstable();
        places
    }

    /// What the columns are called once the parts are log-ratios: `log-ratio to b` is that of the parts before `b` to it.
    pub fn inner_names(&self, names: &[String]) -> Vec<String> {
        let ratio = |j: usize| {
            let behind = |one: &Simplex| one.places.windows(2).find(|pair| pair[0] == j).map(|pair| pair[1]);
            self.all.iter().find_map(behind)
        };
        let one =
            |(j, name): (usize, &String)| ratio(j).map_or_else(|| name.clone(), |b| format!("{RATIO}{}", names[b]));
        names.iter().enumerate().filter(|(j, _)| self.apart.binary_search(j).is_err()).map(one).collect()
    }

    /// Rows `[n, d]` without the columns of last parts.
    pub(crate) fn cut(&self, rows: &[f64]) -> Vec<f64> {
        let counts = |j: usize| self.apart.binary_search(&(j % self.dim)).is_err();
        (0..rows.len()).filter(|i| counts(*i)).map(|i| rows[i]).collect()
    }

    /// Rows of the data `[n, d]` with log-ratios in place of the parts, `[n, d − m]`, and ln|det| of each. A row outside the
    /// support is NaN, and has −∞.
    pub fn inward(&self, rows: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut rows = rows.to_vec();
        let one = |row: &mut [f64]| {
            let logs: Option<f64> = self.all.iter().map(|one| one.encode(row)).sum();
            if logs.is_none() {
                row.fill(f64::NAN);
            }
            logs.unwrap_or(f64::NEG_INFINITY)
        };
        let logs = rows.chunks_exact_mut(self.dim).map(one).collect();
        (self.cut(&rows), logs)
    }

    /// Rows of the data `[n, d]` of those with log-ratios `[n, d − m]`, and ln|det| of each. A row with NaN is NaN.
    pub fn outward(&self, rows: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let inner = self.dim - self.apart.len();
        let mut all = Vec::with_capacity(rows.len() / inner.max(1) * self.dim);
        let mut logs = Vec::with_capacity(rows.len() / inner.max(1));
        for row in rows.chunks_exact(inner) {
            let (from, mut own) = (all.len(), row.iter());
            for j in 0..self.dim {
                let is_last = self.apart.binary_search(&j).is_ok();
                all.push(if is_last { 0.0 } else { own.next().copied().unwrap_or(f64::NAN) });
            }
            let row = &mut all[from..];
            logs.push(self.all.iter().map(|one| one.decode(row)).sum());
            if row.iter().any(|v| v.is_nan()) {
                row.fill(f64::NAN);
            }
        }
        (all, logs)
    }

    /// Rows of derivatives `[n, d]` by the data `x` of ℓ + ln|det|, of those `[n, d − m]` of ℓ by the log-ratios and the
    /// other columns.
    pub(crate) fn pull_back(&self, x: &[f64], bars: &[f64]) -> Vec<f64> {
        let inner = self.dim - self.apart.len();
        let mut all = Vec::with_capacity(x.len());
        for (x, bar) in x.chunks_exact(self.dim).zip(bars.chunks_exact(inner)) {
            let (from, mut own) = (all.len(), bar.iter());
            for j in 0..self.dim {
                let is_last = self.apart.binary_search(&j).is_ok();
                all.push(if is_last { 0.0 } else { own.next().copied().unwrap_or(f64::NAN) });
            }
            self.all.iter().for_each(|one| one.pull_back(x, &mut all[from..]));
        }
        all
    }
}

/// What the names of log-ratios begin with.
pub const RATIO: &str = "log-ratio to ";

/// A flow of log-ratios and other columns as a flow of the parts.
#[derive(Clone)]
pub(crate) struct WithSimplexes {
    parts: Arc<Simplexes>,
    inner: Chain,
}

impl WithSimplexes {
    /// The flow `inner` of the log-ratios.
    pub fn new(parts: Arc<Simplexes>, inner: Chain) -> Self {
        Self { parts, inner }
    }

    fn within(&self, rows: Vec<f64>, with_logdet: bool) -> Mapped {
        if with_logdet { Mapped::new(rows, self.inner.dim()) } else { Mapped::points(rows) }
    }
}

impl Bijection for WithSimplexes {
    fn dim(&self) -> usize {
        self.parts.dim
    }

    fn condition_dim(&self) -> usize {
        self.inner.condition_dim()
    }

    fn apart(&self) -> &[usize] {
        &self.parts.apart
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, self.condition_dim())?;
        let mut inner = self.within(self.parts.cut(&rows.y), rows.with_logdet());
        self.inner.forward(&mut inner, condition)?;
        let (y, logs) = self.parts.outward(&inner.y);
        rows.y = y;
        rows.add_logdet(inner.logdet.iter().zip(&logs).map(|(a, b)| a + b));
        rows.cost.merge(inner.cost);
        Ok(())
    }

    /// Rows outside the support are listed in the cost; y is NaN there, the log-determinant −∞.
    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        check_rows(&rows.y, self.dim(), condition, self.condition_dim())?;
        let (x, logs) = self.parts.inward(&rows.y);
        let mut inner = self.within(x, rows.with_logdet());
        self.inner.inverse(&mut inner, condition)?;
        let mut own = inner.y.chunks_exact(self.inner.dim());
        for row in rows.y.chunks_exact_mut(self.parts.dim) {
            let mut own = own.next().unwrap_or_default().iter();
            for (j, slot) in row.iter_mut().enumerate() {
                let is_last = self.parts.apart.binary_search(&j).is_ok();
                *slot = if is_last { 0.0 } else { own.next().copied().unwrap_or(f64::NAN) };
            }
            if row.iter().any(|v| v.is_nan()) {
                row.fill(f64::NAN);
            }
        }
        rows.add_logdet(inner.logdet.iter().zip(&logs).map(|(a, b)| a + b));
        rows.cost.merge(inner.cost);
        let outside = (0..logs.len()).filter(|i| logs[*i] == f64::NEG_INFINITY).collect();
        rows.cost.merge(Cost { outside, ..Cost::default() });
        Ok(())
    }
}
