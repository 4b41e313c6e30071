//! The one routine for a path and its log-determinant: plain numbers on a bound velocity.
//!
//! log|det ∂x(t₁)/∂x(t₀)| = ∫_{t₀}^{t₁} tr(∂m/∂x) dt along the path, in either direction of time.
//!
//! `Integration` is a velocity with the way it is integrated. Its observer decides what is recorded along the way: a
//! quadrature that refines itself ([`transport`]), a tape beside a quadrature with one panel a step
//! ([`transport_taped`](super::taped::transport_taped)), or the states at many times
//! ([`record`](super::paths::record)). A log-determinant that is integrated as a state needs no observer.

use std::ops::Range;

use cnflow_solvers::gauss::Gauss;
use cnflow_solvers::{
    Failure, Integral, Observer, Options, Quadrature, Real, Report, VectorField, solve_as, solve_here,
};

use super::exact;
pub use super::request::{Request, Transported};
use super::work::{Watched, Work};
use crate::Result;
use crate::continuous::Method;
use crate::rng;
use crate::transform::Cost;
use crate::transform::bijection::check_rows;
use crate::velocity::fields::{AugmentedOde, DivergenceIntegrand, VelocityField};
use crate::velocity::{Batch, Evaluator, Gathered, Penalties, Scalar, Trace, Velocity, check_device};

/// As many points of an integrand are evaluated together for so few rows: none of them waits for a tile.
const FEW_ROWS: usize = 2;
const FEW_POINTS: usize = 4;
/// For more rows, as many for each of them, up to the lanes of the solver.
const POINTS_A_ROW: usize = 4;

/// Hutchinson's key of each row: a function of the row's own numbers, so that its probes are the same in any batch;
/// rounded to f32, so that they are the same in either precision.
pub fn keys<T: Real>(x: &[T], dim: usize, seed: u64) -> Vec<u64> {
    x.chunks_exact(dim).map(|row| rng::key(seed, row.iter().map(|value| value.to_f64() as f32))).collect()
}

/// Transports every row of `x` (`[n, d]`, row-major); `condition` is `[n, c]`, or empty.
///
/// Uses the threads of rayon's current pool. A row's result depends on that row alone. An implicit method computes in
/// f64.
///
/// # Errors
/// [`crate::Error::Solve`] if the request is not valid; [`crate::Error::Stopped`] after a stop. A trajectory that fails
/// is listed in the cost.
pub fn transport<T: Scalar>(
    velocity: &dyn Velocity<T>,
    x: &[T],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Transported<T>> {
    transport_as(velocity, x, condition, request)
}

/// As [`transport`], where the points are numbers of another type than the velocity computes in: each is rounded as it
/// enters a lane, and widened as it leaves one.
///
/// # Errors
/// As [`transport`].
pub(crate) fn transport_as<T: Scalar, S: Real>(
    velocity: &dyn Velocity<T>,
    x: &[S],
    condition: &[T],
    request: &Request<'_>,
) -> Result<Transported<S>> {
    if request.solver.exact() {
        return exact::transport(velocity, x, condition, request);
    }
    let integration = Integration::new(velocity, x, condition, request, Penalties::NONE)?;
    let integration = Integration { progress: request.progress, ..integration };
    let (all, tolerance) = (0..x.len() / velocity.dim(), request.solver.log_density_atol());
    let length = (request.span.1 - request.span.0).abs();
    let watch = || {
        let quadrature = integration.quadrature(&all, Some(tolerance));
        let points = if quadrature.is_some() { integration.rule().points() } else { 0 };
        (quadrature, request.progress.map(|work| Watched { work, length, points }))
    };
    let (ends, observers) = integration.run(x, &all, watch)?;
    request.progress.map_or(Ok(()), Work::check)?;
    let quadratures = observers.into_iter().filter_map(|(quadrature, _)| quadrature);
    Ok(integration.settle(ends, quadratures, false).transported)
}

/// How the log-determinant is integrated.
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
pub(crate) struct Integration<'a, T> {
    pub velocity: &'a dyn Velocity<T>,
    condition: &'a [T],
    keys: Vec<u64>,
    trace: Trace,
    progress: Option<&'a Work>,
    pub span: (f64, f64),
    pub options: Options,
    /// The points at which an integrand is evaluated together.
    points: usize,
    pub penalties: Penalties,
    accumulated: Accumulated,
}

/// Where all trajectories ended.
pub(crate) struct Ends<T> {
    /// `[n, d]`; the last good state of a trajectory that failed.
    y: Vec<T>,
    /// The extra states, `[n, rides]`.
    riding: Vec<T>,
    pub reports: Vec<Report>,
}

/// Trajectories with their integrals.
pub(crate) struct Settled<T> {
    pub transported: Transported<T>,
    /// `[n, p]`; NaN where a trajectory failed.
    pub penalties: Vec<f64>,
    /// The rows that arrived, but whose integrals are not finite, in order.
    pub lost: Vec<usize>,
}

impl<'a, T: Scalar> Integration<'a, T> {
    /// For the rows `x` (`[n, d]`) with their `condition` (`[n, c]`). With `penalties` their squares are integrated
    /// too.
    pub fn new<S: Real>(
        velocity: &'a dyn Velocity<T>,
        x: &[S],
        condition: &'a [T],
        request: &Request<'_>,
        penalties: Penalties,
    ) -> Result<Self> {
        check_rows(x, velocity.dim(), condition, velocity.condition_dim())?;
        let method = request.solver.method()?;
        let coupled = request.solver.coupled() && matches!(method, Method::Explicit(_));
        let accumulated = match (request.log_density, coupled) {
            (false, _) => Accumulated::Not,
            (true, false) => Accumulated::ByQuadrature,
            (true, true) => Accumulated::AsStates,
        };
        let (log_det_rows, uncontrolled_rows) = match accumulated {
            Accumulated::AsStates => (request.trace.rows(), penalties.count()),
            Accumulated::Not | Accumulated::ByQuadrature => (0, 0),
        };
        let options = request.solver.options(method, log_det_rows, velocity.time_rate());
        let mut options = Options { uncontrolled_rows, ..options };
        let probed = request.trace.probes() > 0 || penalties.jacobian;
        let probed = probed && accumulated != Accumulated::Not;
        let keys = if probed { keys(x, velocity.dim(), request.solver.probe_seed) } else { Vec::new() };
        let (trace, span) = (request.trace, request.span);
        // No more scratch than the rows need, where the velocity computes few lanes one by one: to clear that of 64 lanes
        // takes longer than to solve one row. No bit depends on it.
        let (rows, mut points) = (x.len() / velocity.dim(), options.lanes);
        if velocity.lane_by_lane() {
            points = points.min(if rows <= FEW_ROWS { FEW_POINTS } else { POINTS_A_ROW * rows });
            options.lanes = options.lanes.min(rows.max(1));
        }
        Ok(Self { velocity, condition, keys, trace, progress: None, span, options, points, penalties, accumulated })
    }

    /// Rows of a divergence.
    pub fn probes(&self) -> usize {
        self.trace.rows()
    }

    /// The number of extra states behind a point.
    pub fn rides(&self) -> usize {
        match self.accumulated {
            Accumulated::AsStates => self.probes() + self.penalties.count(),
            Accumulated::Not | Accumulated::ByQuadrature => 0,
        }
    }

    /// Lanes that an evaluator needs room for: an implicit method takes a Jacobian of d tangents at once.
    fn lanes(&self) -> usize {
        match self.options.method {
            Method::Explicit(_) => self.options.lanes,
            Method::Implicit(_) => self.options.lanes.max(self.velocity.dim()),
        }
    }

    /// The batch of an evaluator: the rows of a chunk.
    pub fn batch(&self, rows: &Range<usize>) -> Batch<'_, T> {
        let c = self.velocity.condition_dim();
        let keys = self.keys.get(rows.clone()).unwrap_or_default();
        let condition = &self.condition[rows.start * c..rows.end * c];
        Batch { condition, keys, trace: self.trace, lanes: self.lanes() }
    }

    /// An evaluator of so many lanes for the rows of a chunk, whose pull-backs add the derivatives by the conditions to
    /// the sums that are given, `[rows, c]`.
    fn gathered<'e>(
        &'e self,
        rows: &Range<usize>,
        lanes: usize,
        sums: Option<&'e mut [f64]>,
    ) -> Box<dyn Evaluator<T> + 'e> {
        let evaluator = self.velocity.evaluator(Batch { lanes, ..self.batch(rows) });
        match sums {
            Some(sums) => Box::new(Gathered::new(evaluator, lanes, self.velocity.condition_dim(), sums)),
            None => evaluator,
        }
    }

    /// An evaluator for the rows of a chunk, whose pull-backs add the derivatives by the conditions to the sums that are
    /// given, `[rows, c]`.
    pub fn evaluator<'e>(&'e self, rows: &Range<usize>, sums: Option<&'e mut [f64]>) -> Box<dyn Evaluator<T> + 'e> {
        self.gathered(rows, self.lanes(), sums)
    }

    /// The rule of a quadrature on the steps.
    pub fn rule(&self) -> &'static Gauss {
        self.options.method.rule()
    }

    /// The integrand of a quadrature: the divergence, and the squares of the penalties.
    pub fn integrand(&self, rows: &Range<usize>) -> DivergenceIntegrand<'_, T> {
        self.integrand_with(rows, None)
    }

    /// As [`Integration::integrand`], with sums as [`Integration::evaluator`] has them.
    pub fn integrand_with<'e>(
        &'e self,
        rows: &Range<usize>,
        sums: Option<&'e mut [f64]>,
    ) -> DivergenceIntegrand<'e, T> {
        let integrand = DivergenceIntegrand::new(self.gathered(rows, self.points, sums), self.points);
        let integrand = integrand.with(self.penalties);
        match self.progress {
            Some(work) => integrand.counted(work.computed()).unless(work.flag()),
            None => integrand,
        }
    }

    /// An observer that integrates over the paths of the `rows`, where the log-determinant is not a state.
    pub fn quadrature(
        &self,
        rows: &Range<usize>,
        tolerance: Option<f64>,
    ) -> Option<Quadrature<T, DivergenceIntegrand<'_, T>>> {
        let degree = self.options.method.dense_degree();
        (self.accumulated == Accumulated::ByQuadrature)
            .then(|| Quadrature::new(self.integrand(rows), self.rule(), tolerance, degree, self.points))
    }

    /// Integrates the rows `x` (`[m, d]`), which are those of the batch in the range `rows`, on the threads of rayon's
    /// current pool; gives their observers too.
    pub fn run<S: Real, O: Observer<T> + Send>(
        &self,
        x: &[S],
        rows: &Range<usize>,
        observer: impl Fn() -> O + Sync,
    ) -> Result<(Ends<S>, Vec<O>)> {
        let batch = self.batch(rows);
        if self.rides() == 0 {
            let worker = || (VelocityField(self.velocity.evaluator(batch)), observer());
            let (solution, observers) = solve_as::<T, S, _, _>(worker, x, self.span, &self.options)?;
            check_device(self.velocity)?;
            return Ok((self.ends(solution.y, solution.reports), observers));
        }
        let start = with_zeros(x, self.velocity.dim(), self.rides());
        let worker = || (AugmentedOde(self.velocity.evaluator(batch), self.penalties), observer());
        let (solution, observers) = solve_as::<T, S, _, _>(worker, &start, self.span, &self.options)?;
        check_device(self.velocity)?;
        Ok((self.ends(solution.y, solution.reports), observers))
    }

    /// As [`Integration::run`], on the calling thread alone.
    pub fn run_here(&self, x: &[T], rows: &Range<usize>, observer: impl Observer<T>) -> Result<Ends<T>> {
        let evaluator = self.velocity.evaluator(self.batch(rows));
        let solution = if self.rides() == 0 {
            solve_here(VelocityField(evaluator), observer, x, self.span, &self.options)?
        } else {
            let start = with_zeros(x, self.velocity.dim(), self.rides());
            solve_here(AugmentedOde(evaluator, self.penalties), observer, &start, self.span, &self.options)?
        };
        check_device(self.velocity)?;
        Ok(self.ends(solution.y, solution.reports))
    }

    /// Splits states into points and extra states.
    fn ends<S: Real>(&self, states: Vec<S>, reports: Vec<Report>) -> Ends<S> {
        let (d, rides) = (self.velocity.dim(), self.rides());
        if rides == 0 {
            return Ends { y: states, riding: Vec::new(), reports };
        }
        let (mut y, mut riding) = (Vec::new(), Vec::new());
        for state in states.chunks_exact(d + rides) {
            y.extend_from_slice(&state[..d]);
            riding.extend_from_slice(&state[d..]);
        }
        Ends { y, riding, reports }
    }

    /// Trajectories with their integrals, by quadrature or as extra states. With `rounded` an integral counts as
    /// finite only where it is so in the precision of the velocity.
    pub fn settle<S: Real, G: VectorField<T>>(
        &self,
        ends: Ends<S>,
        quadratures: impl Iterator<Item = Quadrature<T, G>>,
        rounded: bool,
    ) -> Settled<S> {
        let Ends { mut y, riding, reports } = ends;
        let (d, n, k, p) = (self.velocity.dim(), reports.len(), self.probes(), self.penalties.count());
        let mut cost = cost_of(&reports);
        // A span of length zero has no step, and nothing to integrate.
        let unknown = if self.accumulated == Accumulated::Not || self.span.0 == self.span.1 { 0.0 } else { f64::NAN };
        let (mut logdet, mut penalties, mut lost) = (vec![unknown; n], vec![unknown; n * p], Vec::new());
        let draws = self.trace.draws();
        let estimated = self.accumulated != Accumulated::Not && draws > 0;
        cost.logdet_se = if estimated { vec![f64::NAN; n] } else { Vec::new() };
        // A penalty is integrated over |dt|, a solve over dt.
        let direction = (self.span.1 - self.span.0).signum();
        let finite = |v: f64| if rounded { T::of(v).to_f64().is_finite() } else { v.is_finite() };
        let integrals = quadratures.flat_map(Quadrature::into_integrals);
        for Integral { sample, values, error, evals, settled } in integrals.chain(self.ridden(&riding, &reports)) {
            let (logdets, others) = values.split_at(k);
            let mean = logdets.iter().sum::<f64>() / k as f64;
            logdet[sample] = mean;
            cost.logdet_error[sample] = error;
            cost.traces[sample] = evals;
            let slots = penalties[sample * p..].iter_mut().zip(others);
            slots.for_each(|(slot, integral)| *slot = direction * integral);
            if !(finite(mean) && others.iter().all(|other| finite(*other))) {
                lost.push(sample);
            } else if !settled {
                cost.unsettled += 1;
            }
            if estimated && draws > 1 {
                // Independent estimates: of a lattice the mean over its probes.
                let each = k / draws;
                let estimates = logdets.chunks_exact(each).map(|v| v.iter().sum::<f64>() / each as f64);
                let variance = estimates.map(|v| (v - mean).powi(2)).sum::<f64>() / (draws as f64 - 1.0);
                cost.logdet_se[sample] = (variance / draws as f64).sqrt();
            }
        }
        for (row, _) in &cost.failures {
            y[row * d..(row + 1) * d].fill(S::of(f64::NAN));
        }
        lost.sort_unstable();
        cost.failures.extend(lost.iter().map(|row| (*row, self.lost_integral().into())));
        if self.accumulated != Accumulated::Not {
            for (row, _) in &cost.failures {
                logdet[*row] = f64::NAN;
                penalties[row * p..(row + 1) * p].fill(f64::NAN);
            }
        }
        Settled { transported: Transported { y, logdet, cost }, penalties, lost }
    }

    /// Why a row whose path arrived has no integral.
    pub fn lost_integral(&self) -> Failure {
        Failure::Integrand { from: self.span.0, to: self.span.1 }
    }

    /// The integrals that were extra states of the trajectories that arrived.
    fn ridden<'r, S: Real>(
        &self,
        riding: &'r [S],
        reports: &'r [Report],
    ) -> impl Iterator<Item = Integral> + use<'r, S, T> {
        let rows = riding.chunks_exact(self.rides().max(1)).zip(reports).enumerate();
        rows.filter(|(_, (_, report))| report.status.is_ok()).map(|(sample, (row, report))| Integral {
            sample,
            values: row.iter().map(|integral| integral.to_f64()).collect(),
            error: 0.0,
            evals: report.nfe,
            settled: true,
        })
    }
}

/// The reports of a solve as its cost.
pub(crate) fn cost_of(reports: &[Report]) -> Cost {
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

/// Each row followed by `zeros` zeros.
pub(crate) fn with_zeros<T: Real>(x: &[T], d: usize, zeros: usize) -> Vec<T> {
    x.chunks_exact(d).flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(T::ZERO, zeros))).collect()
}
