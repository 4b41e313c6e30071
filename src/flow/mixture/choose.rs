//! How many components: a ladder, climbed while held-out rows agree.

use super::{EmOptions, Mixture};
use crate::{Error, Result, Rng};

/// The rungs.
const LADDER: [usize; 6] = [1, 4, 16, 64, 256, 1024];
/// The least rows for a component.
const ROWS: usize = 8;

/// The mixture with the best held-out likelihood, and what was tried.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The best.
    pub mixture: Mixture,
    /// Components and held-out NLL in nats a row, in the order tried.
    pub table: Vec<(usize, f64)>,
}

impl Mixture {
    /// Fits 1, 4, 16, … components (no more than `options.components`, and one for eight rows) to `train` and keeps the
    /// mixture with the least NLL on `valid`; both are `[n, dim]` row-major. It stops when the NLL gets worse, or when
    /// `stop`, which is asked before each iteration, says so.
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
        if valid.len() < dim || dim == 0 {
            return Err(Error::invalid("there are no validation rows to choose a mixture by", "give some"));
        }
        let n = train.len() / dim;
        let mut best: Option<(Mixture, f64)> = None;
        let mut table = Vec::new();
        for components in LADDER.into_iter().filter(|k| *k <= options.components && (*k == 1 || k * ROWS <= n)) {
            if best.is_some() && stop() {
                break;
            }
            let mixture = Self::fit(train, dim, &EmOptions { components, ..options.clone() }, rng, stop)?;
            let scores = mixture.log_prob_rows(valid);
            let nll = -scores.iter().sum::<f64>() / scores.len() as f64;
            table.push((components, nll));
            match &best {
                Some((_, least)) if !(nll < *least) => break,
                _ => best = Some((mixture, nll)),
            }
        }
        let (mixture, _) = best.ok_or_else(|| Error::invalid("a mixture of no components", "allow at least one"))?;
        Ok(Chosen { mixture, table })
    }
}
