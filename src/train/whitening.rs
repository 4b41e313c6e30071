//! Whether the columns of a table are made uncorrelated before the couplings of a discrete flow.
//!
//! A coupling bends columns one by one, under the others, and where columns are nearly functions of each other it has to
//! bend them sharply. A linear map next to the data takes that from it: z = W x, W the inverse of the Cholesky factor of
//! the rows' covariance, so that the first column stays itself, the second loses what the first tells of it linearly, and
//! so on. It is not learnt on.
//!
//! Behind it columns with heavy tails get a map of their own, as columns of a table do: linear mixtures of columns have
//! tails that the columns had not, and the intervals of splines end. Without these maps W did harm on patches of images in
//! 60 s (171.0 for 173.2; with them 173.9), on gaia they cost 0.02.
//!
//! It can do harm: a map that mixes columns hides what each has of its own, such as whole numbers or sharp ends. So the
//! rows decide: in both coordinates they are scored by one Gaussian of normal scores, which splines through the quantiles
//! make of each column, with straight tails, each half of the rows by what the other half has. Measured in 30 s, test
//! log-likelihood without and with W: gaia −0.52 and −0.33, where the rule decides for it; digits −40.9 and −56.3, magic
//! −3.85 and −3.96, where it decides against it; patches of images 167.6 and 168.1 (all without maps of tails). A product of densities of single columns
//! as the rule was refused, since it takes W on magic. So were principal axes and the symmetric root as the map, of the whole table: on gaia −0.45
//! and −0.33, on magic −4.6 and −4.2. The rule is that of splines: affine couplings have not been measured.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::named::named;
use crate::fit::{Gaussian, kind};
use crate::stats::{Sample, mean_and_se};
use crate::transform::{ColumnKind, HeavyTails, Mixture};
use crate::{Error, Result, words};

/// The gain in nats a row that is worth the layer, and the standard errors that it must be above 0.
const LEAST: f64 = 0.05;
const CLEARLY: f64 = 3.0;
/// A row's gain or loss counts at most so many nats.
const MOST: f64 = 50.0;
/// Fewer rows decide nothing, nor do fewer than so many for each column; and more columns than these are left alone.
const FEWEST: usize = 200;
const ROWS_OF_COLUMN: usize = 5;
const MOST_COLUMNS: usize = 256;
/// At most so many rows are looked at, and fewer where their squares by columns are more than this.
const LOOKED_AT: usize = 20_000;
const WORK: usize = 200_000_000;

/// Whether a discrete flow of a table begins with a linear map that makes its columns uncorrelated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whitening {
    /// Where the rows gain by it, of more than two columns.
    #[default]
    Auto,
    /// No.
    None,
    /// Yes: by the Cholesky factor of their covariance.
    Cholesky,
}

impl Whitening {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::None, Self::Cholesky];

    /// The name, as typed and as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Cholesky => "cholesky",
        }
    }
}

impl std::fmt::Display for Whitening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Whitening {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        named("whitening", Self::ALL, Self::name, text)
    }
}

/// A map that makes columns uncorrelated.
pub(super) struct Map {
    /// W, `[d, d]`, row-major: lower triangular, its diagonal above 0.
    pub matrix: Vec<f64>,
    /// By how many nats a held-out row gains, as the rule scores it; none where nobody asked.
    pub gain: Option<f64>,
    /// The maps of the columns of W x that have heavy tails, one a column; none where none has.
    pub tails: Option<Vec<Option<HeavyTails>>>,
}

impl Map {
    /// A remark on it.
    pub fn words(&self) -> Option<String> {
        let gain = words::number(self.gain?, 3);
        Some(format!(
            "the columns are correlated: a linear map comes before the couplings, by which held-out rows gain {gain} \
             nats (`model.whitening` none leaves it out)"
        ))
    }
}

/// The map that `rule` wants for rows of `d` columns; none where it wants none.
///
/// # Errors
/// [`Error::Invalid`] for rows of which no covariance is known.
pub(super) fn map(rule: Whitening, rows: Sample<'_>, d: usize) -> Result<Option<Map>> {
    let (gain, factor) = match rule {
        Whitening::None => return Ok(None),
        Whitening::Cholesky => (None, 1.0),
        Whitening::Auto => {
            let Some((gain, factor)) = gain(rows.x, d) else { return Ok(None) };
            (Some(gain), factor)
        }
    };
    let matrix = inverse_root(rows, d, factor)?;
    let tails = tails(&mapped(&matrix, rows.x, d), d);
    Ok(Some(Map { matrix, gain, tails }))
}

/// The maps of the columns of `rows` that have heavy tails, as held-out rows tell; none where none has.
fn tails(rows: &[f64], d: usize) -> Option<Vec<Option<HeavyTails>>> {
    let column = |j: usize| -> Option<HeavyTails> {
        let values: Vec<f64> = rows.iter().skip(j).step_by(d).copied().collect();
        let found = kind::choose(&values, std::iter::empty()).filter(|found| found.kind == ColumnKind::Heavy);
        found.and_then(|_| HeavyTails::fit(&values).ok())
    };
    let maps: Vec<Option<HeavyTails>> = (0..d).into_par_iter().map(column).collect();
    maps.iter().any(Option::is_some).then_some(maps)
}

/// The inverse of the Cholesky factor of the covariance of rows, whose correlations count by `factor`.
fn inverse_root(rows: Sample<'_>, d: usize, factor: f64) -> Result<Vec<f64>> {
    let found = Mixture::gaussian(rows, d, Gaussian::Shrunk { factor })?;
    Ok(inverse(&found.factors()[..d * d], d))
}

/// The inverse of a lower triangular matrix, by substitution.
fn inverse(lower: &[f64], d: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; d * d];
    for j in 0..d {
        for i in j..d {
            let unit = f64::from(u8::from(i == j));
            let known: f64 = (j..i).map(|k| lower[i * d + k] * inverse[k * d + j]).sum();
            inverse[i * d + j] = (unit - known) / lower[i * d + i];
        }
    }
    inverse
}

/// By how much rows gain, and the factor of the correlations that they prefer; none where they do not gain clearly.
fn gain(x: &[f64], d: usize) -> Option<(f64, f64)> {
    let n = x.len() / d;
    if !(2..=MOST_COLUMNS).contains(&d) || n < FEWEST.max(ROWS_OF_COLUMN * d) {
        return None;
    }
    let most = LOOKED_AT.min(WORK / (d * d)).max(ROWS_OF_COLUMN * d);
    let looked_at: Vec<&[f64]> = x.chunks_exact(d).step_by(n.div_ceil(most)).collect();
    let half = |odd: usize| looked_at.iter().skip(odd).step_by(2).copied().flatten().copied().collect::<Vec<f64>>();
    let halves = [half(0), half(1)];
    let (mut gains, mut factors) = (Vec::new(), 0.0);
    for (rows, held_out) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
        let (found, factor) = Mixture::shrunk(&rows[..], &held_out[..], d).ok()?;
        factors += 0.5 * factor;
        let matrix = inverse(&found.factors()[..d * d], d);
        let log_volume: f64 = (0..d).map(|i| matrix[i * d + i].ln()).sum();
        let plain = scores(rows, held_out, d)?;
        let turned = scores(&mapped(&matrix, rows, d), &mapped(&matrix, held_out, d), d)?;
        gains.extend(plain.iter().zip(&turned).map(|(a, b)| (b + log_volume - a).clamp(-MOST, MOST)));
    }
    let (gain, se) = mean_and_se(&gains);
    (gain > LEAST && gain > CLEARLY * se).then_some((gain, factors))
}

/// W x for each row.
fn mapped(matrix: &[f64], rows: &[f64], d: usize) -> Vec<f64> {
    let product = |(i, row): (usize, &[f64])| -> f64 { row.iter().zip(&matrix[i * d..]).map(|(x, w)| w * x).sum() };
    rows.chunks_exact(d).flat_map(|row| (0..d).map(move |i| product((i, &row[..=i])))).collect()
}

/// log p of `held_out` rows by the density that `rows` have: columns by splines through their quantiles to normal scores,
/// and these by one Gaussian.
fn scores(rows: &[f64], held_out: &[f64], d: usize) -> Option<Vec<f64>> {
    let column = |rows: &[f64], j: usize| -> Vec<f64> { rows.iter().skip(j).step_by(d).copied().collect() };
    let maps: Vec<HeavyTails> =
        (0..d).into_par_iter().map(|j| HeavyTails::without_tails(&column(rows, j)).ok()).collect::<Option<_>>()?;
    // Normal scores, and the sum of their log-slopes.
    let scored = |rows: &[f64]| -> (Vec<f64>, Vec<f64>) {
        let all: Vec<(Vec<f64>, f64)> = rows
            .par_chunks_exact(d)
            .map(|row| {
                let ends = row.iter().zip(&maps).map(|(x, map)| map.encode(*x));
                ends.fold((Vec::with_capacity(d), 0.0), |(mut y, sum), (z, log_slope, _)| {
                    y.push(z);
                    (y, sum + log_slope)
                })
            })
            .collect();
        let slopes = all.iter().map(|(_, sum)| *sum).collect();
        (all.into_iter().flat_map(|(y, _)| y).collect(), slopes)
    };
    let ((y, _), (held_out, slopes)) = (scored(rows), scored(held_out));
    let (gaussian, _) = Mixture::shrunk(&y[..], &held_out[..], d).ok()?;
    Some(gaussian.log_prob_rows(&held_out).iter().zip(&slopes).map(|(log_p, slope)| log_p + slope).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use crate::transform::StandardNormal;

    /// Rows A z with z of the given columns.
    fn rows(n: usize, of: impl Fn(&[f64]) -> [f64; 3]) -> Vec<f64> {
        StandardNormal::new(3).draw(n, &mut stream(31, 0)).chunks_exact(3).flat_map(of).collect()
    }

    #[test]
    fn the_map_makes_columns_uncorrelated_and_of_deviation_one() {
        let x = rows(4000, |z| [2.0 * z[0], 3.0 * z[0] + 0.1 * z[1], z[2] - z[0]]);
        let found = map(Whitening::Cholesky, Sample::from(&x[..]), 3).unwrap().unwrap();
        let y = mapped(&found.matrix, &x, 3);
        for i in 0..3 {
            for j in 0..3 {
                let mean = |k: usize| y.iter().skip(k).step_by(3).sum::<f64>() / 4000.0;
                let product: f64 = y.chunks_exact(3).map(|row| (row[i] - mean(i)) * (row[j] - mean(j))).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((product / 4000.0 - expected).abs() < 1e-9, "{i} {j}: {product}");
            }
        }
        assert!((0..3).all(|i| (i + 1..3).all(|j| found.matrix[i * 3 + j] == 0.0)));
        assert!(map(Whitening::None, Sample::from(&x[..]), 3).unwrap().is_none() && found.words().is_none());
    }

    #[test]
    fn rows_gain_where_columns_follow_each_other_and_not_where_each_has_its_own_shape() {
        let correlated = rows(3000, |z| [z[0], z[0] + 0.2 * z[1], z[2]]);
        // A Gaussian is one in all coordinates.
        assert!(map(Whitening::Auto, Sample::from(&correlated[..]), 3).unwrap().is_none());
        // A mixture along one direction, with another that nearly is a function of it.
        let line = rows(3000, |z| {
            let a = if z[2] > 0.0 { 1.5 + 0.2 * z[0] } else { -1.5 + 0.2 * z[0] };
            [a, a + 0.05 * z[1], z[2]]
        });
        let found = map(Whitening::Auto, Sample::from(&line[..]), 3).unwrap().unwrap();
        assert!(found.gain.unwrap() > 0.3 && found.words().unwrap().contains("held-out rows gain"), "{:?}", found.gain);
        let apart = rows(3000, |z| [z[0], z[1], z[2]]);
        assert!(map(Whitening::Auto, Sample::from(&apart[..]), 3).unwrap().is_none());
        // Whole numbers with little noise, weakly correlated: mixed they lose their steps.
        let stepped = rows(3000, |z| {
            let a = z[0].round();
            [a + 0.01 * z[1], (0.5 * a + z[2]).round() + 0.01 * z[1], z[1]]
        });
        assert!(map(Whitening::Auto, Sample::from(&stepped[..]), 3).unwrap().is_none());
        // Few rows.
        assert!(map(Whitening::Auto, Sample::from(&correlated[..3 * 150]), 3).unwrap().is_none());
    }
}
