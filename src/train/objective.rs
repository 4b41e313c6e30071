//! How the batches of a criterion are drawn, and its loss and gradient.

use std::ops::Range;

use super::batch::{Batch, BatchSampler};
use super::crew::{Alone, Crew, Shared};
use super::criterion::{Criterion, LossContext};
use super::discrete::DiscreteLikelihood;
use super::likelihood::Likelihood;
use super::loss::{FixedTree, LossGradient, Reduce, evaluate};
use super::matching::{self, Matching};
use super::{Conditions, Pairing, Precision, assignment};
use crate::Result;
use crate::continuous::narrowed;
use crate::model::Architecture;
use crate::rows::Rows;
use crate::velocity::Number;

/// How the batches of a run are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub rows: usize,
    pub pairing: Pairing,
    /// Rows that are paired with each other.
    pub block: usize,
    /// The exponent of the sampling of times: see [`BatchSampler::times`].
    pub time_exponent: f64,
    /// The end time is uniform in 1 ± this.
    pub steer: f64,
}

impl Criterion {
    /// The next batch. Latents are paired with the rows of `part` only, where others are nobody's here.
    pub(super) fn draw(self, sampler: &mut BatchSampler<'_>, draw: Draw, part: Range<usize>) -> Result<Batch> {
        let n = draw.rows;
        let Rows { x, context: c, weight } = sampler.rows(n)?;
        let x = x.into_f64();
        Ok(match self {
            Self::Matching => {
                let mut z = sampler.latents(&x);
                match (draw.pairing, c.is_empty()) {
                    (Pairing::Independent, _) => {}
                    (Pairing::Optimal, true) => assignment::pair_part(&x, &mut z, x.len() / n, draw.block, part),
                    (Pairing::Optimal, false) => {
                        let given = Conditions { rows: &c, weights: sampler.weights() };
                        assignment::pair_given_part(&x, &mut z, given, x.len() / n, draw.block, part);
                    }
                }
                let t = sampler.times(n, draw.time_exponent);
                Batch { x, c, weight, z, t, ..Batch::default() }
            }
            Self::Likelihood => {
                let probe_seed = sampler.probe_seed();
                let end = if draw.steer > 0.0 { 1.0 + draw.steer * sampler.swing() } else { 1.0 };
                Batch { x, c, weight, probe_seed, end, ..Batch::default() }
            }
        })
    }

    /// The rows of a batch of `n` whose gradient this process of `crew` computes.
    ///
    /// # Errors
    /// As [`VelocitySpec::bind`](crate::velocity::VelocitySpec::bind).
    pub(super) fn share(
        self,
        architecture: &Architecture,
        theta: &[f64],
        n: usize,
        crew: &dyn Crew,
    ) -> Result<Range<usize>> {
        if crew.size() == 1 || self != Self::Matching {
            return Ok(0..n);
        }
        let theta = narrowed::<f32>(theta);
        let each = matching::chunk_rows(&*architecture.velocity()?.bind_here(&theta)?, n);
        let chunks = Reduce::<f32>::share(&Shared(crew), n.div_ceil(each));
        Ok(chunks.start * each..n.min(chunks.end * each))
    }

    /// The loss of a batch and its gradient by `theta` (`[n_params]`, rounded to `precision`, in which the net
    /// computes), with the parts of the loss where it is a likelihood.
    ///
    /// Rows are taken in fixed chunks, and what these add is summed along a fixed tree: the bits depend neither on the
    /// number of threads nor on which of them computes what.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) where a row has no density (of a continuous flow, more than half of
    /// them); [`Error::Degenerate`](crate::Error::Degenerate) for parameters that are not a bijection;
    /// [`Error::Parameters`](crate::Error::Parameters) where θ does not fit; [`Error::Invalid`](crate::Error::Invalid)
    /// for a batch whose numbers are not whole rows; any error of the solver.
    pub fn gradient(
        self,
        context: &LossContext,
        theta: &[f64],
        precision: Precision,
        batch: &Batch,
    ) -> Result<LossGradient> {
        self.gradient_of_crew(context, theta, precision, batch, &Alone)
    }

    /// As [`Criterion::gradient`], to the same bits, with the chunks of the batch divided among the processes of `crew`:
    /// each of them calls this with the same batch.
    ///
    /// # Errors
    /// As [`Criterion::gradient`] and [`Crew::allgather`]; an error of one process is that of all.
    pub fn gradient_of_crew(
        self,
        context: &LossContext,
        theta: &[f64],
        precision: Precision,
        batch: &Batch,
        crew: &dyn Crew,
    ) -> Result<LossGradient> {
        match (precision, crew.size()) {
            (Precision::F32, 1) => self.gradient_in::<f32>(context, theta, batch, &FixedTree),
            (Precision::F64, 1) => self.gradient_in::<f64>(context, theta, batch, &FixedTree),
            (Precision::F32, _) => self.gradient_in::<f32>(context, theta, batch, &Shared(crew)),
            (Precision::F64, _) => self.gradient_in::<f64>(context, theta, batch, &Shared(crew)),
        }
    }

    fn gradient_in<T: Number>(
        self,
        context: &LossContext,
        theta: &[f64],
        batch: &Batch,
        reduce: &impl Reduce<T>,
    ) -> Result<LossGradient> {
        let theta = narrowed::<T>(theta);
        batch.check(&context.architecture, self)?;
        let condition = narrowed::<T>(&batch.c);
        match (self, &context.architecture) {
            (Self::Matching, architecture) => {
                let velocity = architecture.velocity()?.bind_here(&theta)?;
                let LossContext { path, weight, time_exponent, .. } = *context;
                let condition = &condition[..];
                let matching = Matching { velocity: &*velocity, path, weight, time_exponent, batch, condition };
                evaluate(&matching, reduce)
            }
            (Self::Likelihood, Architecture::Discrete(spec)) => {
                evaluate(&DiscreteLikelihood::new(spec, &theta, batch)?, reduce)
            }
            (Self::Likelihood, architecture) => {
                let spec = architecture.velocity()?;
                let velocity = spec.bind_here(&theta)?;
                let x = narrowed::<T>(&batch.x);
                evaluate(&Likelihood::new(context, spec, &*velocity, batch, (&x, &condition))?, reduce)
            }
        }
    }
}
