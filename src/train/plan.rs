//! The phases of a run: what follows from a job.

use std::ops::Range;

use super::batch::BatchSampler;
use super::crew::Crew;
use super::objective::Draw;
use super::{Batch, Criterion, Job, Objective};
use crate::Result;
use crate::continuous::SolverSpec;
use crate::model::Architecture;

/// A stretch of the budget under one criterion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    pub criterion: Criterion,
    /// The parts of the budget at which it begins and ends.
    pub from: f64,
    pub to: f64,
    /// The highest learning rate.
    pub lr: f64,
    draw: Draw,
}

impl Phase {
    /// How much of it is done when so much of the whole budget is.
    pub fn part(&self, done: f64) -> f64 {
        (done - self.from) / (self.to - self.from)
    }

    /// The rows of a batch that this process of `crew` computes: see [`Criterion::share`].
    ///
    /// # Errors
    /// As there.
    pub fn share(&self, architecture: &Architecture, theta: &[f64], crew: &dyn Crew) -> Result<Range<usize>> {
        self.criterion.share(architecture, theta, self.draw.rows, crew)
    }

    /// The next batch, of which the rows of `part` are computed here.
    pub fn draw(&self, sampler: &mut BatchSampler<'_>, part: Range<usize>) -> Result<Batch> {
        self.criterion.draw(sampler, self.draw, part)
    }
}

impl Job {
    /// What is minimised, one after another.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let (lr, rows) = (self.optimiser.lr.unwrap_or_default(), self.optimiser.batch.unwrap_or_default());
        let draw = |rows| Draw {
            rows,
            pairing: self.objective.pairing,
            block: self.objective.pairing_block,
            time_exponent: self.objective.time_exponent(),
            steer: self.objective.steer,
        };
        let whole = |criterion| Phase { criterion, from: 0.0, to: 1.0, lr, draw: draw(rows) };
        match self.objective.kind {
            Objective::Matching => vec![whole(Criterion::Matching)],
            Objective::Likelihood => vec![whole(Criterion::Likelihood)],
            Objective::Mixed => {
                let change = 1.0 - self.objective.likelihood_share;
                let (lr, rows) =
                    (self.objective.likelihood_lr.unwrap_or(lr), self.objective.likelihood_batch.unwrap_or(rows));
                vec![
                    Phase { to: change, ..whole(Criterion::Matching) },
                    Phase { criterion: Criterion::Likelihood, from: change, to: 1.0, lr, draw: draw(rows) },
                ]
            }
        }
    }

    /// The solver of the likelihood's steps.
    pub(super) fn training_solver(&self) -> SolverSpec {
        match self.objective.likelihood_tol {
            None => self.solver.clone(),
            Some(tol) => SolverSpec { rtol: tol, atol: tol, log_density_atol: None, ..self.solver.clone() },
        }
    }
}
