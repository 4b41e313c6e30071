//! A solve that can be pulled back: its tapes, and the exact gradient of what was computed.
//!
//! ℓ = ⟨ȳ, y⟩ + ⟨s, log-determinants⟩ + ⟨p̄, penalties⟩ is pulled back through every stage and every quadrature point
//! of the steps that were taken, their lengths being constants; see [`cnflow_solvers::gradient`]. The log-determinant
//! and the penalties come by one rule on the steps of the path, without refinement, so that the gradient is exactly
//! theirs. Rows are taken in fixed chunks and the chunks' gradients added along a fixed tree: the bits do not depend on
//! the number of threads.

use std::ops::Range;

use cnflow_solvers::gradient::{Integrand, chunks, pull_back, tree_sum};
use cnflow_solvers::{Observer, Tableau, Tape};
use rayon::prelude::*;

use super::exact::ExactTape;
use super::transport::{Integration, Request, Settled, Transported};
use crate::continuous::Method;
use crate::transform::Cost;
use crate::transform::bijection::check_rows;
use crate::velocity::fields::{AugmentedOde, VelocityField};
use crate::velocity::{Penalties, Scalar, Velocity};
use crate::{Error, Result};

/// Rows of a chunk. Small enough to feed several threads from a batch of some hundreds, large enough that
/// lanes are refilled.
pub const CHUNK: usize = 128;

/// Points at the end of their paths, the integrals along the way, and the tapes.
pub struct Taped<'a, T> {
    /// Points, log-determinants and cost.
    pub transported: Transported<T>,
    /// ∫ |m|² |dt| and ∫ ‖∂m/∂x‖² |dt| of each row, those that were requested, `[n, p]`; NaN where a trajectory failed.
    ///
    /// The norm of ∂m/∂x is exact where the trace is exact and a tangent for each dimension is cheap, else an unbiased
    /// estimate: see [`Evaluator`](crate::velocity::Evaluator::value_divergence_and_squares).
    pub penalties: Vec<f64>,
    tapes: Tapes<'a, T>,
}

/// The tapes of the chunks, with their rows.
enum Tapes<'a, T> {
    /// Of solves.
    Integrated(Box<Integration<'a, T>>, Vec<(Range<usize>, Tape<T>)>),
    /// Of the map of equal steps itself.
    Exact(&'a dyn Velocity<T>, Vec<(Range<usize>, ExactTape<'a, T>)>),
}

/// The derivatives of a loss by the results of a [`Taped`] solve. Those of rows that failed are not read.
#[derive(Clone, Copy, Debug)]
pub struct EndBar<'a, T> {
    /// By the points, `[n, d]`.
    pub y: &'a [T],
    /// By the log-determinants, `[n]`.
    pub logdet: &'a [T],
    /// By the penalties, `[n, p]`.
    pub penalties: &'a [T],
}

/// The result of a chunk.
struct Chunk<T> {
    transported: Transported<T>,
    penalties: Vec<f64>,
    tape: Tape<T>,
}

/// The refusal of an implicit method where a gradient is taken.
pub(crate) fn no_gradient(method: &str) -> Error {
    Error::invalid(format!("`{method}` has no gradient"), "train with an explicit method such as dopri5")
}

/// The refusal of penalties where nothing is integrated.
pub(crate) fn no_penalty() -> Error {
    Error::invalid(
        "penalties are integrals along a path, and the exact log-density has none",
        "leave out `objective.kinetic` and `objective.jacobian`, or set `solver.log_density` to coupled",
    )
}

/// Transports every row of `x` (`[n, d]`, row-major) and keeps the tapes; `condition` is `[n, c]`, or empty. The
/// squares of `penalties` are integrated along the paths.
///
/// Log-determinants are always integrated; `request.log_density` and `request.progress` have no meaning here. Points
/// and log-determinants are the same numbers with and without penalties. A row's result depends on that row alone.
///
/// # Errors
/// [`Error::Invalid`] for an implicit method, which has no gradient; [`Error::Solve`] if the request is not valid. A
/// trajectory that fails is listed in the cost, and the gradient leaves it out.
pub fn transport_taped<'a, T: Scalar>(
    velocity: &'a dyn Velocity<T>,
    x: &[T],
    condition: &'a [T],
    request: &Request<'_>,
    penalties: Penalties,
) -> Result<Taped<'a, T>> {
    let Method::Explicit(tableau) = request.solver.method()? else {
        return Err(no_gradient(&request.solver.method));
    };
    let request = Request { log_density: true, ..*request };
    if request.solver.exact() {
        return map_taped(velocity, x, condition, &request, penalties);
    }
    let integration = Integration::new(velocity, x, condition, &request, penalties)?;
    let d = velocity.dim();
    let ranges: Vec<_> = chunks(x.len() / d, CHUNK).collect();
    let parts: Vec<_> = ranges
        .into_par_iter()
        .map(|rows| Ok((rows.clone(), solve_chunk(&integration, tableau, &x[rows.start * d..rows.end * d], &rows)?)))
        .collect::<Result<_>>()?;
    let mut transported = Transported { y: Vec::with_capacity(x.len()), logdet: Vec::new(), cost: Cost::default() };
    let (mut penalties, mut tapes) = (Vec::new(), Vec::new());
    for (rows, chunk) in parts {
        transported.y.extend(chunk.transported.y);
        transported.logdet.extend(chunk.transported.logdet);
        transported.cost.append(rows.start, chunk.transported.cost);
        penalties.extend(chunk.penalties);
        tapes.push((rows, chunk.tape));
    }
    Ok(Taped { transported, penalties, tapes: Tapes::Integrated(Box::new(integration), tapes) })
}

/// As [`transport_taped`], by the map of equal steps itself.
fn map_taped<'a, T: Scalar>(
    velocity: &'a dyn Velocity<T>,
    x: &[T],
    condition: &'a [T],
    request: &Request<'_>,
    penalties: Penalties,
) -> Result<Taped<'a, T>> {
    if penalties.count() > 0 {
        return Err(no_penalty());
    }
    let (d, c) = (velocity.dim(), velocity.condition_dim());
    check_rows(x, d, condition, c)?;
    let one = |rows: Range<usize>| {
        let (x, condition) = (&x[rows.start * d..rows.end * d], &condition[rows.start * c..rows.end * c]);
        Ok((rows, ExactTape::new(velocity, x, condition, request)?))
    };
    let ranges: Vec<_> = chunks(x.len() / d, CHUNK).collect();
    let mut tapes: Vec<(Range<usize>, ExactTape<'a, T>)> = ranges.into_par_iter().map(one).collect::<Result<_>>()?;
    let mut transported = Transported { y: Vec::with_capacity(x.len()), logdet: Vec::new(), cost: Cost::default() };
    for (rows, tape) in &mut tapes {
        transported.y.append(&mut tape.y);
        transported.logdet.append(&mut tape.logdet);
        transported.cost.append(rows.start, std::mem::take(&mut tape.cost));
    }
    Ok(Taped { transported, penalties: Vec::new(), tapes: Tapes::Exact(velocity, tapes) })
}

fn solve_chunk<T: Scalar>(
    integration: &Integration<'_, T>,
    tableau: &'static Tableau,
    x: &[T],
    rows: &Range<usize>,
) -> Result<Chunk<T>> {
    let d = integration.velocity.dim();
    let mut tape = Tape::new(tableau, d + integration.rides());
    let mut quadrature = integration.quadrature(rows, None);
    let ends = integration.run_here(x, rows, (&mut tape, quadrature.as_mut()))?;
    // What is kept is in the velocity's precision: an integral may leave its range when it is rounded.
    let Settled { mut transported, penalties, lost } = integration.settle(ends, quadrature.into_iter(), true);
    for row in lost {
        // The gradient leaves these rows out as it does those whose path failed: zero times NaN is NaN.
        Observer::<T>::failed(&mut tape, row, &integration.lost_integral());
        transported.y[row * d..(row + 1) * d].fill(T::of(f64::NAN));
    }
    Ok(Chunk { transported, penalties, tape })
}

impl<T: Scalar> Taped<'_, T> {
    fn velocity(&self) -> &dyn Velocity<T> {
        match &self.tapes {
            Tapes::Integrated(integration, _) => integration.velocity,
            Tapes::Exact(velocity, _) => *velocity,
        }
    }

    /// Pulls the loss's derivatives back to the rows that were transported, `[n, d]`, and to θ, `[n_params]`.
    ///
    /// Rows that failed get zeros and add nothing. The probes of an estimate are a function of x but count as
    /// constants.
    pub fn pull_back(&self, bar: EndBar<'_, T>) -> (Vec<T>, Vec<T>) {
        let (x_bar, mut gradient) = self.pull_back_unfolded(bar);
        self.velocity().fold_gradient(&mut gradient);
        gradient.truncate(self.velocity().n_params());
        (x_bar, gradient)
    }

    /// As [`Taped::pull_back`], by the rows and by their conditions, `[n, d]` and `[n, c]`; not by θ.
    pub(crate) fn pull_back_to_rows(&self, bar: EndBar<'_, T>) -> (Vec<T>, Vec<f64>) {
        let (mut x_bar, mut by_condition) = (Vec::new(), Vec::new());
        for chunk in self.pull_back_chunks(bar, true) {
            x_bar.extend(chunk.x_bar);
            by_condition.extend(chunk.by_condition);
        }
        (x_bar, by_condition)
    }

    /// As [`Taped::pull_back`], the derivatives by θ before [`Velocity::fold_gradient`], `[grad_len]`: the terms of a
    /// sum over batches.
    pub fn pull_back_unfolded(&self, bar: EndBar<'_, T>) -> (Vec<T>, Vec<T>) {
        let (mut x_bar, mut gradients) = (Vec::new(), Vec::new());
        for chunk in self.pull_back_chunks(bar, false) {
            x_bar.extend(chunk.x_bar);
            gradients.push(chunk.gradient);
        }
        let mut gradient = tree_sum(gradients);
        gradient.resize(self.velocity().grad_len(), T::ZERO);
        (x_bar, gradient)
    }

    /// The derivatives of each chunk, those by the conditions only where they are wanted.
    fn pull_back_chunks(&self, bar: EndBar<'_, T>, with_condition: bool) -> Vec<Pulled<T>> {
        let (d, c) = (self.velocity().dim(), self.velocity().condition_dim());
        let sums = |rows: &Range<usize>| vec![0.0; if with_condition { rows.len() * c } else { 0 }];
        match &self.tapes {
            Tapes::Integrated(integration, tapes) => {
                let one = |(rows, tape): &(Range<usize>, Tape<T>)| {
                    let mut by_condition = sums(rows);
                    let wanted = with_condition.then_some(&mut by_condition[..]);
                    let (x_bar, gradient) = pull_back_chunk(integration, rows, tape, bar, wanted);
                    Pulled { x_bar, gradient, by_condition }
                };
                tapes.par_iter().map(one).collect()
            }
            Tapes::Exact(velocity, tapes) => {
                let one = |(rows, tape): &(Range<usize>, ExactTape<'_, T>)| {
                    let (mut by_condition, mut gradient) = (sums(rows), vec![T::ZERO; velocity.grad_len()]);
                    let wanted = with_condition.then_some(&mut by_condition[..]);
                    let y_bar = &bar.y[rows.start * d..rows.end * d];
                    let x_bar = tape.pull_back(y_bar, &bar.logdet[rows.clone()], &mut gradient, wanted);
                    Pulled { x_bar, gradient, by_condition }
                };
                tapes.par_iter().map(one).collect()
            }
        }
    }
}

/// The derivatives of a chunk: by its rows, by θ, and by its conditions where they were wanted.
struct Pulled<T> {
    x_bar: Vec<T>,
    gradient: Vec<T>,
    by_condition: Vec<f64>,
}

/// The derivatives by the rows of a chunk and by θ; `by_condition`, `[rows, c]`, gains those by the conditions.
fn pull_back_chunk<T: Scalar>(
    integration: &Integration<'_, T>,
    rows: &Range<usize>,
    tape: &Tape<T>,
    bar: EndBar<'_, T>,
    by_condition: Option<&mut [f64]>,
) -> (Vec<T>, Vec<T>) {
    let Integration { velocity, span, penalties, options, .. } = integration;
    let (d, k, p, lanes) = (velocity.dim(), integration.probes(), penalties.count(), options.lanes);
    let direction = T::of((span.1 - span.0).signum());
    // The derivative by the integrals of a row; its log-determinant is the mean over probes.
    let integrals = |row: usize| {
        let logdets = std::iter::repeat_n(T::of(bar.logdet[row].to_f64() / k as f64), k);
        logdets.chain(bar.penalties[row * p..(row + 1) * p].iter().map(|penalty| direction * *penalty))
    };
    let y_bar = |row: usize| bar.y[row * d..(row + 1) * d].iter().copied();
    let mut gradient = vec![T::ZERO; velocity.grad_len()];
    // Points of the quadrature add up on their own, behind those of the stages.
    let mut of_integrand = vec![0.0; by_condition.as_ref().map_or(0, |sums| sums.len())];
    let wanted = by_condition.is_some();
    let of_stages = by_condition.unwrap_or_default();
    let gathered = |sums| integration.evaluator(rows, sums);
    let rides = integration.rides();
    if rides > 0 {
        let end_bar: Vec<T> = rows.clone().flat_map(|row| y_bar(row).chain(integrals(row))).collect();
        let mut field = AugmentedOde(gathered(wanted.then_some(of_stages)), *penalties);
        let start_bar = pull_back(tape, &mut field, None, &end_bar, lanes, &mut gradient);
        let x_bar = start_bar.chunks_exact(d + rides).flat_map(|row| row[..d].to_vec()).collect();
        return (x_bar, gradient);
    }
    let end_bar: Vec<T> = rows.clone().flat_map(y_bar).collect();
    let bar: Vec<T> = rows.clone().flat_map(integrals).collect();
    let mut field = VelocityField(gathered(wanted.then_some(&mut *of_stages)));
    let mut g = integration.integrand_with(rows, wanted.then_some(&mut of_integrand));
    let integrand = Integrand { g: &mut g, rule: integration.rule(), bar: &bar };
    let x_bar = pull_back(tape, &mut field, Some(integrand), &end_bar, lanes, &mut gradient);
    drop((field, g));
    of_stages.iter_mut().zip(of_integrand).for_each(|(sum, by)| *sum += by);
    (x_bar, gradient)
}
