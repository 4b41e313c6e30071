//! The kind of a column that nobody named one for: plain, positive or with heavy tails, by rows that were held out.
//!
//! Each kind is given the same freedom where the rows are dense, a spline through their quantiles, so that the kinds
//! differ in their tails alone: those of a normal, of a lognormal, or of a power law. The rows are divided in two, and
//! each half is scored by the map of the other. The densities are compared row by row. The gain of a single row counts at
//! most `MOST` nats, lest one row decide: under a normal's tail the loss of a row at 1000 deviations is half a million.
//!
//! A kind is taken where it is better by more than `CLEARLY` of its standard errors and by more than `LEAST`: without
//! need columns stay as they are. Kurtosis and skewness as a rule were refused: they do not exist for the tails that
//! matter. So were the validation rows alone, which are too few: of 800 lognormal ones two standard errors hide the gain.

use crate::Result;
use crate::transform::normal::log_pdf;
use crate::transform::{Column, ColumnKind, HeavyTails};

/// The gain in nats a row that is worth a kind of its own.
const LEAST: f64 = 0.01;
/// The most that a row's gain or loss counts, in nats.
const MOST: f64 = 10.0;
/// Standard errors above 0.
const CLEARLY: f64 = 3.0;
/// Fewer rows decide nothing, and more than so many are not looked at.
const FEWEST: usize = 200;
const LOOKED_AT: usize = 20_000;

/// A kind that is better than plain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// Positive or heavy.
    pub kind: ColumnKind,
    /// By how many nats a held-out row.
    pub gain: f64,
}

/// The kind of a column with these training rows; none where plain is as good, or where there are too few rows to tell.
/// The rows and the `others`, which are held out, must be in the range of the kind.
pub fn choose(rows: &[f64], others: impl Iterator<Item = f64>) -> Option<Kind> {
    if rows.len() < FEWEST {
        return None;
    }
    let step = rows.len().div_ceil(LOOKED_AT);
    let looked_at: Vec<f64> = rows.iter().copied().step_by(step).collect();
    let plain = scores(&looked_at, |x| Some((x, 0.0)), HeavyTails::without_tails)?;
    let mut found: Option<Kind> = None;
    let mut consider = |kind: ColumnKind, scores: &[f64]| {
        let gains: Vec<f64> = scores.iter().zip(&plain).map(|(a, b)| (a - b).clamp(-MOST, MOST)).collect();
        let (gain, gain_se) = crate::stats::mean_and_se(&gains);
        let better = gain > LEAST && gain > CLEARLY * gain_se;
        if better && found.is_none_or(|found| gain > found.gain) {
            found = Some(Kind { kind, gain });
        }
    };
    if let Some(heavy) = scores(&looked_at, |x| Some((x, 0.0)), HeavyTails::fit) {
        consider(ColumnKind::Heavy, &heavy);
    }
    let inside = |x: f64| Column::Positive.encode(x);
    if rows.iter().copied().chain(others).all(|x| inside(x).is_some())
        && let Some(positive) = scores(&looked_at, inside, HeavyTails::without_tails)
    {
        consider(ColumnKind::Positive, &positive);
    }
    found
}

/// log p of rows, each by the map that the other half of them has, behind a `first` map to the real line.
fn scores(
    rows: &[f64],
    first: impl Fn(f64) -> Option<(f64, f64)>,
    fit: impl Fn(&[f64]) -> Result<HeavyTails>,
) -> Option<Vec<f64>> {
    let mapped: Vec<(f64, f64)> = rows.iter().map(|x| first(*x)).collect::<Option<_>>()?;
    let half = |odd: usize| -> Vec<f64> { mapped.iter().skip(odd).step_by(2).map(|(y, _)| *y).collect() };
    // Even rows by odd ones, and odd rows by even ones.
    let maps = [fit(&half(1)).ok()?, fit(&half(0)).ok()?];
    let of = |(i, (y, before)): (usize, &(f64, f64))| {
        let (z, log_slope, _) = maps[i % 2].encode(*y);
        log_pdf(z) + log_slope + before
    };
    Some(mapped.iter().enumerate().map(of).collect())
}

#[cfg(test)]
mod tests {
    use rand_distr::{Cauchy, Distribution, Exp1, LogNormal, Normal, StudentT, Uniform};

    use super::*;
    use crate::rng;

    /// Rows of a distribution, and those held out.
    fn chosen(draw: &mut dyn FnMut(&mut crate::Rng) -> f64) -> Option<ColumnKind> {
        let mut rng = rng::stream(3, 0);
        let rows: Vec<f64> = (0..12_000).map(|_| draw(&mut rng)).collect();
        choose(&rows[..10_000], rows[10_000..].iter().copied()).map(|found| found.kind)
    }

    #[test]
    fn heavy_and_skewed_columns_are_recognised_and_others_stay() {
        let (t, cauchy) = (StudentT::new(2.0).unwrap(), Cauchy::new(3.0, 0.5).unwrap());
        let (log, narrow) = (LogNormal::new(0.0, 1.0).unwrap(), LogNormal::new(2.0, 0.05).unwrap());
        let (normal, uniform) = (Normal::new(-7.0, 2.0).unwrap(), Uniform::new(-1.0, 5.0).unwrap());
        assert_eq!(chosen(&mut |rng| t.sample(rng)), Some(ColumnKind::Heavy));
        assert_eq!(chosen(&mut |rng| cauchy.sample(rng)), Some(ColumnKind::Heavy));
        assert_eq!(chosen(&mut |rng| log.sample(rng)), Some(ColumnKind::Positive));
        // Nearly a normal: its logarithm gains nothing.
        assert_eq!(chosen(&mut |rng| narrow.sample(rng)), None);
        assert_eq!(chosen(&mut |rng| normal.sample(rng)), None);
        assert_eq!(chosen(&mut |rng| uniform.sample(rng)), None);
        // Two modes far apart, with a normal's tails.
        let mut k = 0;
        let mut modes = |rng: &mut crate::Rng| {
            k += 1;
            normal.sample(rng) + if k % 3 == 0 { 40.0 } else { 0.0 }
        };
        assert_eq!(chosen(&mut modes), None);
        // A row at 0 or below, held out for the last score, has no logarithm.
        let mut k = 0;
        let mut spoilt = |rng: &mut crate::Rng| {
            k += 1;
            if k == 11_500 { -1.0 } else { log.sample(rng) }
        };
        assert_ne!(chosen(&mut spoilt), Some(ColumnKind::Positive));
        let mut whole = |rng: &mut crate::Rng| -> f64 { (10.0 * Distribution::<f64>::sample(&Exp1, rng)).floor() };
        assert_ne!(chosen(&mut whole), Some(ColumnKind::Positive), "it has zeros");
    }

    #[test]
    fn few_rows_decide_nothing() {
        let none = || std::iter::empty();
        let rows: Vec<f64> = (0..FEWEST - 1).map(|i| (0.05 * i as f64).exp2()).collect();
        assert_eq!(choose(&rows, none()), None);
        assert_eq!(choose(&[1.0; 500], none()), None);
    }

    #[test]
    fn one_row_does_not_decide() {
        let normal = Normal::new(0.0, 1.0).unwrap();
        let mut rng = rng::stream(5, 0);
        let mut rows: Vec<f64> = (0..3000).map(|_| normal.sample(&mut rng)).collect();
        // It costs a normal 5e11 nats, and any other tail a few.
        rows[2500] = 1e6;
        assert_eq!(choose(&rows, std::iter::empty()), None);
        assert_eq!(choose(&rows[..2000], rows[2000..].iter().copied()), None);
    }
}
