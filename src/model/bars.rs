//! Error bars of a log-density: its distance from the value of the exact flow.
//!
//! Two errors add up, and they are independent.
//!
//! **The solver's.** The row is solved once more, in f64, at a hundredth of the tolerances and at most 1e-4 (with four
//! times the steps where they are fixed), with no two stages further apart than a 64th of the way, and with the same
//! probes. The error e is about proportional to tolᵏ, k = p/(p + 1) for an error estimate of order p, so that Δ =
//! L(tol) − L(tol/100) is the part 1 − 100⁻ᵏ of e, and the bar is 3 |Δ| / (1 − 100⁻ᵏ). Signed errors of single rows
//! follow that law only on average, and cross zero: without a factor the bar would be right in the median, but 95 of
//! 100 rows of closed-form flows need 1.0 to 1.3 in most cases and 2.7 in the worst of 660 (tests/it/error_bars.rs).
//! Because the second solve is in f64, Δ includes the round-off of f32, without a model of it.
//!
//! Where the map of equal steps is the flow itself, its only error is round-off: the second solve is the same in f64.
//!
//! **The estimator's.** With Hutchinson's trace, the standard error over the probes.
//!
//! Refused: a second solve at a tenth. It would be cheaper by a third, but the two errors are then too often alike:
//! covering 95 of 100 rows took a factor of 27 in the worst of 600 cases, of 2 to 5 in many. Refused, too: the sum
//! of the embedded errors along the path. It costs nothing, but it includes neither how the flow amplifies an
//! error on its way to the latent nor the error of the quadrature.

use cnflow_solvers::Tableau;

use crate::Result;
use crate::continuous::{Method, SolverSpec};
use crate::model::{BoundModel, Flow, Model};
use crate::transform::{Bijection, Chain, Cost};
use crate::velocity::{Precision, Trace};

/// The solver's bar is this many times the proportional estimate.
const SAFETY: f64 = 3.0;
/// Below this many units of f64's round-off of the numbers that are added, a difference is not significant.
const ROUND_OFF: f64 = 32.0 * f64::EPSILON;
/// A finer tolerance than this is below the round-off of f64.
const FINEST: f64 = 1e-14;
/// The second solve has this part of the tolerances…
const FINER: f64 = 0.01;
/// …or so many times the steps.
const MORE_STEPS: usize = 4;
/// …and no more than this: at a tolerance of 10 a hundredth of it is too loose as well, and both solves agree on a
/// wrong number.
const COARSEST: f64 = 1e-4;
/// No two neighbouring stages of the second solve are further apart in time. Both solves step over what falls between
/// their stages and leaves no trace in the error estimate, and would agree; with this limit the bar misses only what
/// begins and ends within a 64th of the way and lies beyond the weights that
/// [`time_rate`](crate::velocity::Velocity::time_rate) reads. On seven trained flows at 1e-5 the second solve of dopri5
/// takes 194 evaluations for 91 to 133 without it; half the gap takes 386.
const LONGEST_GAP: f64 = 1.0 / 64.0;

/// Log-densities with their error bars, one a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// log p in nats, `[n]`, at the requested tolerance. NaN where a row failed.
    pub log_prob: Vec<f64>,
    /// The bar of the solver's error, `[n]`: covers its error in at least 95 of 100 rows. NaN where a solve failed.
    pub solver: Vec<f64>,
    /// Standard error over Hutchinson's probes, `[n]`; zeros where the trace is exact, NaN with a single probe.
    pub estimator: Vec<f64>,
    /// Hutchinson's probes; 0 where the trace is exact.
    pub probes: usize,
}

impl Bars {
    /// The bars of log-densities `coarse` against those of the finer solve, `fine`; `se` is empty or `[n]`.
    ///
    /// `solver` is that of the coarse solve.
    ///
    /// # Errors
    /// As [`SolverSpec::method`].
    pub fn between(coarse: Vec<f64>, fine: &[f64], se: &[f64], probes: usize, solver: &SolverSpec) -> Result<Self> {
        let share = share(solver)?;
        let bar = |(a, b): (&f64, &f64)| SAFETY * (a - b).abs() / share + ROUND_OFF * (1.0 + a.abs());
        let bars = coarse.iter().zip(fine).map(bar).collect();
        let estimator = if se.is_empty() { vec![0.0; coarse.len()] } else { se.to_vec() };
        Ok(Self { log_prob: coarse, solver: bars, estimator, probes })
    }

    /// √(solver² + estimator²), `[n]`: the bar that is reported.
    ///
    /// A standard error over few probes is no interval of a level. One that holds the exact value for 95 of 100 rows
    /// takes ten standard errors of four probes and five of eight; in few dimensions random signs cover less, since
    /// where one pair of coordinates dominates the Jacobian four of them agree in one case of eight. There the exact
    /// trace is cheap, and `auto` takes it.
    pub fn total(&self) -> Vec<f64> {
        self.solver.iter().zip(&self.estimator).map(|(solver, se)| solver.hypot(*se)).collect()
    }
}

/// The part of an error that the difference of two solves shows.
fn share(solver: &SolverSpec) -> Result<f64> {
    if solver.exact() {
        // The second solve is the same map in f64: all of its error shows.
        return Ok(1.0);
    }
    Ok(match (solver.method()?, solver.fixed_steps) {
        (Method::Explicit(tableau), Some(steps)) => {
            let times = more_steps(steps, tableau) as f64 / steps as f64;
            1.0 - times.powi(-(tableau.order as i32))
        }
        (Method::Explicit(tableau), None) => {
            let p = f64::from(tableau.embedded_order.min(tableau.order));
            1.0 - FINER.powf(p / (p + 1.0))
        }
        // Orders vary from 1 to 5 along the way.
        (Method::Implicit(_), _) => 1.0 - FINER.powf(0.5),
    })
}

/// Four times the steps, or as many as the longest gap allows.
fn more_steps(steps: usize, tableau: &Tableau) -> usize {
    (MORE_STEPS * steps).max((tableau.longest_gap() / LONGEST_GAP).ceil() as usize)
}

/// The solver of the second solve: a hundredth of every tolerance, or four times the steps, and no long step; the same
/// where the map of equal steps is the flow.
///
/// It is meant for a solve in f64.
///
/// # Errors
/// As [`SolverSpec::method`].
pub fn finer(solver: &SolverSpec) -> Result<SolverSpec> {
    if solver.exact() {
        // Another number of steps is another flow.
        return Ok(solver.clone());
    }
    let part = |tolerance: f64, most: f64| (FINER * tolerance).min(most).max(FINEST);
    let (gap, fixed_steps) = match solver.method()? {
        Method::Explicit(tableau) => {
            (tableau.longest_gap(), solver.fixed_steps.map(|steps| more_steps(steps, tableau)))
        }
        // Stages of an implicit step stand at its end.
        Method::Implicit(_) => (1.0, None),
    };
    let times = if solver.coupled() { 10.0 } else { 100.0 };
    Ok(SolverSpec {
        rtol: part(solver.rtol, COARSEST),
        atol: part(solver.atol, COARSEST),
        // Both kinds of solve take the log-determinant's tolerance from here.
        log_density_atol: Some(part(solver.log_density_atol(), times * COARSEST)),
        fixed_steps,
        // Equal steps are short by their number.
        max_step: fixed_steps.is_none().then(|| solver.max_step.unwrap_or(f64::INFINITY).min(LONGEST_GAP / gap)),
        max_steps: 10 * solver.max_steps,
        ..solver.clone()
    })
}

/// The second solve: the same flow in f64 and far below the tolerance, and what its bars are made of.
#[derive(Clone, Debug)]
pub struct ErrorBars<B> {
    fine: Flow<B>,
    solver: SolverSpec,
    probes: usize,
}

impl ErrorBars<Chain> {
    /// Of the log-densities by `model` of the data at `t` (1 but for the distributions on the
    /// way); `watch` may change the second flow, to count its trajectories.
    ///
    /// # Errors
    /// As [`Model::bind`].
    pub fn of_model(model: &Model, t: f64, watch: impl FnOnce(BoundModel) -> Result<BoundModel>) -> Result<Self> {
        let solver = model.spec.solver.clone();
        let probes = match &model.spec.architecture.as_velocity() {
            None => 0,
            Some(spec) => probes(solver.trace.of(spec)?),
        };
        let mut spec = model.spec.clone();
        spec.solver = finer(&solver)?;
        let fine = watch(spec.bind(&model.theta, Precision::F64)?.until(t)?)?;
        Ok(Self::new(fine.flow().clone(), solver, probes))
    }
}

impl<B: Bijection> ErrorBars<B> {
    /// Of log-densities by a flow that is integrated as `solver` says, with so many of Hutchinson's probes (0 for an
    /// exact trace); `fine` is the same flow in f64, integrated as [`finer`] says.
    pub fn new(fine: Flow<B>, solver: SolverSpec, probes: usize) -> Self {
        Self { fine, solver, probes }
    }

    /// Hutchinson's probes; 0 where the trace is exact.
    pub fn probes(&self) -> usize {
        self.probes
    }

    /// The bars of `log_prob` (`[n]`), the log-densities of the rows of `x` (`[n, d]`) at the requested tolerance, with
    /// their `cost`. A row outside the support by both solves has a bar of 0: log p is −∞ without any error.
    ///
    /// # Errors
    /// As [`Flow::log_prob`].
    pub fn of(&self, x: &[f64], condition: &[f64], log_prob: &[f64], cost: &Cost) -> Result<Bars> {
        let fine = self.fine.log_prob(x, condition)?.log_prob;
        let mut bars = Bars::between(log_prob.to_vec(), &fine, &cost.logdet_se, self.probes, &self.solver)?;
        for row in cost.outside.iter().filter(|row| fine[**row] == f64::NEG_INFINITY) {
            (bars.solver[*row], bars.estimator[*row]) = (0.0, 0.0);
        }
        Ok(bars)
    }
}

/// Independent estimates of a trace: Hutchinson's probes, draws of lattices; 0 where it is exact.
pub fn probes(trace: Trace) -> usize {
    trace.draws()
}
