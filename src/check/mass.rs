//! ∫p = 1: on a grid in one or two dimensions, by importance sampling beyond.
//!
//! The midpoint rule converges faster than any power for a smooth p that ends inside the grid, so one grid gives its
//! own error: every second cell makes a grid of twice the spacing, and the spread of those is an upper bound.
//! Rejected in more dimensions: samples of the flow itself as the proposal. Their weights are one by construction
//! whatever the log-determinant is; the proposal must not depend on it ([`super::proposal`]).

use super::proposal::Proposal;
use super::solve::SIGMAS;
use super::{Check, DiagnosticSamples, Verdict};
use crate::continuous::SolverSpec;
use crate::stats::mean_and_se;
use crate::transform::StandardNormal;
use crate::velocity::{Precision, Trace, VelocitySpec};
use crate::{Result, rng, words};

const NAME: &str = "mass";
/// Cells a side.
const SIDES: [usize; 2] = [1024, 128];
/// Samples that locate the density.
const SCOUTS: usize = 4096;
const SCOUT_STREAM: u64 = 0xc4ec_0004;
/// The grid reaches beyond the outermost of them by this part of their range, on each side.
const MARGIN: f64 = 0.25;
/// What is left out beyond the grid, and other small change.
const SMALL: f64 = 2e-3;
/// The solver's error excuses no more than this.
const EXCUSE: f64 = 0.02;
/// Noise beyond which the check is unclear.
const NOISE: f64 = 0.05;
/// Draws from the proposal, for each sample of the model; the part of them that weights must amount to.
const DRAWS: usize = 4;
const LEAST_PART: f64 = 0.01;
/// Weights whose largest fall off as w^(−1/k) have no variance from k = 1/2 on, and beyond this their mean is
/// unreliable: Vehtari, Simpson, Gelman, Yao & Gabry, *Pareto smoothed importance sampling* (2024).
const HEAVIEST: f64 = 0.7;
/// Exact traces by tangents are not computed beyond this dimension.
const MOST_TANGENTS: usize = 64;
const PROPOSAL_STREAM: u64 = 0xc4ec_0003;

/// The integral of the density over everything.
pub fn mass(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let (model, solver) = (&e.subject.model, &e.subject.model.spec.solver);
    let (d, closed) = (model.dim(), model.spec.architecture.as_velocity().is_none_or(VelocitySpec::closed_form));
    // exp of a noisy log p is too large on average.
    let noisy = match model.spec.architecture.as_velocity() {
        Some(velocity) => solver.trace.of(velocity)? != Trace::Exact,
        None => false,
    };
    if noisy && !closed && d > MOST_TANGENTS {
        return Ok(Check::skipped(
            NAME,
            format!("Hutchinson's noise biases it, and an exact trace is too expensive in {d} dimensions"),
        ));
    }
    let solver = e.subject.exact(solver);
    let excuse = (SMALL + e.log_error()).min(EXCUSE);
    if d <= 2 { grid(e, &solver, excuse) } else { importance(e, &solver, excuse) }
}

fn grid(e: &DiagnosticSamples<'_>, solver: &SolverSpec, excuse: f64) -> Result<Check> {
    let d = e.subject.model.dim();
    let side = SIDES[d - 1];
    let z = StandardNormal::new(d).draw(SCOUTS, &mut rng::stream(e.subject.seed, SCOUT_STREAM));
    let scouts = e.subject.points(solver, e.subject.precision, &z)?;
    let edges: Vec<(f64, f64)> = (0..d).map(|j| around(scouts.iter().skip(j).step_by(d))).collect();
    let at = |j: usize, i: usize| edges[j].0 + (edges[j].1 - edges[j].0) * (i as f64 + 0.5) / side as f64;
    let cells = side.pow(d as u32);
    let centres: Vec<f64> = (0..cells)
        .flat_map(|c| (0..d).map(move |j| (j, c / side.pow(j as u32) % side)))
        .map(|(j, i)| at(j, i))
        .collect();
    // As a logarithm: a cell of columns of 1e200 is larger than any number.
    let log_cell: f64 = edges.iter().map(|(low, high)| ((high - low) / side as f64).ln()).sum();
    let log_prob = e.subject.encode(solver, e.subject.precision, &centres)?.log_prob;
    let parts = 1 << d;
    let mut masses = vec![0.0; parts];
    for (c, l) in log_prob.iter().enumerate() {
        let part = (0..d).map(|j| (c / side.pow(j as u32) % 2) << j).sum::<usize>();
        let inside = (l + log_cell).exp();
        masses[part] += if inside.is_finite() { parts as f64 * inside } else { 0.0 };
    }
    let mass = masses.iter().sum::<f64>() / parts as f64;
    let spread =
        masses.iter().copied().fold(f64::NEG_INFINITY, f64::max) - masses.iter().copied().fold(f64::INFINITY, f64::min);
    let failed = log_prob.iter().filter(|l| l.is_nan()).count();
    let mut words = format!("∫p − 1 over {cells} cells; grids of twice the spacing differ by {}", words::error(spread));
    if failed > 0 {
        words += &format!("; {} without a density, counted as empty", words::count(failed as u64, "cell"));
    }
    let line = Check::judge(NAME, mass - 1.0, 2.0 * spread + excuse, words);
    Ok(unclear_where(line, spread > NOISE, "the density is sharper than the grid"))
}

fn around<'a>(values: impl Iterator<Item = &'a f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    let margin = (MARGIN * (high - low)).max(1e-13 * low.abs()).max(1e-300);
    (low - margin, high + margin)
}

/// A check that would pass only because of its noise is unclear.
fn unclear_where(line: Check, noisy: bool, why: &str) -> Check {
    match noisy && line.verdict == Verdict::Pass {
        true => Check { verdict: Verdict::Unclear, words: format!("{}; {why}", line.words), ..line },
        false => line,
    }
}

fn importance(e: &DiagnosticSamples<'_>, solver: &SolverSpec, excuse: f64) -> Result<Check> {
    let d = e.subject.model.dim();
    let Some(proposal) = Proposal::around(&e.there.y, d) else {
        return Ok(Check::skipped(NAME, "the covariance of the samples is singular"));
    };
    let draws = DRAWS * e.z.len() / d;
    let x = proposal.draw(draws, &mut rng::stream(e.subject.seed, PROPOSAL_STREAM));
    let log_prob = e.subject.encode(solver, Precision::F64, &x)?.log_prob;
    let log_q = proposal.log_prob(&x);
    let weights: Vec<f64> =
        log_prob.iter().zip(&log_q).map(|(p, q)| if p.is_nan() { 0.0 } else { (p - q).exp() }).collect();
    let failed = log_prob.iter().filter(|l| l.is_nan()).count();
    let (mass, se) = mean_and_se(&weights);
    let total: f64 = weights.iter().sum();
    let effective = total * total / weights.iter().map(|w| w * w).sum::<f64>();
    let mut words = format!(
        "∫p − 1 by {draws} draws near the samples, ± {}; effective sample size {effective:.0}",
        words::error(se)
    );
    if failed > 0 {
        words += &format!("; {} without a density, counted as empty", words::count(failed as u64, "draw"));
    }
    let line = Check::judge(NAME, mass - 1.0, SIGMAS * se + excuse, words);
    // With few that count, the mean is too low more often than not, and its standard error with it.
    if effective.is_nan() || effective < LEAST_PART * draws as f64 {
        return Ok(Check { verdict: Verdict::Unclear, words: format!("{}: too small to judge", line.words), ..line });
    }
    // A density that diverges, as a normal's at the cut of an angle does: every sample of weights looks harmless, and
    // lies.
    let k = tail(weights);
    if k > HEAVIEST {
        let words = format!("{}; the largest weights fall off as w^-{:.1}, too slowly to judge", line.words, 1.0 / k);
        return Ok(Check { verdict: Verdict::Unclear, words, ..line });
    }
    Ok(unclear_where(line, se > NOISE, "too noisy to judge"))
}

/// k where the greatest of `weights` have P(weight > w) ∝ w^(−1/k).
///
/// Ref: Hill, *A simple general approach to inference about the tail of a distribution* (1975), of the 3 √n greatest.
fn tail(mut weights: Vec<f64>) -> f64 {
    weights.sort_by(|a, b| b.total_cmp(a));
    let many = (3.0 * (weights.len() as f64).sqrt()) as usize;
    match weights.get(many) {
        Some(least) if *least > 0.0 => weights[..many].iter().map(|w| (w / least).ln()).sum::<f64>() / many as f64,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;

    #[test]
    fn the_tail_of_a_power_law_is_its_power() {
        for k in [0.2, 0.5, 1.0] {
            let mut rng = rng::stream(4, 0);
            let weights = (0..16384).map(|_| rng.random_range(0.0_f64..1.0).powf(-k)).collect();
            // The mean of 384 exponentials has a standard error of k / √384.
            assert!((tail(weights) - k).abs() < 4.0 * k / 384_f64.sqrt());
        }
    }
}
