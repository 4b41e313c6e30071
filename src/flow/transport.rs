//! The one routine for a path and its log-determinant: plain numbers on a bound velocity.
//!
//! log|det ∂x(t₁)/∂x(t₀)| = ∫_{t₀}^{t₁} tr(∂m/∂x) dt along the path, in either direction of time.
//!
//! [`Integration`] is a velocity with the way it is integrated. What is recorded along the way is up to its observer: a
//! quadrature that refines itself ([`carry`]), a tape beside a quadrature with one panel a step
//! ([`carry_taped`](super::taped::carry_taped)), or the states at many times ([`record`](super::paths::record)). A
//! log-determinant that rides along as a state needs no observer.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;

use cnf_solvers::gauss::Gauss;
use cnf_solvers::progress::Progress;
use cnf_solvers::quadrature::Integral;
use cnf_solvers::{Failure, Observer, Options, Quadrature, Real, Report, Tableau, solve, stiff};

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
    let Method::Explicit(tableau) = request.solver.method()? else {
        return Err(Error::invalid(
            format!("`{}` computes in f64", request.solver.method),
            "carry the points with `carry_implicit`",
        ));
    };
    let integration = Integration::new(velocity, tableau, x, condition, request, Penalties::NONE)?;
    let (all, tolerance) = (0..x.len() / velocity.dim(), request.solver.log_density_atol());
    let watch = || (integration.quadrature(&all, Some(tolerance)), request.progress.map(Progress));
    let Ends { y, riding, reports, observers } = integration.run(x, &all, watch, rayon::current_num_threads())?;
    let mut carried = Carried::new(y, velocity.dim(), &reports);
    if request.log_density {
        let integrals = observers.into_iter().filter_map(|(quadrature, _)| quadrature);
        let integrals = integrals.flat_map(Quadrature::into_integrals).chain(integration.ridden(&riding, &reports));
        carried.settle(integrals, &integration.integrals());
    }
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
    let threads = rayon::current_num_threads();
    let outcomes = stiff::integrate_many(field, method, x, t0, t1, &options, threads, observer)?;
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
    if request.log_density {
        let integrals = outcomes.into_iter().enumerate().filter_map(|(sample, (_, observer))| {
            let integral = observer.0?.into_integrals().pop()?;
            Some(Integral { sample, ..integral })
        });
        let probes = probes(request.trace);
        let what = Integrals { probes, penalties: 0, trace: request.trace, span: request.span, rounded: false };
        carried.settle(integrals, &what);
    }
    Ok(carried)
}

/// Rows of a divergence: 1 when exact, one a probe with Hutchinson.
fn probes(trace: Trace) -> usize {
    match trace {
        Trace::Exact => 1,
        Trace::Hutchinson { probes, .. } => probes,
    }
}

/// How the log-determinant comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accumulated {
    /// Not at all.
    Not,
    /// By an observer, on the dense output.
    ByQuadrature,
    /// As states behind the point, one a probe, and the penalties behind them.
    AsStates,
}

/// A velocity, and the way it is integrated over a batch.
pub(super) struct Integration<'a, T> {
    pub velocity: &'a dyn Velocity<T>,
    condition: &'a [T],
    keys: Vec<u64>,
    trace: Trace,
    pub span: (f64, f64),
    pub tableau: &'static Tableau,
    pub options: Options,
    pub penalties: Penalties,
    accumulated: Accumulated,
}

/// Where all trajectories ended, and who looked on.
pub(super) struct Ends<T, O> {
    /// `[n, d]`; the last good state of a trajectory that failed.
    pub y: Vec<T>,
    /// What rode along, `[n, rows]`.
    pub riding: Vec<T>,
    pub reports: Vec<Report>,
    /// One a thread.
    pub observers: Vec<O>,
}

impl<'a, T: Scalar> Integration<'a, T> {
    /// For the rows `x` (`[n, d]`) with their `condition` (`[n, c]`). With `penalties` their squares are integrated too.
    pub fn new(
        velocity: &'a dyn Velocity<T>,
        tableau: &'static Tableau,
        x: &[T],
        condition: &'a [T],
        request: &Request<'_>,
        penalties: Penalties,
    ) -> Result<Self> {
        let accumulated = match (request.log_density, request.solver.coupled()) {
            (false, _) => Accumulated::Not,
            (true, false) => Accumulated::ByQuadrature,
            (true, true) => Accumulated::AsStates,
        };
        let coupled = accumulated == Accumulated::AsStates;
        let (tail, free) = if coupled { (probes(request.trace), penalties.count()) } else { (0, 0) };
        let options = Options { free, ..request.solver.options(tableau, tail, velocity.time_rate())? };
        let probed = matches!(request.trace, Trace::Hutchinson { .. }) || penalties.jacobian;
        let probed = probed && accumulated != Accumulated::Not;
        let keys = if probed { keys(x, velocity.dim(), request.solver.probe_seed) } else { Vec::new() };
        let (trace, span) = (request.trace, request.span);
        Ok(Self { velocity, condition, keys, trace, span, tableau, options, penalties, accumulated })
    }

    /// Rows of a divergence.
    pub fn probes(&self) -> usize {
        probes(self.trace)
    }

    /// The states that ride behind a point.
    pub fn rides(&self) -> usize {
        match self.accumulated {
            Accumulated::AsStates => self.probes() + self.penalties.count(),
            Accumulated::Not | Accumulated::ByQuadrature => 0,
        }
    }

    /// What an evaluator must know of the rows of a chunk.
    pub fn batch(&self, rows: &Range<usize>) -> Batch<'_, T> {
        let c = self.velocity.condition_dim();
        let keys = self.keys.get(rows.clone()).unwrap_or_default();
        let condition = &self.condition[rows.start * c..rows.end * c];
        Batch { condition, keys, trace: self.trace, lanes: self.options.lanes }
    }

    /// The rule of a quadrature on the steps.
    pub fn rule(&self) -> &'static Gauss {
        Gauss::for_order(self.tableau.order)
    }

    /// The integrand of a quadrature: the divergence, and the squares of the penalties.
    pub fn integrand(&self, rows: &Range<usize>) -> Divergence<'_, T> {
        Divergence::new(self.velocity.evaluator(self.batch(rows)), self.options.lanes).with(self.penalties)
    }

    /// An observer that integrates over the paths of the `rows`, where the log-determinant is not a state.
    pub fn quadrature(&self, rows: &Range<usize>, tolerance: Option<f64>) -> Option<Quadrature<T, Divergence<'_, T>>> {
        let degree = self.tableau.dense.iter().map(|polynomial| polynomial.len()).max().unwrap_or(1);
        (self.accumulated == Accumulated::ByQuadrature)
            .then(|| Quadrature::new(self.integrand(rows), self.rule(), tolerance, degree, self.options.lanes))
    }

    /// Integrates the rows `x` (`[m, d]`), which are those of the batch in the range `rows`.
    pub fn run<O: Observer<T> + Send>(
        &self,
        x: &[T],
        rows: &Range<usize>,
        observer: impl Fn() -> O + Sync,
        threads: usize,
    ) -> Result<Ends<T, O>> {
        let (d, rides, batch) = (self.velocity.dim(), self.rides(), self.batch(rows));
        if rides == 0 {
            let worker = || (Motion(self.velocity.evaluator(batch)), observer());
            let (solution, observers) = solve(worker, x, self.span, &self.options, threads)?;
            return Ok(Ends { y: solution.y, riding: Vec::new(), reports: solution.reports, observers });
        }
        let start = with_zeros(x, d, rides);
        let worker = || (Coupled(self.velocity.evaluator(batch), self.penalties), observer());
        let (solution, observers) = solve(worker, &start, self.span, &self.options, threads)?;
        let (mut y, mut riding) = (Vec::with_capacity(x.len()), Vec::with_capacity(rows.len() * rides));
        for state in solution.y.chunks_exact(d + rides) {
            y.extend_from_slice(&state[..d]);
            riding.extend_from_slice(&state[d..]);
        }
        Ok(Ends { y, riding, reports: solution.reports, observers })
    }

    /// The integrals of what rode along with the trajectories that arrived.
    pub fn ridden<'r>(&self, riding: &'r [T], reports: &'r [Report]) -> impl Iterator<Item = Integral> + use<'r, T> {
        let rows = riding.chunks_exact(self.rides().max(1)).zip(reports).enumerate();
        rows.filter(|(_, (_, report))| report.status.is_ok()).map(|(sample, (row, report))| Integral {
            sample,
            values: row.iter().map(|integral| integral.wide()).collect(),
            error: 0.0,
            evals: report.nfe,
            settled: true,
        })
    }

    /// What the integrals of a row are, for [`Carried::settle`].
    pub fn integrals(&self) -> Integrals {
        let penalties = self.penalties.count();
        Integrals { probes: self.probes(), penalties, trace: self.trace, span: self.span, rounded: false }
    }
}

/// What the integrals of a row are: one a probe first, whose mean is the log-determinant, then the penalties.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integrals {
    pub probes: usize,
    pub penalties: usize,
    pub trace: Trace,
    pub span: (f64, f64),
    /// An integral counts as finite only where it is so in the precision of the velocity.
    pub rounded: bool,
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
    pub(super) fn new(mut y: Vec<T>, d: usize, reports: &[Report]) -> Self {
        let cost = cost_of(reports);
        for (row, _) in &cost.failures {
            y[row * d..(row + 1) * d].fill(T::of(f64::NAN));
        }
        Self { y, logdet: vec![0.0; reports.len()], cost }
    }

    /// Takes the integrals of the trajectories that arrived; gives the penalties, `[n, p]`, and the rows whose integrals
    /// are not finite, in order.
    pub(super) fn settle(
        &mut self,
        integrals: impl Iterator<Item = Integral>,
        what: &Integrals,
    ) -> (Vec<f64>, Vec<usize>) {
        let Integrals { probes: k, penalties: p, span: (from, to), .. } = *what;
        let estimated = matches!(what.trace, Trace::Hutchinson { .. });
        let n = self.logdet.len();
        self.cost.logdet_se = if estimated { vec![f64::NAN; n] } else { Vec::new() };
        // A span of length zero has no step, and nothing to integrate.
        let unknown = if from == to { 0.0 } else { f64::NAN };
        self.logdet.fill(unknown);
        // A penalty is integrated over |dt|, a solve over dt.
        let direction = (to - from).signum();
        let finite = |v: f64| if what.rounded { T::of(v).wide().is_finite() } else { v.is_finite() };
        let (mut penalties, mut lost) = (vec![unknown; n * p], Vec::new());
        for Integral { sample, values, error, evals, settled } in integrals {
            let (logdets, others) = values.split_at(k);
            let mean = logdets.iter().sum::<f64>() / k as f64;
            self.logdet[sample] = mean;
            self.cost.logdet_error[sample] = error;
            self.cost.traces[sample] = evals;
            let slots = penalties[sample * p..].iter_mut().zip(others);
            slots.for_each(|(slot, integral)| *slot = direction * integral);
            if !(finite(mean) && others.iter().all(|other| finite(*other))) {
                lost.push(sample);
            } else if !settled {
                self.cost.unsettled += 1;
            }
            if estimated && k > 1 {
                let variance = logdets.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (k as f64 - 1.0);
                self.cost.logdet_se[sample] = (variance / k as f64).sqrt();
            }
        }
        lost.sort_unstable();
        self.cost.failures.extend(lost.iter().map(|row| (*row, Failure::Integrand { from, to }.into())));
        for (row, _) in &self.cost.failures {
            self.logdet[*row] = f64::NAN;
            penalties[row * p..(row + 1) * p].fill(f64::NAN);
        }
        (penalties, lost)
    }
}
