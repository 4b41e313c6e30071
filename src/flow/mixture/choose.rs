//! How many components, and how strong a prior: a ladder, climbed while held-out rows agree.

use std::borrow::Cow;

use rand::seq::index;

use super::units::Units;
use super::{Em, EmOptions, Mixture};
use crate::{Error, Result, Rng};

/// The rungs.
const LADDER: [usize; 6] = [1, 4, 16, 64, 256, 1024];
/// The least rows for a component.
const ROWS: usize = 8;
/// On a rung EM ends at this gain in nats a row, or after so many iterations: enough to tell rungs apart.
const GAIN: f64 = 5e-3;
const ITERATIONS: usize = 10;
/// Rows for each component that a rung is fitted to, and the least of them: a low rung needs no more to be told from the
/// next.
const SHARE: usize = 512;
const LEAST: usize = 1 << 14;
/// Where there are fewer rows than this for each number of the covariances, stronger priors are tried too.
const SCARCE: usize = 8;
/// How much stronger.
const STRONGER: [f64; 2] = [10.0, 50.0];
/// Iterations between two looks at the held-out rows.
const POLISH: usize = 3;

/// The mixture with the best held-out likelihood, and what was tried.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The best.
    pub mixture: Mixture,
    /// Components and held-out NLL in nats a row, in the order tried: one line for each rung and strength, then one for
    /// each stretch of further iterations on the best.
    pub table: Vec<(usize, f64)>,
}

/// The best so far.
struct Best {
    mixture: Mixture,
    strength: f64,
    nll: f64,
}

impl Mixture {
    /// Fits 1, 4, 16, … components (no more than `options.components`, and one for eight rows) to `train` and keeps the
    /// mixture with the least NLL on `valid`; both are `[n, dim]` row-major. It climbs while the NLL falls, tries stronger
    /// priors where rows are scarce, and then goes on with the best, to `options.iterations` and `options.tolerance`,
    /// while the held-out NLL falls. `stop` is asked before each iteration and ends it early.
    ///
    /// # Errors
    /// As [`Mixture::fit`]; [`Error::Invalid`] without validation rows.
    pub fn choose(
        train: &[f64],
        valid: &[f64],
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Chosen> {
        if dim == 0 || valid.len() < dim {
            return Err(Error::invalid("there are no validation rows to choose a mixture by", "give some"));
        }
        if let Some(units) = Units::needed(train, dim)? {
            let Chosen { mixture, table } = Self::choose(&units.of(train), &units.of(valid), dim, options, rng, stop)?;
            let log_volume = units.log_volume();
            let table = table.into_iter().map(|(components, nll)| (components, nll + log_volume)).collect();
            return Ok(Chosen { mixture: units.back(&mixture)?, table });
        }
        let n = train.len() / dim;
        let held_out = |mixture: &Self| {
            let scores = mixture.log_prob_rows(valid);
            -scores.iter().sum::<f64>() / scores.len() as f64
        };
        let mut best: Option<Best> = None;
        let mut table = Vec::new();
        for components in LADDER.into_iter().filter(|k| *k <= options.components && (*k == 1 || k * ROWS <= n)) {
            if best.is_some() && stop() {
                break;
            }
            let scarce = n < SCARCE * components * dim * (dim + 1) / 2;
            let stronger = STRONGER.into_iter().filter(|_| scarce && components > 1);
            let part = part(train, dim, LEAST.max(SHARE * components), rng);
            let (mut rose, mut weaker) = (false, f64::INFINITY);
            for times in std::iter::once(1.0).chain(stronger) {
                if times > 1.0 && stop() {
                    break;
                }
                let strength = times * options.strength;
                let (iterations, tolerance) = (options.iterations.min(ITERATIONS), options.tolerance.max(GAIN));
                let rung = EmOptions { components, iterations, tolerance, strength };
                let mixture = Self::fit(&part, dim, &rung, rng, stop)?;
                let nll = held_out(&mixture);
                table.push((components, nll));
                if best.as_ref().is_none_or(|best| nll < best.nll) {
                    best = Some(Best { mixture, strength, nll });
                    rose = true;
                }
                if nll > weaker {
                    break;
                }
                weaker = nll;
            }
            if !rose {
                break;
            }
        }
        let mut best = best.ok_or_else(|| Error::invalid("a mixture of no components", "allow at least one"))?;
        let x = super::start::neighbours(train, dim);
        let em = Em::new(&x, dim, best.mixture.components(), best.strength)?;
        for _ in 0..options.iterations.saturating_sub(ITERATIONS).div_ceil(POLISH) {
            if stop() {
                break;
            }
            let mixture = em.climb(best.mixture.clone(), POLISH, options.tolerance, stop)?;
            let nll = held_out(&mixture);
            table.push((mixture.components(), nll));
            let gain = best.nll - nll;
            if gain > 0.0 {
                best = Best { mixture, nll, ..best };
            }
            if gain.is_nan() || gain <= options.tolerance {
                break;
            }
        }
        Ok(Chosen { mixture: best.mixture, table })
    }
}

/// At most `most` of the rows, drawn without replacement.
fn part<'a>(x: &'a [f64], d: usize, most: usize, rng: &mut Rng) -> Cow<'a, [f64]> {
    let n = x.len() / d;
    if n <= most {
        return Cow::Borrowed(x);
    }
    index::sample(rng, n, most).into_iter().flat_map(|i| &x[i * d..(i + 1) * d]).copied().collect()
}
