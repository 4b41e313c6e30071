//! A column with heavy tails: a monotone map of the whole line that makes its own distribution nearly normal.
//!
//! Between two thresholds a spline of rational quadratic pieces runs through quantiles of the rows and of the normal.
//! Beyond a threshold u, with the share p of the rows, the rows' excesses are taken to have a generalised Pareto law of
//! index ξ and scale σ, P(x > u + s) = p (1 + ξ s/σ)^(−1/ξ), and y = −Φ⁻¹ of that: a power of x becomes the normal's
//! own tail, which no Lipschitz velocity makes from a normal. σ is p over the density at u, so that the map has a
//! continuous derivative. Where the excesses are not heavier than exponential ones beyond the error of their index, the
//! map goes on as a straight line: the flow behind it does the rest.
//!
//! Refs: Durkan et al., *Neural spline flows* (2019), for the pieces and their inverse; Gregory & Delbourgo (1982) for
//! the slopes at the knots; Pickands (1975) for excesses; Zhang & Stephens, *A new and efficient estimation method for
//! the generalized Pareto distribution* (2009), for ξ and σ.

use serde::{Deserialize, Serialize};

use super::normal::{log_cdf, log_pdf, quantile_of_log};
use crate::{Error, Result};

/// With fewer different rows neither quantiles nor an index are known.
const FEWEST: usize = 40;
/// The share of the rows beyond each threshold; of few rows as many as [`LEAST_BEYOND`].
const BEYOND: f64 = 0.05;
const LEAST_BEYOND: f64 = 25.0;
const MOST_BEYOND: f64 = 0.25;
/// Pieces between the thresholds, at most, and the rows that one needs.
const PIECES: usize = 12;
const ROWS_OF_PIECE: usize = 40;
/// An index is above 0 where it is by so many of its standard errors, (1 + ξ)/√k of k excesses.
const CLEARLY: f64 = 2.0;
/// The largest index: a heavier tail has no finite root of its moments, and its rows leave the range of an f64.
const HEAVIEST: f64 = 3.0;

/// The map y ↔ x, both on the whole line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeavyTails {
    /// Knots in x and y, both rising; the first and the last are the thresholds.
    x: Vec<f64>,
    y: Vec<f64>,
    /// dy/dx at the knots, above 0.
    slope: Vec<f64>,
    /// ξ of the tail below the first knot and of that above the last; 0 for a straight line.
    index: Vec<f64>,
}

impl HeavyTails {
    /// The map of the rows `values`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than 40 different numbers, and for numbers that are not finite.
    pub fn fit(values: &[f64]) -> Result<Self> {
        Self::fit_with(values, true)
    }

    /// The same with straight lines as both tails, whatever the rows have there: what a normal's tails would be.
    ///
    /// # Errors
    /// As [`HeavyTails::fit`].
    pub fn without_tails(values: &[f64]) -> Result<Self> {
        Self::fit_with(values, false)
    }

    fn fit_with(values: &[f64], tails: bool) -> Result<Self> {
        let sorted = crate::stats::sorted(values.iter().copied());
        let mut different = sorted.clone();
        different.dedup();
        if different.len() < FEWEST || sorted.len() < values.len() {
            let found = crate::words::count(different.len() as u64, "different number");
            let problem = format!("a column with heavy tails has {found}, {FEWEST} are needed for its map");
            return Err(Error::invalid(problem, "leave out `heavy` for this column"));
        }
        let n = sorted.len() as f64;
        let share = (LEAST_BEYOND / n).clamp(BEYOND, MOST_BEYOND);
        // The middle of the rows i and i + 1 has (i + 1)/n of them below.
        let quantile = |q: f64| {
            let at = (q * n - 0.5).clamp(0.0, n - 1.0);
            let (low, part) = (at.floor() as usize, at.fract());
            sorted[low] + part * (sorted[(low + 1).min(sorted.len() - 1)] - sorted[low])
        };
        let pieces = (sorted.len() / ROWS_OF_PIECE).clamp(2, PIECES);
        let end = -quantile_of_log(share.ln());
        let knots = (0..=pieces).map(|i| end * (2.0 * i as f64 / pieces as f64 - 1.0));
        let (mut x, mut y): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        for at in knots {
            let q = quantile(log_cdf(at).exp());
            // Where many rows are equal, one knot stands for them.
            if x.last().is_none_or(|last| q - last > 1e-9 * (q.abs() + last.abs())) {
                x.push(q);
                y.push(at);
            }
        }
        if x.len() < 2 {
            let problem = "nearly all numbers of a column with heavy tails are equal";
            return Err(Error::invalid(problem, "leave out `heavy` for this column"));
        }
        let last = x.len() - 1;
        let (low, high) = (sorted.partition_point(|v| *v < x[0]), sorted.partition_point(|v| *v <= x[last]));
        let below: Vec<f64> = sorted[..low].iter().rev().map(|v| x[0] - v).collect();
        let above: Vec<f64> = sorted[high..].iter().map(|v| v - x[last]).collect();
        let mut slope = slopes(&x, &y);
        let mut index = vec![0.0; 2];
        for (side, (knot, excesses)) in [(0, below), (last, above)].into_iter().enumerate() {
            let Some((xi, scale)) = pareto(&excesses).filter(|_| tails) else { continue };
            if xi > CLEARLY * (1.0 + xi) / (excesses.len() as f64).sqrt() {
                index[side] = xi.min(HEAVIEST);
                // The slope that the tail's density has at the threshold, near that of the spline, lest the piece beside it
                // bend.
                let (spline, own) = (slope[knot].ln(), log_cdf(-y[knot].abs()) - scale.ln() - log_pdf(y[knot]));
                slope[knot] = own.clamp(spline - 1.0, spline + 1.0).exp();
            }
        }
        let map = Self { x, y, slope, index };
        map.validate()?;
        Ok(map)
    }

    /// ξ of the lower and of the upper tail; 0 for one that goes on as a straight line.
    pub fn indices(&self) -> [f64; 2] {
        [self.index[0], self.index[1]]
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn validate(&self) -> Result<()> {
        let k = self.x.len();
        let rises = |v: &[f64]| v.windows(2).all(|pair| pair[0] < pair[1]) && v.iter().all(|v| v.is_finite());
        let sound = k >= 2
            && self.y.len() == k
            && self.slope.len() == k
            && self.index.len() == 2
            && rises(&self.x)
            && rises(&self.y)
            && self.y[0] < 0.0
            && self.y[k - 1] > 0.0
            && self.slope.iter().all(|s| s.is_normal() && *s > 0.0)
            && self.index.iter().all(|xi| (0.0..=HEAVIEST).contains(xi));
        if sound {
            return Ok(());
        }
        let problem = "the map of a column with heavy tails is not valid: its knots and slopes must rise";
        Err(Error::invalid(problem, "train the model again"))
    }

    /// y, ln dy/dx and its derivative by x; finite x.
    pub(crate) fn encode(&self, x: f64) -> (f64, f64, f64) {
        let last = self.x.len() - 1;
        if x > self.x[last] {
            return self.outwards(1, x - self.x[last]);
        }
        if x < self.x[0] {
            let (y, log_slope, bend) = self.outwards(0, self.x[0] - x);
            return (-y, log_slope, -bend);
        }
        let k = self.x.partition_point(|knot| *knot <= x).clamp(1, last) - 1;
        let piece = self.piece(k);
        let t = (x - self.x[k]) / piece.width;
        let (y, log_slope, bend) = piece.at(t);
        (self.y[k] + y, log_slope, bend / piece.width)
    }

    /// x and ln dx/dy.
    pub(crate) fn decode(&self, y: f64) -> (f64, f64) {
        let last = self.y.len() - 1;
        if y > self.y[last] {
            let (s, log_slope) = self.inwards(1, y);
            return ((self.x[last] + s).min(f64::MAX), log_slope);
        }
        if y < self.y[0] {
            let (s, log_slope) = self.inwards(0, -y);
            return ((self.x[0] - s).max(f64::MIN), log_slope);
        }
        let k = self.y.partition_point(|knot| *knot <= y).clamp(1, last) - 1;
        let piece = self.piece(k);
        let t = piece.root(y - self.y[k]);
        (self.x[k] + t * piece.width, -piece.at(t).1)
    }

    /// The height of a threshold over 0, ln of the share beyond it, its slope and its index.
    fn tail(&self, side: usize) -> (f64, f64, f64, f64) {
        let knot = if side == 0 { 0 } else { self.x.len() - 1 };
        let y = self.y[knot].abs();
        (y, log_cdf(-y), self.slope[knot], self.index[side])
    }

    /// Beyond a threshold by `s`, as on the upper side: y, ln dy/dx and its derivative.
    fn outwards(&self, side: usize, s: f64) -> (f64, f64, f64) {
        let (height, log_share, slope, xi) = self.tail(side);
        if xi == 0.0 {
            return (height + slope * s, slope.ln(), 0.0);
        }
        // σ = p / (slope φ).
        let log_scale = log_share - slope.ln() - log_pdf(height);
        let grown = (xi * s / log_scale.exp()).ln_1p();
        let y = -quantile_of_log(log_share - grown / xi);
        let log_slope = log_share - log_scale - (1.0 / xi + 1.0) * grown - log_pdf(y);
        let bend = -(1.0 + xi) / (log_scale.exp() + xi * s) + y * log_slope.exp();
        (y, log_slope, bend)
    }

    /// The inverse: how far beyond the threshold y is reached, and ln dx/dy.
    fn inwards(&self, side: usize, y: f64) -> (f64, f64) {
        let (height, log_share, slope, xi) = self.tail(side);
        if xi == 0.0 {
            return ((y - height) / slope, -slope.ln());
        }
        let log_scale = log_share - slope.ln() - log_pdf(height);
        let grown = xi * (log_share - log_cdf(-y));
        let s = log_scale.exp() * grown.exp_m1() / xi;
        (s, log_pdf(y) - log_share + log_scale + (1.0 / xi + 1.0) * grown)
    }

    fn piece(&self, k: usize) -> Piece {
        let (width, height) = (self.x[k + 1] - self.x[k], self.y[k + 1] - self.y[k]);
        Piece { width, height, secant: height / width, left: self.slope[k], right: self.slope[k + 1] }
    }
}

/// A rational quadratic piece over `width`, from 0 to `height`, with slopes at its ends.
struct Piece {
    width: f64,
    height: f64,
    secant: f64,
    left: f64,
    right: f64,
}

impl Piece {
    /// Height, ln of the slope and its derivative by t at the part t of the width.
    fn at(&self, t: f64) -> (f64, f64, f64) {
        let Self { height, secant: s, left, right, .. } = *self;
        let (u, both) = (1.0 - t, left + right - 2.0 * s);
        let below = s + both * t * u;
        let y = height * (s * t * t + left * t * u) / below;
        let above = right * t * t + 2.0 * s * t * u + left * u * u;
        let log_slope = 2.0 * (s / below).ln() + above.ln();
        let turn = 2.0 * (right * t + s * (1.0 - 2.0 * t) - left * u);
        (y, log_slope, turn / above - 2.0 * both * (1.0 - 2.0 * t) / below)
    }

    /// The part of the width at which a height is reached.
    fn root(&self, y: f64) -> f64 {
        let Self { height, secant: s, left, right, .. } = *self;
        let both = left + right - 2.0 * s;
        let a = height * (s - left) + y * both;
        let b = height * left - y * both;
        let c = -s * y;
        // Of the two forms the one that adds numbers of one sign.
        (-2.0 * c / (b + (b * b - 4.0 * a * c).max(0.0).sqrt())).clamp(0.0, 1.0)
    }
}

/// dy/dx at the knots: the harmonic mean of the secants beside them, and at the ends the secants.
fn slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let secant: Vec<f64> = x.windows(2).zip(y.windows(2)).map(|(x, y)| (y[1] - y[0]) / (x[1] - x[0])).collect();
    let last = secant.len();
    let at = |k: usize| match k {
        0 => secant[0],
        k if k == last => secant[last - 1],
        k => {
            let (before, after) = (x[k] - x[k - 1], x[k + 1] - x[k]);
            (before + after) / (before / secant[k - 1] + after / secant[k])
        }
    };
    (0..=last).map(at).collect()
}

/// ξ and σ of a generalised Pareto law of excesses, which rise; none of few or of equal ones.
///
/// Zhang & Stephens: the mean of θ = −ξ/σ over its profile likelihood on a grid, and ξ = mean ln(1 − θ e).
fn pareto(excesses: &[f64]) -> Option<(f64, f64)> {
    let n = excesses.len();
    let (quarter, most) = (*excesses.get((n / 4).checked_sub(usize::from(n >= 4))?)?, *excesses.last()?);
    if n < 10 || quarter <= 0.0 || !most.is_finite() {
        return None;
    }
    let xi = |theta: f64| excesses.iter().map(|e| (-theta * e).ln_1p()).sum::<f64>() / n as f64;
    let count = 30 + (n as f64).sqrt() as usize;
    let grid: Vec<f64> =
        (1..=count).map(|i| 1.0 / most + (1.0 - (count as f64 / (i as f64 - 0.5)).sqrt()) / (3.0 * quarter)).collect();
    let profile = |theta: &f64| {
        let k = xi(*theta);
        n as f64 * ((-theta / k).ln() - k - 1.0)
    };
    let logs: Vec<f64> = grid.iter().map(profile).collect();
    let top = logs.iter().copied().filter(|l| l.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut total) = (0.0, 0.0);
    for (theta, log) in grid.iter().zip(&logs).filter(|(_, log)| log.is_finite()) {
        let weight = (log - top).exp();
        (sum, total) = (sum + weight * theta, total + weight);
    }
    let theta = sum / total;
    let k = xi(theta);
    (k.is_finite() && theta != 0.0 && -k / theta > 0.0).then_some((k, -k / theta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use rand::Rng as _;

    /// Student's t with two degrees of freedom by its quantiles, and a Pareto law of index ξ.
    fn student(n: usize) -> Vec<f64> {
        let mut rng = stream(1, 0);
        let one = |u: f64| (2.0 * u - 1.0) / (2.0 * u * (1.0 - u)).sqrt();
        (0..n).map(|_| one(rng.random_range(1e-12..1.0))).collect()
    }

    #[test]
    fn the_index_of_a_power_is_found_and_light_tails_are_straight() {
        for index in [0.25, 0.5, 1.0, 2.0] {
            let mut rng = stream(2, 0);
            let mut draw = || (rng.random_range(1e-12..1.0_f64).powf(-index) - 1.0) / index * 3.0;
            let mut excesses: Vec<f64> = (0..4000).map(|_| draw()).collect();
            excesses.sort_by(f64::total_cmp);
            let (xi, scale) = pareto(&excesses).unwrap();
            assert!(
                (xi - index).abs() < 0.08 * (1.0 + index) && (scale / 3.0 - 1.0).abs() < 0.12,
                "{index}: {xi} {scale}"
            );
        }
        let [low, high] = HeavyTails::fit(&student(40_000)).unwrap().indices();
        assert!((low - 0.5).abs() < 0.15 && (high - 0.5).abs() < 0.15, "{low} {high}");
        let mut rng = stream(3, 0);
        let normal: Vec<f64> = (0..5000).map(|_| quantile_of_log(rng.random_range(1e-12..1.0_f64).ln())).collect();
        assert_eq!(HeavyTails::fit(&normal).unwrap().indices(), [0.0, 0.0]);
    }

    #[test]
    fn the_map_there_and_back_is_the_identity_and_its_slope_is_that_of_differences() {
        for values in [student(5000), student(200), (0..60).map(|i| f64::from(i).powi(3)).collect()] {
            let map = HeavyTails::fit(&values).unwrap();
            let mut before = f64::NEG_INFINITY;
            for i in -600..=600 {
                let y = f64::from(i) / 100.0;
                let (x, log_dx) = map.decode(y);
                let (back, log_dy, bend) = map.encode(x);
                assert!(x > before, "{y}: {x}");
                before = x;
                assert!((back - y).abs() < 1e-9 * (1.0 + y.abs()), "{y}: {x}, {back}");
                assert!((log_dx + log_dy).abs() < 1e-8, "{y}: {log_dx} {log_dy}");
                // A knot has two bends; beside it differences are exact to their step.
                let h = 1e-5 * log_dx.exp();
                if map.x.iter().any(|knot| (knot - x).abs() < 2.0 * h) {
                    continue;
                }
                let (up, down) = (map.encode(x + h), map.encode(x - h));
                let slope = (up.0 - down.0) / (2.0 * h);
                assert!((slope.ln() - log_dy).abs() < 1e-6, "{y}: {slope} {log_dy}");
                let turn = (up.1 - down.1) / (2.0 * h);
                assert!((turn - bend).abs() * log_dx.exp() < 1e-4, "{y}: {turn} {bend}");
            }
            // The slope is continuous at the knots.
            for knot in &map.x {
                let (left, right) = (map.encode(knot.next_down()), map.encode(knot.next_up()));
                assert!((left.1 - right.1).abs() < 1e-6 && (left.0 - right.0).abs() < 1e-9, "{left:?} {right:?}");
            }
            let text = serde_json::to_string(&map).unwrap();
            assert_eq!(serde_json::from_str::<HeavyTails>(&text).unwrap(), map);
        }
    }

    #[test]
    fn rows_of_a_heavy_tail_become_nearly_normal() {
        let values = student(20_000);
        let map = HeavyTails::fit(&values[..10_000]).unwrap();
        let mut latents: Vec<f64> = values[10_000..].iter().map(|x| map.encode(*x).0).collect();
        let far = latents.iter().fold(0.0, |far: f64, y| far.max(y.abs()));
        assert!(far < 5.0, "{far}");
        let distance = crate::stats::ks_distance(&mut latents, crate::stats::normal_cdf);
        assert!(distance < 0.02, "{distance}");
    }

    #[test]
    fn few_and_equal_rows_are_refused() {
        assert!(HeavyTails::fit(&[1.0; 500]).is_err());
        assert!(HeavyTails::fit(&(0..39).map(f64::from).collect::<Vec<_>>()).is_err());
        let mut rows: Vec<f64> = vec![0.0; 100_000];
        rows.extend((1..60).map(f64::from));
        assert!(HeavyTails::fit(&rows).is_err());
        let mut map = HeavyTails::fit(&student(300)).unwrap();
        map.slope[1] = -1.0;
        assert!(map.validate().is_err());
    }
}
