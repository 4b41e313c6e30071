//! The divergence theorem: E_p[div v + v · ∇log p] = ∫ div(p v) = 0, for samples of p and the flow's own velocity.
//!
//! It ties three quantities that are computed independently: the samples (the forward solve), the gradient of their
//! log-density (the solve backward) and the divergence. The gradient along v is a central difference of log p: two
//! solves a sample in any dimension. It is checked in the space of the velocity, before any preprocessing is undone, at
//! t = 1 and at t = 1/2. Rejected: the gradient through the graph, which would be that of the quadrature as it was
//! computed, and so would share its errors.

use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Lanes, LanesMut};

use super::samples::reference;
use super::solve::SIGMAS;
use super::{Check, DiagnosticSamples};
use crate::continuous::SolverSpec;
use crate::model::{BoundModel, FlowSpec};
use crate::stats::mean_and_se;
use crate::velocity::{Batch, Precision, Trace};
use crate::{Result, words};

/// Beyond this dimension exact traces are too expensive.
const MOST: usize = 16;
/// Points are moved by so much, against a unit of the velocity's own space.
const STEP: f64 = 3e-4;
/// The difference's own error, as a part of the size of what is averaged.
const BIAS: f64 = 0.01;
/// Lanes of a tile.
const LANES: usize = 64;

/// Where the data are.
pub fn at_the_end(e: &DiagnosticSamples<'_>) -> Result<Check> {
    theorem(e, "divergence, t = 1", 1.0)
}

/// At t = 1/2, half way from the normal to the data.
pub fn half_way(e: &DiagnosticSamples<'_>) -> Result<Check> {
    theorem(e, "divergence, t = 1/2", 0.5)
}

fn theorem(e: &DiagnosticSamples<'_>, name: &'static str, t: f64) -> Result<Check> {
    let subject = e.subject;
    let (d, model) = (subject.model.dim(), &subject.model);
    let Some(net) = model.spec.architecture.as_velocity() else {
        return Ok(Check::skipped(name, super::solve::NOTHING));
    };
    if d > MOST && !net.closed_form() {
        return Ok(Check::skipped(
            name,
            format!("too expensive in {d} dimensions: an exact trace costs one tangent in each"),
        ));
    }
    // Samples come from the solver as it is, the gradient from a better one.
    let flow = |solver: SolverSpec| -> Result<BoundModel> {
        let spec = model.spec.clone();
        let bare = FlowSpec { base_flow: None, standardise: None, columns: None, pixels: None, solver, ..spec };
        bare.bind(&model.theta, Precision::F64)?.until(t)
    };
    let own = &model.spec.solver;
    let (rough, fine) = (flow(subject.exact(own))?, flow(subject.exact(&reference(own)?))?);
    let y = rough.decode(&e.z, &subject.conditions(e.z.len() / d))?.y;
    let (v, div) = field(e, t, &y)?;
    let slopes = slopes(e, &fine, &y, &v)?;
    let arrived = || slopes.iter().zip(&div).filter(|(slope, div)| (*slope + *div).is_finite());
    let sums: Vec<f64> = arrived().map(|(slope, div)| slope + div).collect();
    let sizes: Vec<f64> = arrived().map(|(slope, div)| slope.abs().max(div.abs())).collect();
    let (mean, se) = mean_and_se(&sums);
    let size = mean_and_se(&sizes).0;
    let words = format!(
        "mean of div v + v·∇log p, ± {} over {} samples; each part is about {}",
        words::error(se),
        sums.len(),
        words::number(size, 1)
    );
    Ok(Check::judge(name, mean, SIGMAS * se + BIAS * size, words))
}

/// v and div v at (t, y), `[n, d]` and `[n]`.
fn field(e: &DiagnosticSamples<'_>, t: f64, y: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
    let (model, d) = (&e.subject.model, e.subject.model.dim());
    let theta: Vec<f64> = model.theta.iter().map(|w| f64::from(*w)).collect();
    let velocity = model.spec.architecture.velocity()?.bind_here::<f64>(&theta)?;
    let condition = model.spec.encoded(&e.subject.condition)?.repeat(LANES);
    let batch = Batch { condition: &condition, keys: &[], trace: Trace::Exact, lanes: LANES };
    let mut evaluator = velocity.evaluator(batch);
    let stride = stride_for(LANES);
    let (mut tile, mut v, mut div) = (vec![0.0; d * stride], vec![0.0; d * stride], vec![0.0; stride]);
    let (mut values, mut divergences) = (Vec::with_capacity(y.len()), Vec::with_capacity(y.len() / d));
    let samples: Vec<usize> = (0..LANES).collect();
    for rows in y.chunks(LANES * d) {
        let lanes = rows.len() / d;
        for (l, row) in rows.chunks_exact(d).enumerate() {
            (0..d).for_each(|i| tile[i * stride + l] = row[i]);
        }
        evaluator.value_and_divergence(
            At::new(&vec![t; lanes], &samples[..lanes]),
            Lanes::new(&tile, d, lanes, stride),
            LanesMut::new(&mut v, d, lanes, stride),
            LanesMut::new(&mut div, 1, lanes, stride),
        );
        values.extend((0..lanes).flat_map(|l| (0..d).map(move |i| (l, i))).map(|(l, i)| v[i * stride + l]));
        divergences.extend_from_slice(&div[..lanes]);
    }
    Ok((values, divergences))
}

/// v · ∇log p at the rows of `y`.
fn slopes(e: &DiagnosticSamples<'_>, flow: &BoundModel, y: &[f64], v: &[f64]) -> Result<Vec<f64>> {
    let d = e.subject.model.dim();
    let speeds: Vec<f64> = v.chunks_exact(d).map(|v| v.iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
    let moved = |by: f64| -> Vec<f64> {
        let rows = y.chunks_exact(d).zip(v.chunks_exact(d)).zip(&speeds);
        rows.flat_map(|((y, v), speed)| {
            let scale = by / speed.max(f64::MIN_POSITIVE);
            y.iter().zip(v).map(move |(y, v)| y + scale * v).collect::<Vec<_>>()
        })
        .collect()
    };
    let condition = e.subject.conditions(y.len() / d);
    let up = flow.log_prob(&moved(STEP), &condition)?.log_prob;
    let down = flow.log_prob(&moved(-STEP), &condition)?.log_prob;
    Ok(up.iter().zip(&down).zip(&speeds).map(|((up, down), speed)| speed * (up - down) / (2.0 * STEP)).collect())
}
