//! Maximum likelihood of a continuous flow through the solver, with penalties along the paths and any end time.
//!
//! loss = mean over rows of −log p(x) + λ_K ∫ |m|² dt + λ_J ∫ ‖∂m/∂x‖² dt
//!
//! Ref: Finlay et al., *How to train your neural ODE* (2020), who divide all three by d: the same minimum at the same
//! weights. (Their code counts bits and halves |m|²: its λ_K = λ_J = 0.01 are λ_K = 0.0035 and λ_J = 0.0069 here.) The
//! time at which the data lie may be drawn anew for each batch: Ghosh et al., *STEER* (2020).

use std::ops::Range;

use super::loss::{Loss, LossGradient, Partial, Parts, Sums};
use super::{Batch, LossContext};
use crate::continuous::taped::{CHUNK, EndBar, transport_taped};
use crate::continuous::transport::Request;
use crate::continuous::{SolverSpec, widened};
use crate::transform::{Cost, check_failures};
use crate::velocity::{Penalties, Scalar, Trace, Velocity, VelocitySpec, check_device};
use crate::{Error, Result};

/// The latest time at which data may lie: twice the usual one is STEER's widest interval.
const LATEST: f64 = 2.0;

/// nll + `context.kinetic` · kinetic + `context.jacobian` · jacobian of the rows of a batch under a continuous flow.
///
/// A row whose trajectory failed is left out of the means. A weight of 0 costs nothing.
pub(super) struct Likelihood<'a, T> {
    velocity: &'a dyn Velocity<T>,
    context: &'a LossContext,
    /// The batch's rows and conditions in the velocity's precision.
    x: &'a [T],
    condition: &'a [T],
    solver: SolverSpec,
    trace: Trace,
    end: f64,
    penalties: Penalties,
}

impl<'a, T: Scalar> Likelihood<'a, T> {
    /// Of the velocity of `spec`, bound to its weights; `x` and `condition` are those of the batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an end time outside (0, 2] and invalid options.
    pub fn new(
        context: &'a LossContext,
        spec: &VelocitySpec,
        velocity: &'a dyn Velocity<T>,
        batch: &Batch,
        (x, condition): (&'a [T], &'a [T]),
    ) -> Result<Self> {
        let solver = SolverSpec { probe_seed: batch.probe_seed, ..context.solver.clone() };
        solver.validate()?;
        check_end(batch.end)?;
        let trace = solver.trace.of(spec)?;
        let penalties = Penalties { kinetic: context.kinetic != 0.0, jacobian: context.jacobian != 0.0 };
        Ok(Self { velocity, context, x, condition, solver, trace, end: batch.end, penalties })
    }
}

/// Refuses a time at which no flow can end.
fn check_end(t: f64) -> Result<()> {
    if t > 0.0 && t <= LATEST {
        return Ok(());
    }
    let problem = format!("a flow cannot end at time {}", crate::words::exact(t));
    Err(Error::invalid(problem, format!("give a time above 0, at most {LATEST}")))
}

impl<T: Scalar> Loss<T> for Likelihood<'_, T> {
    type Scratch = ();

    fn rows(&self) -> usize {
        self.x.len() / self.velocity.dim()
    }

    fn chunk_rows(&self) -> usize {
        CHUNK
    }

    fn scratch(&self) {}

    fn chunk(&self, (): &mut (), rows: Range<usize>) -> Result<Partial<T>> {
        let (d, c, p) = (self.velocity.dim(), self.velocity.condition_dim(), self.penalties.count());
        let span = (self.end, 0.0);
        let request = Request { span, solver: &self.solver, trace: self.trace, log_density: true, progress: None };
        let (x, condition) = (&self.x[rows.start * d..rows.end * d], &self.condition[rows.start * c..rows.end * c]);
        let taped = transport_taped(self.velocity, x, condition, &request, self.penalties)?;
        let cost = &taped.transported.cost;
        let mut arrived = vec![true; rows.len()];
        cost.failures.iter().for_each(|(row, _)| arrived[*row] = false);
        let z = widened(&taped.transported.y);
        let log_prob = self.context.base.log_prob_rows(&z);
        let mut sums = Sums { nfe: cost.nfe.iter().map(|nfe| f64::from(*nfe)).sum(), ..Sums::default() };
        for row in (0..rows.len()).filter(|row| arrived[*row]) {
            let mut penalties = taped.penalties[row * p..(row + 1) * p].iter();
            sums.rows += 1.0;
            sums.loss -= log_prob[row] + taped.transported.logdet[row];
            sums.kinetic += if self.penalties.kinetic { penalties.next().copied().unwrap_or(f64::NAN) } else { 0.0 };
            sums.jacobian += if self.penalties.jacobian { penalties.next().copied().unwrap_or(f64::NAN) } else { 0.0 };
        }
        // Of the mean over all rows of the batch: which of them fail in other chunks is not known here.
        let weight = T::of(1.0 / self.rows() as f64);
        let of = |lambda: f64| T::of(lambda) * weight;
        let context = self.context;
        let weights = [(self.penalties.kinetic, context.kinetic), (self.penalties.jacobian, context.jacobian)];
        let weights: Vec<T> = weights.into_iter().filter(|(wanted, _)| *wanted).map(|(_, w)| of(w)).collect();
        // The score of the base is −∂(−log p)/∂z.
        let y_bar: Vec<T> = context.base.score_rows(&z).into_iter().map(|s| T::of(-s * weight.to_f64())).collect();
        let logdet_bar = vec![-weight; rows.len()];
        let penalties_bar: Vec<T> = (0..rows.len()).flat_map(|_| weights.iter().copied()).collect();
        let bar = EndBar { y: &y_bar, logdet: &logdet_bar, penalties: &penalties_bar };
        let (_, gradient) = taped.pull_back_unfolded(bar);
        check_device(self.velocity)?;
        let failures = cost.failures.iter().map(|(row, failure)| (rows.start + row, *failure)).collect();
        Ok(Partial { sums, failures, gradient, gradient_f64: Vec::new() })
    }

    fn finish(&self, sum: Partial<T>) -> Result<LossGradient> {
        let Partial { sums, failures, mut gradient, .. } = sum;
        let n = self.rows();
        let failed = failures.len();
        if 2 * failed > n {
            check_failures(&Cost { failures, ..Cost::default() }, n)?;
        }
        self.velocity.fold_gradient(&mut gradient);
        let mut gradient = widened(&gradient[..self.velocity.n_params()]);
        if failed > 0 {
            // The means are over the rows that arrived.
            let scale = n as f64 / sums.rows;
            gradient.iter_mut().for_each(|g| *g *= scale);
        }
        let (nll, kinetic, jacobian) = (sums.loss / sums.rows, sums.kinetic / sums.rows, sums.jacobian / sums.rows);
        let loss = nll + kinetic * self.context.kinetic + jacobian * self.context.jacobian;
        let parts = Parts { nll, kinetic, jacobian, nfe_mean: sums.nfe / n as f64 };
        // In the velocity's precision: a loss beyond its range is not finite.
        Ok(LossGradient { loss: T::of(loss).to_f64(), parts: Some(parts), gradient })
    }
}
