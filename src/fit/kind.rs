//! The kind of a column that nobody named one for: plain, positive or with heavy tails, by rows that were held out.
//!
//! Each kind is given the same freedom where the rows are dense, a spline through their quantiles, so that the kinds
//! differ in their tails alone: those of a normal, of a lognormal, or of a power law. Their densities are compared row
//! by row. The gain of a single row counts at most `MOST` nats, lest one row decide: under a normal's tail the loss of
//! a row at 1000 deviations is half a million.
//!
//! A kind is taken where it is better by more than `CLEARLY` of its standard errors and by more than `LEAST`: without
//! need columns stay as they are. Heavy tails must be clear in the training rows too ([`HeavyTails::indices`]). Kurtosis and skewness as a rule were refused: they do not exist for the tails that matter.

use crate::transform::normal::log_pdf;
use crate::transform::{Column, ColumnKind, HeavyTails};

/// The gain in nats a row that is worth a kind of its own.
const LEAST: f64 = 0.01;
/// The most that a row's gain or loss counts, in nats.
const MOST: f64 = 10.0;
/// Standard errors above 0.
const CLEARLY: f64 = 2.0;
/// Fewer held-out rows decide nothing.
const FEWEST: usize = 50;

/// A kind that is better than plain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// Positive or heavy.
    pub kind: ColumnKind,
    /// By how many nats a held-out row, and the standard error of that.
    pub gain: f64,
    /// The standard error of `gain`.
    pub gain_se: f64,
}

/// The kind of a column with the training rows `train`, chosen by the rows `valid`; none where plain is as good, or where
/// there are too few rows to tell. All numbers, and those of `others`, must be in the range of the kind.
pub fn choose(train: &[f64], valid: &[f64], others: &[f64]) -> Option<Kind> {
    if valid.len() < FEWEST {
        return None;
    }
    let plain = scores(&HeavyTails::without_tails(train).ok()?, valid, |x| (x, 0.0));
    let mut found: Option<Kind> = None;
    let mut consider = |kind: ColumnKind, scores: &[f64]| {
        let gains: Vec<f64> = scores.iter().zip(&plain).map(|(a, b)| (a - b).clamp(-MOST, MOST)).collect();
        let (gain, gain_se) = crate::stats::mean_and_se(&gains);
        let better = gain > LEAST && gain > CLEARLY * gain_se;
        if better && found.is_none_or(|found| gain > found.gain) {
            found = Some(Kind { kind, gain, gain_se });
        }
    };
    let heavy = HeavyTails::fit(train).ok()?;
    if heavy.indices() != [0.0; 2] {
        consider(ColumnKind::Heavy, &scores(&heavy, valid, |x| (x, 0.0)));
    }
    let inside = |x: &f64| Column::Positive.encode(*x);
    let logs: Option<Vec<f64>> = train.iter().map(|x| inside(x).map(|(y, _)| y)).collect();
    if let Some(logs) = logs
        && valid.iter().chain(others).all(|x| inside(x).is_some())
        && let Ok(map) = HeavyTails::without_tails(&logs)
    {
        consider(ColumnKind::Positive, &scores(&map, valid, |x| inside(&x).unwrap_or((f64::NAN, 0.0))));
    }
    found
}

/// log p of rows behind a first map to the real line.
fn scores(map: &HeavyTails, rows: &[f64], first: impl Fn(f64) -> (f64, f64)) -> Vec<f64> {
    let of = |x: &f64| {
        let (y, before) = first(*x);
        let (z, log_slope, _) = map.encode(y);
        log_pdf(z) + log_slope + before
    };
    rows.iter().map(of).collect()
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
        choose(&rows[..10_000], &rows[10_000..11_000], &rows[11_000..]).map(|found| found.kind)
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
        let rows: Vec<f64> = (0..200).map(|i| f64::from(i).exp2()).collect();
        assert_eq!(choose(&rows, &rows[..FEWEST - 1], &[]), None);
        assert_eq!(choose(&rows[..20], &rows, &[]), None);
        assert_eq!(choose(&[1.0; 500], &[1.0; 500], &[]), None);
    }

    #[test]
    fn one_row_does_not_decide() {
        let normal = Normal::new(0.0, 1.0).unwrap();
        let mut rng = rng::stream(5, 0);
        let mut rows: Vec<f64> = (0..3000).map(|_| normal.sample(&mut rng)).collect();
        // It costs a normal 5e11 nats, and any other tail a few.
        rows[2500] = 1e6;
        assert_eq!(choose(&rows[..2000], &rows[2000..], &[]), None);
        rows.swap(0, 2500);
        assert_eq!(choose(&rows[..2000], &rows[2000..], &[]), None);
    }
}
