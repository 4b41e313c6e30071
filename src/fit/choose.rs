//! The number of components and the strength of the prior, chosen by the NLL of held-out rows.
//!
//! Few components cost little, so all of 1, 2, 3, 4, 6, 8, 12, 16 are tried while one of the last three was better;
//! beyond each rung has two or four times as many as the one before, and costs as much more; from there the climb ends
//! at the first that is no better, and numbers between the best and its neighbours are tried. Then EM goes on with the
//! best over all rows; components are put where rows are explained worst ([`Em::insert`]): a mode of one row in a
//! thousand is missed by every rung whose centres miss it; and weaker priors are tried, which a narrow mode of few rows
//! needs. A change that does not lower the NLL of held-out rows is dropped.

use rand::seq::index;

use super::effort::{Effort, cost_of_prior, cost_of_step};
use super::insert::cost_of_insertion;
use super::start::cost_of_clusters;
use super::units::Units;
use crate::fit::{Em, EmOptions};
use crate::stats::{Sample, weighted_mean_and_se};
use crate::transform::mixture::Mixture;
use crate::{Error, Result, Rng};

/// The rungs.
const LADDER: [usize; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 256, 1024];
/// Up to this many components the climb ends after this many rungs without a gain; beyond, after one.
const CHEAP: usize = 16;
const MISSES: usize = 3;
/// What is tried beside the best rung, as parts of it.
const BETWEEN: [(usize, usize); 4] = [(1, 2), (3, 4), (3, 2), (2, 1)];
/// The least rows for a component.
const ROWS: usize = 8;
/// On a rung EM ends at this gain in nats a row, or after this many iterations: enough to distinguish rungs.
const GAIN: f64 = 5e-3;
const ITERATIONS: usize = 10;
/// Rows for each component that a rung is fitted to, and the least of them: a low rung needs no more to be
/// distinguished from the next.
const SHARE: usize = 512;
const LEAST: usize = 1 << 14;
/// Where there are fewer rows than this for each number of the covariances, stronger priors are tried too.
const SCARCE: usize = 8;
/// How much stronger.
const STRONGER: [f64; 2] = [10.0, 50.0];
/// One Gaussian of scarce rows is shrunk towards its diagonal: the strengths tried, as parts of the number of rows.
/// Ref: Ledoit & Wolf, *A well-conditioned estimator for large-dimensional covariance matrices* (2004).
const SHRUNK: [f64; 5] = [0.02, 0.1, 0.5, 2.0, 10.0];
/// How much weaker, one after the other.
const WEAKER: [f64; 2] = [0.1, 0.01];
/// Iterations between two scores of the held-out rows.
const POLISH: usize = 3;
/// The most components that are put where rows are explained worst, one after another.
const INSERTIONS: usize = 16;
/// A rung is begun where the budget covers its start and this many iterations.
const USEFUL: usize = 2;

/// The mixture with the best held-out likelihood, and what was tried.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The best.
    pub mixture: Mixture,
    /// Components and held-out NLL in nats a row, in the order tried: one line for each rung and strength, then one for
    /// each stretch of further iterations, each component that was put in, and each weaker prior.
    pub table: Vec<(usize, f64)>,
}

/// The best so far.
struct Best {
    mixture: Mixture,
    strength: f64,
    /// The prior is the diagonal alone.
    diagonal: bool,
    nll: f64,
}

/// A choice under way.
struct Choice<'a> {
    train: Sample<'a>,
    valid: Sample<'a>,
    dim: usize,
    options: &'a EmOptions,
    best: Option<Best>,
    table: Vec<(usize, f64)>,
}

impl Mixture {
    /// Fits 1, 2, 3, 4, 6, … components (no more than `options.components`, and one for eight rows) to `train` and
    /// keeps the mixture with the least NLL on `valid`; both are `[n, dim]` row-major, with their weights where they have
    /// some. It climbs while the NLL falls,
    /// tries stronger priors where rows are scarce, and then goes on with the best, to `options.iterations` and
    /// `options.tolerance`, while the held-out NLL falls; puts components where rows are explained worst; and tries
    /// weaker priors. `stop` is called before each iteration and ends the fit early, as `options.work` does.
    ///
    /// # Errors
    /// As [`Mixture::fit`]; [`Error::Invalid`] without validation rows.
    pub fn choose<'a>(
        train: impl Into<Sample<'a>>,
        valid: impl Into<Sample<'a>>,
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Chosen> {
        let (train, valid) = (train.into(), valid.into());
        if dim == 0 || valid.x.len() < dim {
            return Err(Error::invalid("there are no validation rows to choose a mixture by", "give at least one row"));
        }
        if let Some(units) = Units::needed(train.x, dim)? {
            let (inner, outer) = (units.of(train.x), units.of(valid.x));
            let (train, valid) = (Sample { x: &inner, ..train }, Sample { x: &outer, ..valid });
            let Chosen { mixture, table } = Self::choose(train, valid, dim, options, rng, stop)?;
            let log_volume = units.log_volume();
            let table = table.into_iter().map(|(components, nll)| (components, nll + log_volume)).collect();
            return Ok(Chosen { mixture: units.back(&mixture)?, table });
        }
        let mut effort = Effort::new(options.work, stop);
        let mut choice = Choice { train, valid, dim, options, best: None, table: Vec::new() };
        choice.climb(rng, &mut effort)?;
        choice.finish(&mut effort)?;
        let best =
            choice.best.ok_or_else(|| Error::invalid("a mixture of 0 components", "allow at least one component"))?;
        Ok(Chosen { mixture: best.mixture, table: choice.table })
    }
}

impl Choice<'_> {
    /// Records a mixture and keeps it if it is better than the best; returns the gain.
    fn see(&mut self, mixture: Mixture, strength: f64, diagonal: bool) -> f64 {
        let scores = mixture.log_prob_rows(self.valid.x);
        let nll = -weighted_mean_and_se(&scores, self.valid.weight).0;
        self.table.push((mixture.components(), nll));
        let gain = self.best.as_ref().map_or(f64::INFINITY, |best| best.nll - nll);
        if gain > 0.0 {
            self.best = Some(Best { mixture, strength, diagonal, nll });
        }
        gain
    }

    /// The ladder.
    fn climb(&mut self, rng: &mut Rng, effort: &mut Effort<'_>) -> Result<()> {
        let mut misses = 0;
        for components in LADDER {
            match self.rung(components, rng, effort)? {
                None => return Ok(()),
                Some(true) => misses = 0,
                Some(false) => misses += 1,
            }
            let most = if components < CHEAP { MISSES } else { 1 };
            if misses >= most {
                break;
            }
        }
        let best = self.best.as_ref().map_or(1, |best| best.mixture.components());
        // Where more are better but not allowed, all that is left goes into the most.
        let between = if (CHEAP..self.options.components).contains(&best) { &BETWEEN[..] } else { &[] };
        for (over, under) in between {
            let components = best * over / under;
            if self.table.iter().all(|(tried, _)| *tried != components) && self.rung(components, rng, effort)?.is_none()
            {
                break;
            }
        }
        Ok(())
    }

    /// Fits this many components, under each strength that is worth trying: whether they were better than the best;
    /// none where they cannot be had.
    fn rung(&mut self, components: usize, rng: &mut Rng, effort: &mut Effort<'_>) -> Result<Option<bool>> {
        let (d, options) = (self.dim, self.options);
        let (n, informative) = (self.train.x.len() / d, self.train.effective(d) as usize);
        if components > options.components || (components > 1 && components * ROWS > informative) {
            return Ok(None);
        }
        let most = LEAST.max(SHARE * components);
        let rows = n.min(most);
        let cost = cost_of_prior(rows, d)
            + cost_of_clusters(rows, components, d)
            + USEFUL as f64 * cost_of_step(rows, components, d);
        // The first is there in any case.
        if self.best.is_some() && !effort.allows(cost) {
            return Ok(None);
        }
        let scarce = informative < SCARCE * components * d * (d + 1) / 2;
        let stronger = STRONGER.into_iter().filter(|_| scarce && components > 1);
        let (part, weight) = part(self.train, d, most, rng);
        let part = Sample { x: &part, weight: &weight };
        let (mut rose, mut weaker) = (false, f64::INFINITY);
        for times in std::iter::once(1.0).chain(stronger) {
            if times > 1.0 && !effort.allows(cost) {
                break;
            }
            let strength = times * options.strength;
            let (iterations, tolerance) = (options.iterations.min(ITERATIONS), options.tolerance.max(GAIN));
            let rung = EmOptions { components, iterations, tolerance, strength, ..options.clone() };
            rose |= self.see(Mixture::fit_within(part, d, &rung, rng, effort)?, strength, false) > 0.0;
            let nll = self.table.last().map_or(f64::NAN, |(_, nll)| *nll);
            if nll > weaker {
                break;
            }
            weaker = nll;
        }
        for times in SHRUNK.into_iter().filter(|_| scarce && components == 1) {
            if !effort.allows(cost_of_prior(rows, d) + cost_of_step(rows, 1, d)) {
                break;
            }
            let strength = times * part.effective(d);
            let one = EmOptions { components, strength, diagonal: true, ..options.clone() };
            rose |= self.see(Mixture::fit_within(part, d, &one, rng, effort)?, strength, true) > 0.0;
        }
        Ok(Some(rose))
    }

    /// Over all rows: more iterations, more components, weaker priors.
    fn finish(&mut self, effort: &mut Effort<'_>) -> Result<()> {
        let (n, d, options) = (self.train.x.len() / self.dim, self.dim, self.options);
        let Some(Best { mixture, strength, diagonal, .. }) = &self.best else { return Ok(()) };
        // Rows so scarce bear no second component, and one is at its best.
        if *diagonal {
            return Ok(());
        }
        let (k, strength) = (mixture.components(), *strength);
        let (x, weight) = super::start::neighbours(self.train, d);
        let rows = Sample { x: &x, weight: &weight };
        if !effort.pay(cost_of_prior(n, d) + cost_of_step(n, k, d)) {
            return Ok(());
        }
        let em = Em::new(rows, d, k, strength)?;
        let stretches = options.iterations.saturating_sub(ITERATIONS).div_ceil(POLISH);
        self.polish(&em, strength, stretches, effort)?;
        for _ in 0..INSERTIONS {
            let Some(best) = &self.best else { break };
            let k = best.mixture.components() + 1;
            let cost = cost_of_prior(n, d) + cost_of_insertion(n, k, d) + POLISH as f64 * cost_of_step(n, k, d);
            if k > options.components || k * ROWS > em.count as usize || !effort.allows(cost) {
                break;
            }
            effort.spend(cost_of_prior(n, d));
            let em = Em::new(rows, d, k, strength)?;
            let Some(more) = em.insert(&best.mixture, effort)? else { break };
            let more = em.climb_within(more, POLISH, options.tolerance, effort)?;
            if self.see(more, strength, false) <= 0.0 {
                break;
            }
        }
        for times in WEAKER {
            let Some(best) = &self.best else { break };
            let k = best.mixture.components();
            // Stronger ones were chosen for scarce rows: weaker ones have lost there.
            if strength > options.strength
                || !effort.allows(cost_of_prior(n, d) + POLISH as f64 * cost_of_step(n, k, d))
            {
                break;
            }
            effort.spend(cost_of_prior(n, d));
            let em = Em::new(rows, d, k, times * strength)?;
            let looser = em.climb_within(best.mixture.clone(), POLISH, options.tolerance, effort)?;
            if self.see(looser, times * strength, false) <= 0.0 {
                break;
            }
        }
        Ok(())
    }

    /// More iterations with the best, while the held-out NLL falls.
    fn polish(&mut self, em: &Em<'_>, strength: f64, stretches: usize, effort: &mut Effort<'_>) -> Result<()> {
        for _ in 0..stretches {
            let Some(best) = &self.best else { break };
            if !effort.allows(cost_of_step(em.n(), best.mixture.components(), self.dim)) {
                break;
            }
            let mixture = em.climb_within(best.mixture.clone(), POLISH, self.options.tolerance, effort)?;
            let gain = self.see(mixture, strength, false);
            if gain.is_nan() || gain <= self.options.tolerance {
                break;
            }
        }
        Ok(())
    }
}

/// At most `most` of the rows, drawn without replacement, and their weights.
fn part(rows: Sample<'_>, d: usize, most: usize, rng: &mut Rng) -> (Vec<f64>, Vec<f64>) {
    let n = rows.x.len() / d;
    if n <= most {
        return (rows.x.to_vec(), rows.weight.to_vec());
    }
    rows.pick(d, &index::sample(rng, n, most).into_vec())
}
