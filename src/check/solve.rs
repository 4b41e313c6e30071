//! Checks of the arithmetic: how accurately the solver computes what the flow defines.

use super::{Check, DiagnosticSamples, Verdict};
use crate::continuous::{LogDensity, Method, SolverSpec, TraceSpec};
use crate::stats::{mean_and_se, quantile};
use crate::velocity::{Precision, Trace};
use crate::{Result, words};

/// Probes of the line about the trace, and the most rows for it where each costs one tangent a dimension.
const PROBES: usize = 4;
const ROWS_OF_TANGENTS: usize = 200;
/// Why a line about the solver is skipped for layers in closed form.
pub const NOTHING: &str = "the layers have a closed form: no ODE is solved";
/// Why one about the integral of the trace is skipped where the map of equal steps is the flow.
const NO_INTEGRAL: &str = "the log-density is that of the steps themselves: nothing is integrated";
/// Standard errors that chance does not reach in a thousand runs.
pub const SIGMAS: f64 = 4.0;

/// Evaluations per row, rows whose steps were limited by stability, and failed rows.
pub fn cost(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let nfe: Vec<f64> = e.there.cost.nfe.iter().chain(&e.back.cost.nfe).map(|n| f64::from(*n)).collect();
    let failed = e.there.cost.failures.len() + e.back.cost.failures.len();
    let stiff = e.there.cost.stiff.max(e.back.cost.stiff);
    let at = |q: f64| quantile(&nfe, q);
    let mut words = match e.subject.model.spec.architecture.closed_layers() {
        Some(layers) => {
            format!("{} in closed form; {failed} of {} rows failed", words::count(layers as u64, "layer"), e.drawn)
        }
        None => format!(
            "NFE {} minimum, {} median, {} at 95 %, {} maximum; steps limited by stability in {stiff} of {} rows; {failed} failed",
            at(0.0),
            at(0.5),
            at(0.95),
            at(1.0),
            e.drawn
        ),
    };
    if let Some((_, first)) = e.there.cost.failures.iter().chain(&e.back.cost.failures).next() {
        words += &format!(" (the first: {first})");
    }
    let part = stiff as f64 / e.drawn as f64;
    let line = Check::judge("solver", part, 0.5, words);
    Ok(if failed > 0 { Check { verdict: Verdict::Fail, ..line } } else { line })
}

/// The latent, decoded and encoded again.
pub fn round_trip(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let d = e.subject.model.dim();
    let worst = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let errors: Vec<f64> = e.z.chunks_exact(d).zip(e.back.y.chunks_exact(d)).map(worst).collect();
    let gain = quantile(&e.amplification, 0.5);
    let words = format!(
        "|z − inverse(forward(z))| of 99 % of rows, worst {}; the inverse enlarges errors {} times",
        words::error(quantile(&errors, 1.0)),
        words::number(gain, 1)
    );
    Ok(Check::judge("round trip", quantile(&errors, 0.99), e.allowed().0, words))
}

/// How two lists of log-densities differ in 99 of 100 rows, and in the worst.
fn differences(a: &[f64], b: &[f64]) -> (f64, f64) {
    let errors: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
    (quantile(&errors, 0.99), quantile(&errors, 1.0))
}

/// The log-density computed while sampling against the one computed from the sample.
pub fn transported(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let (value, worst) = differences(&e.there.log_prob, &e.back.log_prob);
    let mut bound = e.allowed().1;
    let worst = words::error(worst);
    let mut words = format!("|log p(sample) − log-density from sampling| of 99 % of rows, worst {worst} nats");
    let both = |(a, b): (&f64, &f64)| a.hypot(*b);
    let ses: Vec<f64> = e.there.cost.logdet_se.iter().zip(&e.back.cost.logdet_se).map(both).collect();
    if !ses.is_empty() {
        if ses.iter().any(|se| se.is_nan()) {
            words += "; one probe has no error estimate: use an exact trace, or several probes";
            return Ok(Check { verdict: Verdict::Unclear, ..Check::judge("density carried", value, bound, words) });
        }
        bound += SIGMAS * quantile(&ses, 0.99);
        words += "; the bound includes Hutchinson's noise";
    }
    Ok(Check::judge("density carried", value, bound, words))
}

/// The quadrature against the coupled state.
pub fn ways(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let solver = &e.subject.model.spec.solver;
    if e.closed() {
        return Ok(Check::skipped("quadrature", NOTHING));
    }
    if matches!(solver.method()?, Method::Implicit(_)) {
        return Ok(Check::skipped("quadrature", "an implicit method supports the quadrature only"));
    }
    if solver.exact() {
        return Ok(Check::skipped("quadrature", NO_INTEGRAL));
    }
    let other = if solver.coupled() { LogDensity::Quadrature } else { LogDensity::Coupled };
    let other = SolverSpec { log_density: other, log_density_atol: None, ..solver.clone() };
    let second = e.subject.encode(&other, e.subject.precision, &e.there.y)?;
    let (value, worst) = differences(&e.back.log_prob, &second.log_prob);
    let words = format!("|log p by quadrature − log p as a state| of 99 % of rows, worst {} nats", words::error(worst));
    Ok(Check::judge("quadrature", value, e.allowed().1, words))
}

/// The tolerance against a hundredth of it; fixed steps against adaptive ones.
pub fn tolerance(e: &DiagnosticSamples<'_>) -> Result<Check> {
    if e.closed() {
        return Ok(Check::skipped("tolerance", NOTHING));
    }
    let solver = &e.subject.model.spec.solver;
    if solver.exact() {
        return Ok(Check::skipped("tolerance", NO_INTEGRAL));
    }
    let (value, worst) = differences(&e.wide.log_prob, &e.fine.log_prob);
    let what = match solver.fixed_steps {
        Some(steps) => format!("{} of {} against adaptive ones", words::count(steps as u64, "step"), solver.method),
        None => format!("rtol {:.0e}, atol {:.0e} against a hundredth", solver.rtol, solver.atol),
    };
    let words = format!("{what}: change of log p in 99 % of rows, worst {} nats", words::error(worst));
    Ok(Check::judge("tolerance", value, e.allowed().1, words))
}

/// f32 against f64.
pub fn precision(e: &DiagnosticSamples<'_>) -> Result<Check> {
    if e.subject.precision == Precision::F64 {
        return Ok(Check::skipped("precision", "computed in f64"));
    }
    let (value, worst) = differences(&e.back.log_prob, &e.wide.log_prob);
    let words = format!("f32 against f64: change of log p in 99 % of rows, worst {} nats", words::error(worst));
    Ok(Check::judge("precision", value, e.allowed().1, words))
}

/// The exact trace against Hutchinson's, which is unbiased: their mean difference is noise.
pub fn trace(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let (subject, solver) = (e.subject, &e.subject.model.spec.solver);
    let Some(net) = subject.model.spec.architecture.as_velocity() else {
        return Ok(Check::skipped("trace", NOTHING));
    };
    if solver.exact() {
        return Ok(Check::skipped("trace", NO_INTEGRAL));
    }
    let (d, closed) = (subject.model.dim(), net.closed_form());
    let n = if closed { e.z.len() / d } else { (e.z.len() / d).min(ROWS_OF_TANGENTS * 16 / d.min(16)) };
    let x = &e.there.y[..n * d];
    let by = |trace: TraceSpec| SolverSpec { trace, ..solver.clone() };
    let exact = match solver.trace.of(net)? {
        Trace::Exact => e.back.log_prob[..n].to_vec(),
        Trace::Hutchinson { .. } | Trace::Lattice { .. } => {
            subject.encode(&by(TraceSpec::Exact), subject.precision, x)?.log_prob
        }
    };
    // Gaussian probes have noise in one dimension too, where random signs are exact.
    let noisy = subject.encode(&by(TraceSpec::Gaussian(PROBES)), subject.precision, x)?.log_prob;
    let differences: Vec<f64> = noisy.iter().zip(&exact).map(|(a, b)| a - b).filter(|v| v.is_finite()).collect();
    let (mean, se) = mean_and_se(&differences);
    let kind = if closed { "closed-form trace" } else { "trace by tangents" };
    let error = words::error(se);
    let words = format!("mean of log p by {kind} minus log p by {PROBES} random probes, ± {error} over {n} rows");
    // Both are right to the solver's tolerance only.
    Ok(Check::judge("trace", mean, SIGMAS * se + e.log_error().min(super::CAP), words))
}
