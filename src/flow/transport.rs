//! Points carried along a velocity, with the log-determinant: plain numbers, no graph.
//!
//! log|det ∂x(t₁)/∂x(t₀)| = ∫_{t₀}^{t₁} tr(∂m/∂x) dt along the path, in either direction of time.

use std::sync::atomic::AtomicUsize;

use cnf_solvers::{Failure, Integral, Progress, Quadrature, Real, Report, solve};

use super::{Cost, Method, SolverSpec};
use crate::Result;
use crate::rng::mix;
use crate::velocity::fields::{Coupled, Divergence, Motion};
use crate::velocity::{Batch, Penalties, Scalar, Trace, Velocity};

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

/// Carries every row of `x` (`[n, d]`, row-major); `condition` is `[n, c]`, or empty.
///
/// Uses the threads of rayon's current pool. A row's result depends on that row alone. An implicit method computes in f64.
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
        method @ Method::Explicit(_) if request.log_density && request.solver.coupled() => {
            carry_coupled(velocity, method, x, condition, request)
        }
        method => carry_path(velocity, method, x, condition, request),
    }
}

fn carry_path<T: Scalar>(
    velocity: &dyn Velocity<T>,
    method: Method,
    x: &[T],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Carried<T>> {
    let options = request.solver.options(method, 0, velocity.time_rate());
    let keys = keys(x, velocity.dim(), request.solver.probe_seed);
    let lanes = lanes(method, velocity.dim(), options.lanes);
    let batch = Batch { condition, keys: &keys, trace: request.trace, lanes };
    let tolerance = request.solver.log_density_atol();
    let worker = || {
        let quadrature = request.log_density.then(|| {
            let g = Divergence::new(velocity.evaluator(batch), lanes);
            Quadrature::new(g, method.rule(), Some(tolerance), method.dense_degree(), lanes)
        });
        (Motion(velocity.evaluator(batch)), (quadrature, request.progress.map(Progress)))
    };
    let (solution, observers) = solve(worker, x, request.span, &options)?;
    let mut carried = Carried::new(solution.y, velocity.dim(), &solution.reports);
    carried.add_integrals(
        observers.into_iter().filter_map(|(quadrature, _)| quadrature).flat_map(Quadrature::into_integrals),
        request,
    );
    Ok(carried)
}

fn carry_coupled<T: Scalar>(
    velocity: &dyn Velocity<T>,
    method: Method,
    x: &[T],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Carried<T>> {
    let d = velocity.dim();
    let probes = match request.trace {
        Trace::Exact => 1,
        Trace::Hutchinson { probes, .. } => probes,
    };
    let options = request.solver.options(method, probes, velocity.time_rate());
    let keys = keys(x, d, request.solver.probe_seed);
    let batch = Batch { condition, keys: &keys, trace: request.trace, lanes: options.lanes };
    let start = with_zeros(x, d, probes);
    let worker = || (Coupled(velocity.evaluator(batch), Penalties::NONE), request.progress.map(Progress));
    let (solution, _) = solve(worker, &start, request.span, &options)?;
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

/// Lanes that an evaluator needs room for: an implicit method takes a Jacobian of `d` tangents at once.
pub(super) fn lanes(method: Method, d: usize, lanes: usize) -> usize {
    match method {
        Method::Explicit(_) => lanes,
        Method::Implicit(_) => lanes.max(d),
    }
}

/// The reports of a solve as its cost.
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
