//! What several lines need: samples, their latents again, and both once more in better arithmetic.

use super::Subject;
use crate::continuous::{Method, SolverSpec, TraceSpec};
use crate::model::{BoundModel, FlowSpec, Solved, bars};
use crate::rows::Rows;
use crate::stats::quantile;
use crate::transform::StandardNormal;
use crate::velocity::Precision;
use crate::{Result, rng};

/// The generator's stream of latents, and of directions.
const LATENT_STREAM: u64 = 0xc4ec_0001;
const DIRECTION_STREAM: u64 = 0xc4ec_0002;
/// The first samples, whose cost decides how many are drawn.
const PILOT: usize = 16;
/// With more evaluations than this a sample…
const DEAR: f64 = 3000.0;
/// …there are only so many samples.
const FEW: usize = 64;
/// Rows whose amplification is measured, directions for each, and how far they are moved, in deviations.
const MEASURED: usize = 200;
const DIRECTIONS: usize = 2;
const NUDGE: f64 = 1e-4;
/// Where steps are fixed, they are compared with a solve a hundredth below this tolerance.
const COMPARED: f64 = 1e-5;
/// States are some such number of units long: what a relative tolerance multiplies.
const LENGTH: f64 = 3.0;

/// What is measured of a model before any check is run.
pub struct DiagnosticSamples<'a> {
    /// What it is about.
    pub subject: &'a Subject,
    /// Samples requested, those that failed included.
    pub drawn: usize,
    /// Latents of the samples that arrived, `[n, d]`.
    pub z: Vec<f64>,
    /// The samples that arrived, with the density computed along the way, and the cost of all.
    pub there: Solved,
    /// Their latents by the way back.
    pub back: Solved,
    /// The same in f64.
    pub wide: Solved,
    /// The same in f64 and far below the tolerance.
    pub fine: Solved,
    /// By how much the way back enlarges an error: for the first rows, the norm of ∂z/∂(x/σ).
    pub amplification: Vec<f64>,
}

impl<'a> DiagnosticSamples<'a> {
    /// Draws and solves.
    ///
    /// # Errors
    /// Any error of the solver.
    pub fn gather(subject: &'a Subject) -> Result<Self> {
        let d = subject.model.dim();
        let mut z = StandardNormal::new(d).draw(subject.n.max(PILOT), &mut rng::stream(subject.seed, LATENT_STREAM));
        // So that f32 holds them: their rounding is not an error of the solve.
        z.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        let spec = &subject.model.spec.solver;
        let pilot = subject.decode(spec, subject.precision, &z[..PILOT * d])?;
        if pilot.cost.nfe_mean() > DEAR {
            z.truncate(FEW.min(z.len() / d) * d);
        }
        let there = subject.decode(spec, subject.precision, &z)?;
        let arrived: Vec<usize> = (0..z.len() / d).filter(|i| there.log_prob[*i].is_finite()).collect();
        let rows = |x: &[f64]| arrived.iter().flat_map(|i| x[i * d..(i + 1) * d].to_vec()).collect::<Vec<f64>>();
        let mut cost = there.cost.clone();
        if !cost.logdet_se.is_empty() {
            cost.logdet_se = arrived.iter().map(|i| cost.logdet_se[*i]).collect();
        }
        let log_prob = arrived.iter().map(|i| there.log_prob[*i]).collect();
        let mut evidence = Self {
            subject,
            drawn: z.len() / d,
            z: rows(&z),
            there: Solved { dim: d, y: rows(&there.y), log_prob, cost },
            back: Solved::default(),
            wide: Solved::default(),
            fine: Solved::default(),
            amplification: Vec::new(),
        };
        if evidence.enough() {
            let x = &evidence.there.y;
            let back = subject.encode(spec, subject.precision, x)?;
            let wide = match subject.precision {
                Precision::F64 => back.clone(),
                Precision::F32 => subject.encode(spec, Precision::F64, x)?,
            };
            let fine = subject.encode(&reference(spec)?, Precision::F64, x)?;
            (evidence.back, evidence.wide, evidence.fine) = (back, wide, fine);
            evidence.amplification = evidence.amplifications()?;
        }
        Ok(evidence)
    }

    /// The layers have a closed form: no ODE is solved.
    pub fn closed(&self) -> bool {
        self.subject.model.spec.architecture.closed_layers().is_some()
    }

    /// At least half of the samples arrived.
    pub fn enough(&self) -> bool {
        2 * self.there.log_prob.len() >= self.drawn
    }

    /// ‖∂z/∂(x/σ)‖ of the first rows, by moving them: E |J u|² = ‖J‖²/d for a random direction u.
    fn amplifications(&self) -> Result<Vec<f64>> {
        let (d, spec) = (self.subject.model.dim(), reference(&self.subject.model.spec.solver)?);
        let n = (self.z.len() / d).min(MEASURED);
        let sigma = deviations(&self.there.y, d);
        let u = StandardNormal::new(d).draw(n * DIRECTIONS, &mut rng::stream(self.subject.seed, DIRECTION_STREAM));
        let mut moved = Vec::with_capacity(u.len());
        // As far as the numbers go: one far from 0 is rounded.
        let mut steps = Vec::with_capacity(n * DIRECTIONS);
        for (row, u) in u.chunks_exact(d).enumerate() {
            let length = u.iter().map(|u| u * u).sum::<f64>().sqrt();
            let x = &self.there.y[row % n * d..][..d];
            let next: Vec<f64> = (0..d).map(|j| x[j] + NUDGE * sigma[j] * u[j] / length).collect();
            let gone = (0..d).map(|j| ((next[j] - x[j]) / sigma[j]).powi(2)).sum::<f64>().sqrt();
            steps.push(if gone > 0.0 { gone } else { NUDGE });
            moved.extend(next);
        }
        let ends = self.subject.latents(&spec, Precision::F64, &moved)?;
        let gain = |row: usize| {
            let pairs = ends[row * d..(row + 1) * d].iter().zip(&self.fine.y[row % n * d..]);
            pairs.map(|(a, b)| ((a - b) / steps[row]).powi(2)).sum::<f64>()
        };
        let norm = |row: usize| {
            let mean = (0..DIRECTIONS).map(|k| gain(row + k * n)).sum::<f64>() / DIRECTIONS as f64;
            (d as f64 * mean).sqrt()
        };
        Ok((0..n).map(norm).collect())
    }

    /// What the local errors allow by the end of the way, in latents and in nats: 99 of 100 rows.
    ///
    /// A step may be wrong by τ = atol + rtol |y|, and by the round-off of |y|; there are N of them each way, and the
    /// point between the ways is rounded to 64 bits. What happens on the way reaches the latent enlarged by A at most,
    /// and log p = −½|z|² + … follows with |z| + √d. The log-determinant adds its own tolerance. Where layers stand in
    /// closed form they take the place of steps, and round-off is all there is. Fixed steps promise nothing: only the
    /// cap is left.
    pub fn allowed(&self) -> (f64, f64) {
        let (spec, d) = (&self.subject.model.spec.solver, self.subject.model.dim());
        let closed = self.subject.model.spec.architecture.closed_layers();
        if spec.fixed_steps.is_some() && closed.is_none() && !spec.exact() {
            return (super::CAP, super::CAP);
        }
        let epsilon = self.subject.precision.epsilon();
        let by_solver = if closed.is_some() || spec.exact() { 0.0 } else { spec.atol + spec.rtol * LENGTH };
        let tau = by_solver + epsilon * LENGTH;
        let stages = match spec.method() {
            Ok(Method::Explicit(tableau)) => tableau.stages() as f64,
            _ => 1.0,
        };
        let sigma = deviations(&self.there.y, d);
        let each = |row: usize| {
            let evaluations = || f64::from(self.back.cost.nfe.get(row).copied().unwrap_or(0));
            // Newton's iteration evaluates a step more than once.
            let equal = spec.fixed_steps.filter(|_| spec.exact());
            let solved = || equal.map_or_else(|| evaluations() / stages, |steps| steps as f64);
            let steps = closed.map_or_else(solved, |layers| layers as f64);
            // A point is a row of 64-bit numbers between the two ways: far from 0 they are coarse beside a deviation.
            let x = &self.there.y[row * d..(row + 1) * d];
            let rounded = |j: usize| if sigma[j] > 0.0 { f64::EPSILON * x[j].abs() / sigma[j] } else { 0.0 };
            let point = (0..d).map(|j| rounded(j).powi(2)).sum::<f64>().sqrt();
            let path = 2.0 * (steps * tau + point) * self.amplification[row].max(1.0);
            let z = &self.z[row * d..(row + 1) * d];
            let slope = z.iter().map(|z| z * z).sum::<f64>().sqrt() + (d as f64).sqrt();
            let own = match closed {
                Some(layers) => layers as f64 * d as f64 * epsilon * LENGTH,
                None if spec.exact() => steps * d as f64 * epsilon * LENGTH,
                None => spec.log_density_atol() * if spec.coupled() { steps.max(1.0) } else { 1.0 },
            };
            (path, path * slope + 2.0 * own)
        };
        let (latents, nats): (Vec<f64>, Vec<f64>) = (0..self.amplification.len()).map(each).unzip();
        (quantile(&latents, 0.99).min(super::CAP), quantile(&nats, 0.99).min(super::CAP))
    }

    /// Mean |error| of log p by the solver, against the better solve: a bound on its effect on ∫p.
    pub fn log_error(&self) -> f64 {
        let errors = self.back.log_prob.iter().zip(&self.fine.log_prob).map(|(a, b)| (a - b).abs());
        let finite: Vec<f64> = errors.filter(|e| e.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len().max(1) as f64
    }
}

/// Standard deviations of the columns of `[n, d]`.
pub fn deviations(x: &[f64], d: usize) -> Vec<f64> {
    (0..d).map(|j| crate::stats::moments(x.iter().skip(j).step_by(d).copied()).1).collect()
}

/// The solver that is taken for the truth, in f64: far below the tolerance, or adaptive where steps are fixed; the same
/// where the map of equal steps is the flow.
///
/// # Errors
/// As [`bars::finer`].
pub fn reference(spec: &SolverSpec) -> Result<SolverSpec> {
    if spec.fixed_steps.is_none() || spec.exact() {
        return bars::finer(spec);
    }
    let (trace, probe_seed) = (spec.trace, spec.probe_seed);
    bars::finer(&SolverSpec { rtol: COMPARED, atol: COMPARED, trace, probe_seed, ..SolverSpec::default() })
}

impl Subject {
    /// The model with another solver.
    ///
    /// # Errors
    /// As [`FlowSpec::bind`].
    pub fn with(&self, solver: &SolverSpec, precision: Precision) -> Result<BoundModel> {
        FlowSpec { solver: solver.clone(), ..self.model.spec.clone() }.bind(&self.model.theta, precision)
    }

    /// The solver with an exact trace.
    pub fn exact(&self, solver: &SolverSpec) -> SolverSpec {
        SolverSpec { trace: TraceSpec::Exact, ..solver.clone() }
    }

    /// The row of conditions, for n rows.
    pub fn conditions(&self, n: usize) -> Vec<f64> {
        self.condition.repeat(n)
    }

    /// Latents of the rows of `x`, `[n, d]`.
    ///
    /// # Errors
    /// As [`BoundModel::encode`].
    pub fn encode(&self, solver: &SolverSpec, precision: Precision, x: &[f64]) -> Result<Solved> {
        self.with(solver, precision)?.encode(x, &self.conditions(x.len() / self.model.dim()))
    }

    /// Points of the latents `z`, `[n, d]`.
    ///
    /// # Errors
    /// As [`BoundModel::decode`].
    pub fn decode(&self, solver: &SolverSpec, precision: Precision, z: &[f64]) -> Result<Solved> {
        self.with(solver, precision)?.decode(z, &self.conditions(z.len() / self.model.dim()))
    }

    /// Latents of the rows of `x` without their density.
    ///
    /// # Errors
    /// As [`BoundModel::latents`].
    pub fn latents(&self, solver: &SolverSpec, precision: Precision, x: &[f64]) -> Result<Vec<f64>> {
        Ok(self.with(solver, precision)?.latents(x, &self.conditions(x.len() / self.model.dim()))?.y)
    }

    /// Points of the latents `z` without their density.
    ///
    /// # Errors
    /// As [`BoundModel::points`].
    pub fn points(&self, solver: &SolverSpec, precision: Precision, z: &[f64]) -> Result<Vec<f64>> {
        Ok(self.with(solver, precision)?.points(z, &self.conditions(z.len() / self.model.dim()))?.y)
    }

    /// Latents of rows, each under its own context.
    ///
    /// # Errors
    /// As [`BoundModel::encode`].
    pub fn encode_under(&self, rows: &Rows) -> Result<Solved> {
        self.with(&self.model.spec.solver, self.precision)?.encode(&rows.points(), &rows.context)
    }
}
