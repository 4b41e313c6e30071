//! Points carried along a velocity, with the log-determinant: plain numbers, no graph.
//!
//! log|det ∂x(t₁)/∂x(t₀)| = ∫_{t₀}^{t₁} tr(∂m/∂x) dt along the path, in either direction of time.

use std::sync::atomic::AtomicUsize;

use cnf_solvers::gauss::Gauss;
use cnf_solvers::progress::Progress;
use cnf_solvers::quadrature::Integral;
use cnf_solvers::stiff;
use cnf_solvers::{Failure, Quadrature, Real, Report, Tableau, solve};

use super::{Cost, Method, SolverSpec};
use crate::rng::mix;
use crate::velocity::fields::{Coupled, Divergence, Motion};
use crate::velocity::{Batch, Penalties, Scalar, Trace, Velocity};
use crate::{Error, Result};

/// What is to be carried, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where in time the points are, and where they are wanted.
    pub span: (f64, f64),
    /// Method and tolerances.
    pub solver: &'a SolverSpec,
    /// How the trace is taken.
    pub trace: Trace,
    /// The log-determinant is wanted too.
    pub log_density: bool,
    /// Counts trajectories as they arrive.
    pub progress: Option<&'a AtomicUsize>,
}

/// Points at the end of their paths.
#[derive(Clone, Debug)]
pub struct Carried<T> {
    /// `[n, d]`, row-major; NaN where a trajectory failed.
    pub y: Vec<T>,
    /// `[n]`; zeros if not asked for, NaN where a trajectory failed.
    pub logdet: Vec<f64>,
    /// What it took.
    pub cost: Cost,
}

/// Hutchinson's key of each row: a function of the row's own numbers, so that its probes are the same in any batch;
/// rounded to f32, so that they are the same in either precision.
pub fn keys<T: Real>(x: &[T], dim: usize, seed: u64) -> Vec<u64> {
    let one =
        |row: &[T]| row.iter().fold(mix(seed), |key, value| mix(key ^ u64::from((value.wide() as f32).to_bits())));
    x.chunks_exact(dim).map(one).collect()
}

/// Dense output's degree in θ.
pub(super) fn degree(tableau: &Tableau) -> usize {
    tableau.dense.iter().map(|polynomial| polynomial.len()).max().unwrap_or(1)
}

/// Carries every row of `x` (`[n, d]`, row-major); `condition` is `[n, c]`, or empty.
///
/// Uses as many threads as rayon's current pool has. A row's result depends on that row alone.
///
/// # Errors
/// [`crate::Error::Solve`] if the request makes no sense. A trajectory that fails is listed in the cost.
pub fn carry<T: Scalar>(
    velocity: &dyn Velocity<T>,
    x: &[T],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Carried<T>> {
    match request.solver.method()? {
        Method::Explicit(tableau) if request.log_density && request.solver.coupled() => {
            carry_coupled(velocity, tableau, x, condition, request)
        }
        Method::Explicit(tableau) => carry_explicit(velocity, tableau, x, condition, request),
        Method::Implicit(method) => Err(Error::invalid(
            format!("`{}` computes in f64", method.name()),
            "carry the points with `carry_implicit`",
        )),
    }
}

fn threads() -> usize {
    rayon::current_num_threads()
}

fn carry_explicit<T: Scalar>(
    velocity: &dyn Velocity<T>,
    tableau: &'static Tableau,
    x: &[T],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Carried<T>> {
    let options = request.solver.options(tableau, 0, velocity.time_rate())?;
    let keys = keys(x, velocity.dim(), request.solver.probe_seed);
    let batch = Batch { condition, keys: &keys, trace: request.trace, lanes: options.lanes };
    let rule = Gauss::for_order(tableau.order);
    let tolerance = request.solver.log_density_atol();
    let worker = || {
        let quadrature = request.log_density.then(|| {
            let g = Divergence::new(velocity.evaluator(batch), options.lanes);
            Quadrature::new(g, rule, Some(tolerance), degree(tableau), options.lanes)
        });
        (Motion(velocity.evaluator(batch)), (quadrature, request.progress.map(Progress)))
    };
    let (solution, observers) = solve(worker, x, request.span, &options, threads())?;
    let mut carried = Carried::new(solution.y, velocity.dim(), &solution.reports);
    carried.add_integrals(
        observers.into_iter().filter_map(|(quadrature, _)| quadrature).flat_map(Quadrature::into_integrals),
        request,
    );
    Ok(carried)
}

fn carry_coupled<T: Scalar>(
    velocity: &dyn Velocity<T>,
    tableau: &'static Tableau,
    x: &[T],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Carried<T>> {
    let d = velocity.dim();
    let probes = match request.trace {
        Trace::Exact => 1,
        Trace::Hutchinson { probes, .. } => probes,
    };
    let options = request.solver.options(tableau, probes, velocity.time_rate())?;
    let keys = keys(x, d, request.solver.probe_seed);
    let batch = Batch { condition, keys: &keys, trace: request.trace, lanes: options.lanes };
    let start = with_zeros(x, d, probes);
    let worker = || (Coupled(velocity.evaluator(batch), Penalties::NONE), request.progress.map(Progress));
    let (solution, _) = solve(worker, &start, request.span, &options, threads())?;
    let rows = solution.y.chunks_exact(d + probes);
    let y = rows.clone().flat_map(|row| row[..d].to_vec()).collect();
    let mut carried = Carried::new(y, d, &solution.reports);
    let integrals = rows.zip(&solution.reports).enumerate().filter(|(_, (_, report))| report.status.is_ok());
    let integrals = integrals.map(|(sample, (row, report))| Integral {
        sample,
        values: row[d..].iter().map(|l| l.wide()).collect(),
        error: 0.0,
        evals: report.nfe,
        settled: true,
    });
    carried.add_integrals(integrals, request);
    Ok(carried)
}

/// As [`carry`], by an implicit method: one trajectory at a time, spread over the threads.
///
/// # Errors
/// As [`carry`].
pub fn carry_implicit(
    velocity: &dyn Velocity<f64>,
    method: stiff::Implicit,
    x: &[f64],
    condition: &[f64],
    request: &Request<'_>,
) -> Result<Carried<f64>> {
    let d = velocity.dim();
    let keys = keys(x, d, request.solver.probe_seed);
    let batch = Batch { condition, keys: &keys, trace: request.trace, lanes: d.max(16) };
    let options = request.solver.stiff_options(velocity.time_rate());
    let (rule, tolerance) = (Gauss::for_order(5), request.solver.log_density_atol());
    let field = || Motion(velocity.evaluator(batch));
    let observer = |_: usize| {
        let quadrature = request.log_density.then(|| {
            let g = Divergence::new(velocity.evaluator(batch), batch.lanes);
            Quadrature::new(g, rule, Some(tolerance), 7, batch.lanes)
        });
        (quadrature, request.progress.map(Progress))
    };
    let (t0, t1) = request.span;
    let outcomes = stiff::integrate_many(field, method, x, t0, t1, &options, threads(), observer)?;
    let reports: Vec<Report> = outcomes
        .iter()
        .map(|(outcome, _)| Report {
            nfe: outcome.nfe as u32,
            accepted: outcome.accepted as u32,
            rejected: outcome.rejected as u32,
            status: outcome.status,
            ..Report::new(t1)
        })
        .collect();
    let y = outcomes.iter().flat_map(|(outcome, _)| outcome.y.iter().copied()).collect();
    let mut carried = Carried::new(y, d, &reports);
    let integrals = outcomes.into_iter().enumerate().filter_map(|(sample, (_, observer))| {
        let integral = observer.0?.into_integrals().pop()?;
        Some(Integral { sample, ..integral })
    });
    carried.add_integrals(integrals, request);
    Ok(carried)
}

/// What the reports of a solve tell.
pub(super) fn cost_of(reports: &[Report]) -> Cost {
    let failed = |(row, report): (usize, &Report)| Some((row, report.status.err()?.into()));
    Cost {
        nfe: reports.iter().map(|report| report.nfe).collect(),
        traces: vec![0; reports.len()],
        logdet_error: vec![0.0; reports.len()],
        stiff: reports.iter().filter(|report| report.stiffness.stiff()).count(),
        failures: reports.iter().enumerate().filter_map(failed).collect(),
        ..Cost::default()
    }
}

/// Each row followed by `tail` zeros.
pub(super) fn with_zeros<T: Real>(x: &[T], d: usize, tail: usize) -> Vec<T> {
    x.chunks_exact(d).flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(T::ZERO, tail))).collect()
}

impl<T: Real> Carried<T> {
    fn new(mut y: Vec<T>, d: usize, reports: &[Report]) -> Self {
        let cost = cost_of(reports);
        for (row, _) in &cost.failures {
            y[row * d..(row + 1) * d].fill(T::of(f64::NAN));
        }
        Self { y, logdet: vec![0.0; reports.len()], cost }
    }

    fn add_integrals(&mut self, integrals: impl Iterator<Item = Integral>, request: &Request<'_>) {
        if !request.log_density {
            return;
        }
        let probes = matches!(request.trace, Trace::Hutchinson { .. });
        self.cost.logdet_se = if probes { vec![f64::NAN; self.logdet.len()] } else { Vec::new() };
        if request.span.0 != request.span.1 {
            self.logdet.fill(f64::NAN);
        }
        let (from, to) = request.span;
        for Integral { sample, values, error, evals, settled } in integrals {
            let k = values.len() as f64;
            let mean = values.iter().sum::<f64>() / k;
            self.logdet[sample] = mean;
            self.cost.logdet_error[sample] = error;
            self.cost.traces[sample] = evals;
            if !mean.is_finite() {
                self.cost.failures.push((sample, Failure::Integrand { from, to }.into()));
            } else if !settled {
                self.cost.unsettled += 1;
            }
            if probes && values.len() > 1 {
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (k - 1.0);
                self.cost.logdet_se[sample] = (variance / k).sqrt();
            }
        }
        for (row, _) in &self.cost.failures {
            self.logdet[*row] = f64::NAN;
        }
    }
}
