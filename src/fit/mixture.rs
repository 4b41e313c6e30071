//! A mixture of a given number of components fitted to rows: a start, then EM.

use super::effort::{Effort, EmOptions, cost_of_prior};
use super::em::Em;
use super::start::{neighbours, start};
use super::units::Units;
use crate::stats::Sample;
use crate::transform::mixture::Mixture;
use crate::{Result, Rng};

impl Mixture {
    /// A mixture of `options.components` fitted to rows `[n, dim]`, with their weights where they have some; `stop` is called before each
    /// iteration, and ends the fit early.
    ///
    /// # Errors
    /// As [`Em::new`] and [`Em::step`].
    pub fn fit<'a>(
        rows: impl Into<Sample<'a>>,
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Self> {
        let rows = rows.into();
        if let Some(units) = Units::needed(rows.x, dim)? {
            let scaled = Sample { x: &units.of(rows.x), ..rows };
            return units.back(&Self::fit(scaled, dim, options, rng, stop)?);
        }
        Self::fit_within(rows, dim, options, rng, &mut Effort::new(options.work, stop))
    }

    /// As [`Mixture::fit`], with what is left of a larger fit's work.
    pub(crate) fn fit_within(
        rows: Sample<'_>,
        dim: usize,
        options: &EmOptions,
        rng: &mut Rng,
        effort: &mut Effort<'_>,
    ) -> Result<Self> {
        let (x, weight) = neighbours(rows, dim);
        let rows = Sample { x: &x, weight: &weight };
        effort.spend(cost_of_prior(x.len().checked_div(dim).unwrap_or(0), dim));
        let em = Em::new(rows, dim, options.components, options.strength)?.diagonal(options.diagonal);
        let mixture = start(&em, rows, dim, options, rng, effort)?;
        // One Gaussian is at its best at once.
        let iterations = if options.components == 1 { 0 } else { options.iterations };
        em.climb_within(mixture, iterations, options.tolerance, effort)
    }
}
