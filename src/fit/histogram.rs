//! A table of probabilities whose number of bins, range and smoothing are chosen by the NLL of held-out rows.
//!
//! A rung is a number of bins a column, a trim and a smoothing. The range of a column is from its (r+1)-th least row to
//! its (r+1)-th greatest, r = ⌊trim · n⌋, so that a few outliers do not widen all bins. Beyond lie tails whose share is
//! (rows beyond + 1)/(n + 1), the expected mass beyond an order statistic whatever the density (Wilks 1941), and whose
//! scale is the mean excess of the rows beyond, the maximum-likelihood one; at least of √n rows, for an exponential has
//! no memory. A bin with c of the N rows inside has probability (c + a)/(N + a · bins), a the smoothing: with ½
//! Krichevsky & Trofimov's (1981), with less where most bins of a plane are empty. Rows that have weights count as these,
//! so scaled that they add up to the effective number of rows, which takes the place of n and N.

use crate::stats::{Sample, weighted_mean_and_se};
use crate::transform::histogram::law::{Axis, Place};
use crate::transform::histogram::{Histogram, Tail, check_columns};
use crate::{Error, Result};

/// Bins a column: 1, 2, 4, … up to this, for one column and for two.
const MOST: [usize; 2] = [1024, 256];
/// The part of the rows that is left to each tail.
const TRIMS: [f64; 3] = [0.0, 1e-3, 1e-2];
/// The pseudo-rows added to every bin.
const SMOOTHINGS: [f64; 3] = [0.5, 0.125, 0.031_25];

/// One table that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// Bins a column.
    pub bins: usize,
    /// The part of the rows beyond each end of each column.
    pub trim: f64,
    /// Pseudo-rows of each bin.
    pub smoothing: f64,
    /// Held-out NLL, nats a row.
    pub nll: f64,
}

/// The table with the best held-out likelihood, and what was tried.
#[derive(Clone, Debug)]
pub struct HistogramFit {
    /// The best, with its tails: its log-density is a number at every finite point that is not absurdly far out.
    pub histogram: Histogram,
    /// Which it is.
    pub best: Rung,
    /// All, in the order tried.
    pub table: Vec<Rung>,
}

impl Histogram {
    /// The table of `train` that has the least NLL on `valid`, both `[n, dim]` row-major, `dim` 1 or 2, with their weights
    /// where they have some: over all
    /// numbers of bins 1, 2, 4, … (to 1024, or 256 × 256, and no more bins in all than rows), three trims and three
    /// smoothings. The probabilities of a plane are those of the rows that are inside in both columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for other than one or two columns, fewer than two rows or no validation rows, lengths that do
    /// not fit, numbers that are not finite, and a constant column.
    pub fn fit<'a>(train: impl Into<Sample<'a>>, valid: impl Into<Sample<'a>>, dim: usize) -> Result<HistogramFit> {
        let (train, valid) = (train.into(), valid.into());
        check_columns(dim)?;
        let n = check("training", train.x, dim, 2)?;
        check("validation", valid.x, dim, 1)?;
        let (weights, informative) = (train.scaled(dim), train.effective(dim));
        let sorted: Vec<Vec<(f64, f64)>> = (0..dim).map(|j| sorted(train.x, &weights, dim, j)).collect();
        if let Some(j) = sorted.iter().position(|column| column[0].0 == column[n - 1].0) {
            let problem = format!("column {j} is constant (counted from 0)");
            return Err(Error::invalid(problem, "leave out the constant column: it has no density"));
        }
        let mut best: Option<(Histogram, Rung)> = None;
        let mut table = Vec::new();
        let mut ranges: Vec<Vec<[f64; 2]>> = Vec::new();
        for trim in TRIMS {
            let beyond = (trim * informative).floor();
            let range: Vec<[f64; 2]> = sorted.iter().map(|column| range(column, beyond)).collect();
            // Few rows have nothing to trim, and where most are equal nothing may be left.
            if ranges.contains(&range) || range.iter().any(|[low, high]| low >= high) {
                continue;
            }
            let tails: Vec<[Tail; 2]> =
                sorted.iter().zip(&range).map(|(column, range)| tails(column, *range, informative)).collect();
            let mut bins = 1_usize;
            while bins <= MOST[dim - 1] && bins.pow(dim as u32) as f64 <= informative {
                let axes: Result<Vec<Axis>> = range.iter().map(|range| Axis::new(*range, bins)).collect();
                // Rows that hardly differ bear no more bins than there are numbers between them.
                let axes = match axes {
                    Err(_) if best.is_some() => break,
                    axes => axes?,
                };
                let counts = count(train.x, &weights, &axes, bins);
                let inside: f64 = counts.iter().sum();
                for smoothing in SMOOTHINGS {
                    let total = inside + smoothing * counts.len() as f64;
                    let probabilities = counts.iter().map(|c| (c + smoothing) / total).collect();
                    let histogram = Self::new(range.clone(), vec![bins; dim], probabilities)?;
                    let histogram = histogram.with_tails(tails.clone())?;
                    let nll = -weighted_mean_and_se(&histogram.log_prob_rows(valid.x), valid.weight).0;
                    let rung = Rung { bins, trim, smoothing, nll };
                    table.push(rung);
                    if best.as_ref().is_none_or(|(_, best)| nll < best.nll) {
                        best = Some((histogram, rung));
                    }
                }
                bins *= 2;
            }
            ranges.push(range);
        }
        let none = || Error::invalid("no table fits the rows", "give rows with different values");
        let (histogram, best) = best.ok_or_else(none)?;
        Ok(HistogramFit { histogram, best, table })
    }
}

/// How many rows there are, all of them whole and finite.
fn check(which: &str, x: &[f64], dim: usize, least: usize) -> Result<usize> {
    let n = x.len() / dim;
    if !x.len().is_multiple_of(dim) {
        let problem = format!("{} numbers are not whole rows of {dim} columns", x.len());
        return Err(Error::invalid(problem, format!("give the {which} rows as [n, {dim}], row-major")));
    }
    if n < least {
        let problem =
            format!("{} for a table of probabilities", crate::words::count(n as u64, &format!("{which} row")));
        return Err(Error::invalid(problem, "give at least two training rows and one validation row"));
    }
    match x.iter().position(|x| !x.is_finite()) {
        None => Ok(n),
        Some(i) => {
            let problem = format!("{which} row {} has {} in column {} (counted from 0)", i / dim, x[i], i % dim);
            Err(Error::invalid(problem, "leave out rows with missing values"))
        }
    }
}

/// A column's numbers, rising, and what their rows count.
fn sorted(x: &[f64], weights: &[f64], dim: usize, j: usize) -> Vec<(f64, f64)> {
    let mut column: Vec<(f64, f64)> = x.iter().skip(j).step_by(dim).copied().zip(weights.iter().copied()).collect();
    column.sort_by(|a, b| a.0.total_cmp(&b.0));
    column
}

/// The range of a column with rows worth at most `beyond` below it, and above it.
fn range(column: &[(f64, f64)], beyond: f64) -> [f64; 2] {
    fn end<'a>(mut rows: impl Iterator<Item = &'a (f64, f64)>, beyond: f64) -> f64 {
        let mut sum = 0.0;
        let reached = rows.find(|(_, w)| {
            sum += w;
            sum > beyond
        });
        reached.map_or(f64::NAN, |(x, _)| *x)
    }
    [end(column.iter(), beyond), end(column.iter().rev(), beyond)]
}

/// The tails beyond a range, from the column's numbers, which rise, of `n` effective rows.
fn tails(column: &[(f64, f64)], [low, high]: [f64; 2], n: f64) -> [Tail; 2] {
    let least = n.sqrt().ceil();
    let tail = |rows: &mut dyn Iterator<Item = &(f64, f64)>, beyond: f64| {
        let share = (beyond + 1.0) / (n + 1.0);
        // The mean excess over the first number that is not counted.
        let most = beyond.max(least);
        let (mut taken, mut sum, mut next) = (Vec::new(), 0.0, None);
        for (x, w) in rows {
            if sum >= most {
                next = Some(*x);
                break;
            }
            sum += w;
            taken.push((*x, *w));
        }
        // Where all rows are taken, the last is the one that the others are counted from.
        let next = next.or_else(|| taken.pop().map(|(x, _)| x)).unwrap_or(f64::NAN);
        let total: f64 = taken.iter().map(|(_, w)| w).sum();
        let excess = taken.iter().map(|(x, w)| w * (next - x).abs()).sum::<f64>() / total;
        // Rows that are equal have none; what n rows resolve of the range then stands for it.
        Tail { share, scale: excess.max((high - low) / n) }
    };
    let below = column.iter().filter(|(x, _)| *x < low).map(|(_, w)| w).sum();
    let above = column.iter().filter(|(x, _)| *x > high).map(|(_, w)| w).sum();
    [tail(&mut column.iter(), below), tail(&mut column.iter().rev(), above)]
}

/// What the rows in each bin count, `[bins]` or `[bins, bins]`.
fn count(x: &[f64], weights: &[f64], axes: &[Axis], bins: usize) -> Vec<f64> {
    let mut counts = vec![0.0; bins.pow(axes.len() as u32)];
    for (row, w) in x.chunks_exact(axes.len()).zip(weights) {
        let cell = row.iter().zip(axes).try_fold(0, |cell, (x, axis)| match axis.place(*x) {
            Place::Bin(i) => Some(cell * bins + i),
            Place::Below | Place::Above => None,
        });
        if let Some(cell) = cell {
            counts[cell] += w;
        }
    }
    counts
}
