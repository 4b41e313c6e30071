//! A mixture of a given number of components fitted to rows: a start, then EM.

use super::effort::{Effort, EmOptions, cost_of_prior};
use super::em::Em;
use super::start::{neighbours, start};
use super::units::Units;
use crate::transform::mixture::Mixture;
use crate::{Result, Rng};

impl Mixture {
    /// A mixture of `options.components` fitted to the rows of `x`, `[n, dim]` row-major; `stop` is called before each
    /// iteration, and ends the fit early.
    ///
    /// # Errors
    /// As [`Em::new`] and [`Em::step`].
    pub fn fit(
        x: &[f64],
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Self> {
        if let Some(units) = Units::needed(x, dim)? {
            return units.back(&Self::fit(&units.of(x), dim, options, rng, stop)?);
        }
        Self::fit_within(x, dim, options, rng, &mut Effort::new(options.work, stop))
    }

    /// As [`Mixture::fit`], with what is left of a larger fit's work.
    pub(crate) fn fit_within(
        x: &[f64],
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        effort: &mut Effort<'_>,
    ) -> Result<Self> {
        let x = neighbours(x, dim);
        effort.spend(cost_of_prior(x.len().checked_div(dim).unwrap_or(0), dim));
        let em = Em::new(&x, dim, options.components, options.strength)?.diagonal(options.diagonal);
        let mixture = start(&em, &x, dim, options, rng, effort)?;
        // One Gaussian is at its best at once.
        let iterations = if options.components == 1 { 0 } else { options.iterations };
        em.climb_within(mixture, iterations, options.tolerance, effort)
    }
}
