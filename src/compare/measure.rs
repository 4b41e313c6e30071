//! The metrics of each model of a comparison, computed in the same way for all: on the same held-out rows, with the
//! same draws.
//!
//! Throughputs are medians of three to 25 runs on all threads of the process. Distances of samples are taken on columns
//! scaled by the deviations of the held-out rows; [`Metrics::energy_floor`] and [`Metrics::sliced_floor`] are the
//! distances between two halves of those rows.

use std::time::Instant;

use super::{energy::energy_distance, floor, sliced::sliced_wasserstein};
use crate::check::{self, HeldOut, Ranks, Subject};
use crate::continuous::SolverSpec;
use crate::model::{Architecture, BoundModel, Model};
use crate::rows::{Rows, Toy};
use crate::stats::Dominance;
use crate::train::score;
use crate::transform::{StandardNormal, check_failures};
use crate::velocity::Precision;
use crate::{Result, rng};

/// Streams of the latents that are timed and drawn, of the halves of the data, and of directions.
const LATENT_STREAM: u64 = 0xc09a_0001;
const HALVES_STREAM: u64 = 0xc09a_0002;
const DIRECTIONS_STREAM: u64 = 0xc09a_0003;
/// Rows that are sampled and scored for throughput and the round trip.
const TIMED: usize = 10_000;
/// The same of images, whose nets cost a hundred times as much.
const TIMED_IMAGES: usize = 1000;
/// The most runs of a median, and the seconds after which three are enough.
const MOST_RUNS: usize = 25;
const SHORT: f64 = 0.5;
/// The most rows of each of the samples whose distance is taken.
const MOST_DISTANT: usize = 5000;
/// Directions of the sliced distance.
const DIRECTIONS: usize = 200;
/// Samples of the model by which the integral of its density is taken.
const MASS_SAMPLES: usize = 400;
/// Rows of a point of a curve of cost; of images.
const CURVE_ROWS: usize = 2000;
const CURVE_IMAGES: usize = 300;
/// The tolerances that sweep a continuous flow.
const TOLERANCES: [f64; 6] = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6];
/// The numbers of equal steps that sweep one whose steps are the flow.
const STEPS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// What all models of a comparison are measured on.
#[derive(Clone, Debug)]
pub struct Benchmark<'a> {
    /// Held-out rows in a random order ([`shuffled`](super::shuffled)).
    pub rows: &'a Rows,
    /// The truth, where it is known.
    pub truth: Option<&'a Toy>,
    /// In what the models compute.
    pub precision: Precision,
    /// Fixes every draw.
    pub seed: u64,
}

/// The metrics of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Held-out rows scored.
    pub n: usize,
    /// Rows without a density: the means leave them out.
    pub failed: usize,
    /// Held-out rows outside the support, where log p is −∞: the means leave them out too.
    pub outside: usize,
    /// Mean −log p in nats and its standard error; where the truth is known the entropy and the excess, which is far
    /// less noisy.
    pub nll: f64,
    /// Its standard error.
    pub nll_se: f64,
    /// Of the rows' −log p: the median, and whether few rows carry the mean.
    pub dominance: Dominance,
    /// Mean log p_true − log p and its standard error, where the truth is known.
    pub excess: Option<(f64, f64)>,
    /// Velocity evaluations of a density, mean over rows; 0 in closed form.
    pub nfe_density: f64,
    /// Velocity evaluations of a sample, mean over rows; 0 in closed form.
    pub nfe_sample: f64,
    /// Samples a second.
    pub sample_rate: f64,
    /// Log-densities a second.
    pub density_rate: f64,
    /// |x − f(f⁻¹(x))| of the model's own samples, the greatest column of a row, in deviations of the data: the mean.
    pub round_trip_mean: f64,
    /// The worst of them.
    pub round_trip_max: f64,
    /// ∫p, where it could be taken.
    pub mass: Option<f64>,
    /// The ranks of held-out rows among samples under their own conditions; none without conditions, and where there are
    /// too few rows.
    pub ranks: Option<Ranks>,
    /// The energy distance of samples to the data, in deviations of the data.
    pub energy: f64,
    /// The energy distance of two halves of the data.
    pub energy_floor: f64,
    /// The sliced Wasserstein distance of samples to the data, in deviations of the data.
    pub sliced: f64,
    /// The sliced Wasserstein distance of two halves of the data.
    pub sliced_floor: f64,
    /// The samples that were drawn, `[n, d]`.
    pub samples: Vec<f64>,
}

/// NLL at some cost of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// What was varied: `1e-3`, `8 couplings`.
    pub label: String,
    /// Microseconds a sample, on all threads.
    pub microseconds: f64,
    /// Velocity evaluations of a sample; 0 in closed form.
    pub nfe: f64,
    /// Held-out NLL in nats.
    pub nll: f64,
}

impl Benchmark<'_> {
    /// The conditions of `n` rows: those of the held-out rows, over and over.
    fn conditions(&self, n: usize, d: usize) -> Vec<f64> {
        let even = self.rows.by_weight(d);
        let (rows, c) = (even.count(d), even.context_dim(d));
        if c == 0 {
            return Vec::new();
        }
        (0..n).flat_map(|i| &even.context[i % rows * c..][..c]).copied().collect()
    }

    /// Measures a model.
    ///
    /// # Errors
    /// Where a model has no density at all, or no sample arrives; any error of the solver.
    pub fn measure(&self, model: &Model) -> Result<Metrics> {
        let d = model.dim();
        let flow = model.bind(self.precision)?;
        let score = score(&flow, self.rows, self.truth)?;
        let even = self.rows.thinned(d);
        let (nll, nll_se) = score.best_nll(self.truth);
        let drawn = self.sampled(&flow, if model.spec.pixels.is_some() { TIMED_IMAGES } else { TIMED })?;
        let (samples, back) = (finite_rows(&drawn.x, d), self.there_and_back(&flow, &drawn.x)?);
        let sigma = deviations(&even.points(), d);
        let mut worst: Vec<f64> = Vec::with_capacity(drawn.x.len() / d);
        for (x, y) in drawn.x.chunks_exact(d).zip(back.chunks_exact(d)) {
            let error = x.iter().zip(y).zip(&sigma).map(|((x, y), s)| (x - y).abs() / s);
            worst.push(error.fold(0.0, |a, b| if b.is_nan() { b } else { a.max(b) }));
        }
        worst.retain(|error| error.is_finite());
        let scaled = |x: &[f64]| -> Vec<f64> { x.iter().zip(sigma.iter().cycle()).map(|(x, s)| x / s).collect() };
        let m = (even.count(d) / 2).min(MOST_DISTANT).min(samples.len() / d);
        let data = scaled(&even.part(d, 0..2 * m));
        let ours = scaled(&samples[..m * d]);
        let halves = || rng::stream(self.seed, HALVES_STREAM);
        let directions = || rng::stream(self.seed, DIRECTIONS_STREAM);
        let by_directions = |a: &[f64], b: &[f64]| sliced_wasserstein(a, b, d, DIRECTIONS, &mut directions());
        let (energy, energy_floor, sliced, sliced_floor) = if m < 2 {
            (f64::NAN, f64::NAN, f64::NAN, f64::NAN)
        } else {
            (
                energy_distance(&ours, &data[..m * d], d)?,
                floor(&data, d, &mut halves(), |a, b| energy_distance(a, b, d))?,
                by_directions(&ours, &data[..m * d])?,
                floor(&data, d, &mut halves(), by_directions)?,
            )
        };
        Ok(Metrics {
            n: score.n,
            failed: score.failed.len(),
            outside: score.outside.len(),
            nll,
            nll_se,
            dominance: score.dominance,
            excess: score.excess,
            nfe_density: score.nfe_mean,
            nfe_sample: drawn.nfe,
            sample_rate: drawn.rate,
            density_rate: self.density_rate(&flow)?,
            // Of no row at all there is neither.
            round_trip_mean: worst.iter().sum::<f64>() / worst.len() as f64,
            round_trip_max: worst.iter().copied().fold(f64::NAN, f64::max),
            mass: self.mass(model)?,
            ranks: check::ranks(&self.subject(model, even))?.ok(),
            energy,
            energy_floor,
            sliced,
            sliced_floor,
            samples,
        })
    }

    /// ∫p by a grid in one or two dimensions, else by importance sampling; none where that is too noisy, and for
    /// images, which have no density but probabilities.
    fn mass(&self, model: &Model) -> Result<Option<f64>> {
        if model.spec.pixels.is_some() {
            return Ok(None);
        }
        let subject = self.subject(model, Rows::default());
        let subject = if model.spec.is_dense() { subject } else { subject.of_real_numbers()? };
        let line = check::mass_of(&subject)?;
        Ok(line.and_then(|line| line.value.map(|off| 1.0 + off)))
    }

    /// A model to be checked under the first row's condition, or on rows with conditions of their own.
    fn subject(&self, model: &Model, conditional: Rows) -> Subject {
        let c = model.condition_dim();
        Subject {
            model: model.clone(),
            precision: self.precision,
            n: MASS_SAMPLES,
            seed: self.seed,
            condition: self.rows.context.get(..c).map_or(Vec::new(), <[f64]>::to_vec),
            held_out: HeldOut::Missing(String::new()),
            conditional,
            trained_on: Vec::new(),
        }
    }

    /// The same draws of every model, and what they took.
    fn sampled(&self, flow: &BoundModel, n: usize) -> Result<Drawn> {
        let d = flow.dim();
        let z = StandardNormal::new(d).draw(n, &mut rng::stream(self.seed, LATENT_STREAM));
        let given = self.conditions(n, d);
        let (drawn, seconds) = timed(|| flow.points(&z, &given))?;
        if drawn.cost.failures.len() == n {
            check_failures(&drawn.cost, n)?;
        }
        Ok(Drawn { nfe: drawn.cost.nfe_mean(), x: drawn.y, rate: n as f64 / seconds })
    }

    /// Densities a second.
    fn density_rate(&self, flow: &BoundModel) -> Result<f64> {
        let d = flow.dim();
        let rows = self.rows.count(d).min(if flow.spec().pixels.is_some() { TIMED_IMAGES } else { TIMED });
        let given = self.conditions(rows, d);
        let (_, seconds) = timed(|| flow.encode(&self.rows.part(d, 0..rows), &given))?;
        Ok(rows as f64 / seconds)
    }

    /// Samples inverted and sampled again, `[n, d]`.
    fn there_and_back(&self, flow: &BoundModel, x: &[f64]) -> Result<Vec<f64>> {
        let d = flow.dim();
        let given = self.conditions(x.len() / d, d);
        let z = flow.latents(x, &given)?.y;
        Ok(flow.points(&z, &given)?.y)
    }

    /// NLL against the cost of a sample: of a continuous flow at tolerances from loose to tight, or at numbers of equal
    /// steps where these are the flow, of another as it is.
    ///
    /// # Errors
    /// Any error of the solver, but for tolerances and steps at which a row fails: they are left out.
    pub fn costs(&self, model: &Model) -> Result<Vec<Cost>> {
        let Architecture::Velocity(_) = &model.spec.architecture else {
            let couplings = if let Architecture::Discrete(spec) = &model.spec.architecture { spec.depth() } else { 0 };
            let label = if couplings > 0 { format!("{couplings} couplings") } else { String::new() };
            return Ok(vec![self.cost(model, label)?]);
        };
        let own = &model.spec.solver;
        let of_tolerance = |tol: f64| {
            let solver = SolverSpec { rtol: tol, atol: tol, log_density_atol: None, fixed_steps: None, ..own.clone() };
            (solver, format!("{tol:e}"))
        };
        let of_steps = |steps: usize| {
            let solver = SolverSpec { fixed_steps: Some(steps), ..own.clone() };
            (solver, crate::words::count(steps as u64, "step"))
        };
        let solvers: Vec<(SolverSpec, String)> =
            if own.exact() { STEPS.map(of_steps).into() } else { TOLERANCES.map(of_tolerance).into() };
        let mut costs = Vec::new();
        for (solver, label) in solvers {
            let mut other = model.clone();
            other.spec.solver = solver;
            match self.cost(&other, label) {
                Ok(cost) => costs.push(cost),
                Err(crate::Error::Failed { .. } | crate::Error::Invalid { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(costs)
    }

    /// NLL and cost of a sample of a model as it is.
    ///
    /// # Errors
    /// As [`Benchmark::measure`].
    pub fn cost(&self, model: &Model, label: String) -> Result<Cost> {
        let d = model.dim();
        let flow = model.bind(self.precision)?;
        let rows = if model.spec.pixels.is_some() { CURVE_IMAGES } else { CURVE_ROWS };
        let score = score(&flow, &self.rows.first(d, rows), self.truth)?;
        if model.spec.solver.exact() && !score.failed.is_empty() {
            // Steps that fold are no flow: the mean over the others would be too good.
            return Err(crate::Error::invalid("the steps fold space", "take more steps: raise `solver.fixed_steps`"));
        }
        let nll = score.best_nll(self.truth).0;
        let drawn = self.sampled(&flow, rows)?;
        Ok(Cost { label, microseconds: 1e6 / drawn.rate, nfe: drawn.nfe, nll })
    }
}

/// Samples, and what they took.
struct Drawn {
    x: Vec<f64>,
    nfe: f64,
    /// Samples a second.
    rate: f64,
}

/// The rows that are finite.
fn finite_rows(x: &[f64], d: usize) -> Vec<f64> {
    x.chunks_exact(d).filter(|row| row.iter().all(|v| v.is_finite())).flatten().copied().collect()
}

/// Standard deviations of the columns; 1 for a column that is constant.
fn deviations(x: &[f64], d: usize) -> Vec<f64> {
    let one = |j: usize| {
        let (_, std) = crate::stats::moments(x.iter().skip(j).step_by(d).copied());
        if std > 0.0 { std } else { 1.0 }
    };
    (0..d).map(one).collect()
}

/// What `f` gives, and the median of the seconds that it takes: of three runs, and of more where they are so short that
/// chance would have an effect.
fn timed<R>(mut f: impl FnMut() -> Result<R>) -> Result<(R, f64)> {
    let (whole, mut times) = (Instant::now(), Vec::new());
    loop {
        let begun = Instant::now();
        let result = f()?;
        times.push(begun.elapsed().as_secs_f64());
        if times.len() >= 3 && (times.len() >= MOST_RUNS || whole.elapsed().as_secs_f64() >= SHORT) {
            times.sort_by(f64::total_cmp);
            return Ok((result, times[times.len() / 2]));
        }
    }
}
