//! A bound on the negative log-likelihood without a solve: one evaluation of the velocity a row.
//!
//! For x_t = a x + s z, r = a′s − a s′ and any Gaussian N with the velocity v_N along the same path,
//!
//! −log p(x) ≤ −log N(x) + ∫₀¹ a/(r s) E[|v(x_t, t) − u|² − |v_N(x_t, t) − u|²] dt.
//!
//! This is the evidence bound of the model p that goes from latent to data at random, with v's mean of the data given
//! x_t at every t (Kingma et al., *Variational diffusion models* (2021), eqs. 17 and 18). The Gaussian stands for the
//! terms that do not depend on v: it meets its own bound (Kong et al., *Information-theoretic diffusion* (2023)). Where
//! v is exact, p is the density of the flow along v and both sides are equal. Where it is not, the flow has another
//! density than p; for a velocity that was matched its NLL is mostly a little below the bound (`tests/it/matching.rs`).
//! After training by likelihood nothing holds v to the path, and after matching optimal pairs it is another path: then
//! the bound says nothing about the flow.
//!
//! The weight is infinite at the data, and a net is never exact there. Beyond s = [`NEAREST`] the Gaussian's velocity
//! takes the place of v: the difference is zero, and a bound stays a bound. What is lost is ½ s² times the squared
//! difference of the two scores: nothing, unless the density has details of that size.
//!
//! Times are stratified over the rows, one of the strata for each, with the density ∝ (1 − t)^(−½) that bounds the
//! noise at the data. Latents and times depend on the seed and the number of rows alone: scores of one run differ by
//! its weights and not by their noise.

use rand::Rng as _;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Lanes, LanesMut, Real};

use super::preprocessing::Preprocessing;
use super::score::{Score, summarised};
use super::weight::NEAREST;
use super::{BOUND_STREAM, Path, TimeWeight};
use crate::continuous::narrowed;
use crate::model::{FlowSpec, Model};
use crate::rng;
use crate::rows::{Rows, Toy};
use crate::transform::{Base, Cost, StandardNormal};
use crate::velocity::{Batch, GaussianPath, Number, Precision, Trace, Velocity};
use crate::{Error, Result};

/// Rows of an evaluation.
const LANES: usize = 128;

/// Scores rows by the bound on their negative log-likelihood, of a model whose velocity was matched along `path`; one
/// evaluation a row. `truth` as in [`score`](super::score).
///
/// # Errors
/// [`Error::Invalid`] for a model without a velocity or with another base than the normal, and where no row has a
/// bound; as [`score`](super::score).
pub fn nll_bound(
    model: &Model,
    precision: Precision,
    path: Path,
    rows: &Rows,
    truth: Option<&Toy>,
    seed: u64,
) -> Result<Score> {
    let theta: Vec<f64> = model.theta.iter().map(|w| f64::from(*w)).collect();
    let options = BoundOptions { precision, path, seed };
    Ok(bounded(&model.spec, &theta, options, rows, truth)?.0)
}

/// How a bound is computed.
#[derive(Clone, Copy)]
pub(super) struct BoundOptions {
    pub precision: Precision,
    pub path: Path,
    pub seed: u64,
}

/// As [`nll_bound`], with minus the bound of each row.
pub(super) fn bounded(
    spec: &FlowSpec,
    theta: &[f64],
    options: BoundOptions,
    rows: &Rows,
    truth: Option<&Toy>,
) -> Result<(Score, Vec<f64>)> {
    let velocity = spec.architecture.velocity()?;
    if !matches!(spec.base(), Base::Normal(_)) {
        let hint = "set `model.base` to normal, or `optimiser.validation` to likelihood";
        return Err(Error::invalid("the bound needs latents of a normal", hint));
    }
    let preprocessed = Preprocessing::new(spec)?.rows(rows.points().into_owned(), &rows.context)?;
    let condition = spec.condition.as_ref().map_or_else(|| Ok(rows.context.clone()), |c| c.encode(&rows.context))?;
    let inside = match options.precision {
        Precision::F32 => of_rows(&*velocity.bind_here(&narrowed::<f32>(theta))?, &preprocessed.y, &condition, options),
        Precision::F64 => of_rows(&*velocity.bind_here(&narrowed::<f64>(theta))?, &preprocessed.y, &condition, options),
    };
    let bounds = inside.iter().zip(&preprocessed.logdet);
    let mut log_prob: Vec<f64> = bounds.map(|(nll, logdet)| logdet - nll).collect();
    preprocessed.cost.mark_outside(&mut log_prob);
    let cost = Cost { nfe: vec![1; log_prob.len()], ..preprocessed.cost };
    let score = summarised(spec.dim(), rows, &log_prob, &cost, truth)?;
    Ok((score, log_prob))
}

/// The bound of each row of the net's inputs `[n, d]`, in their units.
fn of_rows<T: Number>(velocity: &dyn Velocity<T>, x: &[f64], condition: &[f64], options: BoundOptions) -> Vec<f64> {
    let d = velocity.dim();
    let n = x.len() / d;
    let finite = || x.iter().filter(|x| x.is_finite());
    // Any deviation gives a bound; that of the rows leaves the least to the integral.
    let variance = finite().map(|x| x * x).sum::<f64>() / finite().count().max(1) as f64;
    let deviation = if variance.is_normal() { variance.sqrt() } else { 1.0 };
    let gaussian = GaussianPath { path: options.path, deviation };
    let mut noise = rng::stream(options.seed, BOUND_STREAM);
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut noise);
    let latest = latest(options.path);
    // q = √(1 − t) is uniform from `end` to 1.
    let end = (1.0 - latest).sqrt();
    let q: Vec<f64> =
        order.iter().map(|i| 1.0 - (1.0 - end) * (*i as f64 + noise.random::<f64>()) / n as f64).collect();
    let z = StandardNormal::new(d).draw(n, &mut noise);
    let condition = narrowed::<T>(condition);
    let starts: Vec<usize> = (0..n).step_by(LANES).collect();
    let chunk = |from: &usize| {
        let rows = *from..(from + LANES).min(n);
        let (lanes, stride) = (rows.len(), stride_for(rows.len()));
        let samples: Vec<usize> = rows.clone().collect();
        let t: Vec<f64> = rows.clone().map(|row| 1.0 - q[row] * q[row]).collect();
        let (mut x_t, mut v) = (vec![T::ZERO; d * stride], vec![T::ZERO; d * stride]);
        let pair = |row: usize, j: usize, t: f64| options.path.through(x[row * d + j], z[row * d + j], t);
        for (l, row) in rows.clone().enumerate() {
            (0..d).for_each(|j| x_t[j * stride + l] = T::of(pair(row, j, t[l]).0));
        }
        let batch = Batch { condition: &condition, keys: &[], trace: Trace::Exact, lanes };
        velocity.evaluator(batch).value(
            At::new(&t, &samples),
            Lanes::new(&x_t, d, lanes, stride),
            LanesMut::new(&mut v, d, lanes, stride),
        );
        let bound = |(l, row): (usize, usize)| {
            let (a, t) = (gaussian.at(t[l]).a, t[l]);
            let mut more = 0.0;
            for j in 0..d {
                let ((x_t, u), v) = (pair(row, j, t), Real::to_f64(v[j * stride + l]));
                // |v − u|² − |v_N − u|², without the digits that cancel.
                more += (v - a * x_t) * (v + a * x_t - 2.0 * u);
            }
            // dt = 2q dq.
            let density = 1.0 / (2.0 * q[row] * (1.0 - end));
            let weight = TimeWeight::Likelihood.at(options.path, t, density);
            let square = x[row * d..][..d].iter().map(|x| x * x).sum::<f64>();
            let log_volume = d as f64 * (deviation.ln() + 0.5 * std::f64::consts::TAU.ln());
            0.5 * square / (deviation * deviation) + log_volume + weight / density * more
        };
        rows.enumerate().map(bound).collect::<Vec<f64>>()
    };
    starts.par_iter().flat_map(chunk).collect()
}

/// The time at which s is [`NEAREST`].
fn latest(path: Path) -> f64 {
    match path {
        Path::Straight => 1.0 - NEAREST,
        Path::Vp => NEAREST.acos() / std::f64::consts::FRAC_PI_2,
    }
}
