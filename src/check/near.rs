//! Coverage: held-out rows that no sample comes near, which a model that has lost a part of the data never draws.
//!
//! Around each held-out row a ball is drawn that reaches to the [`REACH`]-th nearest of the rows that are known (those
//! for training where they are, else the other held-out ones), and samples in it are counted. If the model is the
//! truth, known rows and samples are draws of one distribution, and neither the ball's place nor its size distinguishes
//! them: among the a + c points inside, each is a known row with probability N_known / (N_known + N_samples). So the
//! chance that so few as c samples come is a binomial tail, whatever the distribution and the dimension. A row is left
//! alone where that chance is below [`LEVEL`] over the number of rows checked, by Bonferroni: a right model has such a
//! row in less than one check of a thousand. A trained model is never quite right, but with four samples for each known
//! row a row is left alone only where the model has less than about a tenth of the density around it.
//!
//! **Power.** A mode is noticed if it holds [`REACH`] known rows and a held-out one, and the model gives it less than a
//! tenth: of 16 and no sample the chance is 0.2^16 = 7·10⁻¹².
//! Ref: Naeem et al., *Reliable fidelity and diversity metrics for generative models* (2020), for coverage by
//! neighbours; Wilks, *Statistical prediction with special reference to the problem of tolerance limits* (1942), for
//! balls of known content.

use rayon::prelude::*;

use super::{Check, DiagnosticSamples, HeldOut};
use crate::transform::StandardNormal;
use crate::words::count;
use crate::{Result, rng};

const NAME: &str = "coverage";
const STREAM: u64 = 0xc4ec_0005;
/// Known rows in a ball.
const REACH: usize = 16;
/// The chance of a false alarm.
const LEVEL: f64 = 1e-3;
/// The most held-out rows that are checked, known rows, and samples for each of those.
const CHECKED: usize = 10_000;
const KNOWN: usize = 1 << 15;
const SAMPLES: usize = 4;
/// What samples may cost in all, in evaluations times parameters; and distances, in differences.
const DEAREST: f64 = 4e11;
const DISTANCES: f64 = 4e9;
/// With fewer known rows a mode cannot be judged.
const FEWEST: usize = 4 * REACH;

/// Whether samples come near every held-out row.
pub fn near(e: &DiagnosticSamples<'_>) -> Result<Check> {
    let (subject, d) = (e.subject, e.subject.model.dim());
    let (rows, from) = match &subject.held_out {
        HeldOut::Rows(rows, from) if rows.context.is_empty() => (rows.points(), from),
        HeldOut::Rows(_, from) => {
            return Ok(Check::skipped(
                NAME,
                format!("the rows of {from} have several conditions, the samples have one"),
            ));
        }
        HeldOut::Missing(why) => return Ok(Check::skipped(NAME, why.clone())),
    };
    let trained = !subject.trained_on.is_empty();
    let known: &[f64] = if trained { &subject.trained_on } else { &rows };
    // What a sample costs decides how many there are, and they how many rows are known.
    let each = e.there.cost.nfe_mean().max(1.0) * subject.model.n_params().max(1) as f64;
    let most = ((DEAREST / each) as usize / SAMPLES).min(KNOWN).min(known.len() / d);
    let checked = CHECKED.min(rows.len() / d).min((DISTANCES / ((1 + SAMPLES) * most.max(1) * d) as f64) as usize);
    if known.len() / d < FEWEST || rows.is_empty() {
        let kind = if trained { "training" } else { "held-out" };
        let words = count((known.len() / d) as u64, &format!("{kind} row"));
        return Ok(Check::skipped(NAME, format!("{words}: too few, give {FEWEST}")));
    }
    if most < FEWEST || checked == 0 {
        return Ok(Check::skipped(NAME, "sampling is too expensive for this check"));
    }
    let z = StandardNormal::new(d).draw(SAMPLES * most, &mut rng::stream(subject.seed, STREAM));
    let samples = subject.points(&subject.model.spec.solver, subject.precision, &z)?;
    // A sample that failed is near to nothing.
    let samples: Vec<f64> =
        samples.chunks_exact(d).filter(|x| x.iter().all(|v| v.is_finite())).flatten().copied().collect();
    let known = evenly(known, d, most);
    let scales = scales(&known, d);
    let (known, samples) = (scaled(&known, &scales), scaled(&samples, &scales));
    let drawn = samples.len() / d;
    let share = most as f64 / (most + SAMPLES * most) as f64;
    let places = places(rows.len() / d, checked);
    let check = |i: &usize| {
        let centre = scaled(&rows[i * d..(i + 1) * d], &scales);
        let mut squares = distances(&centre, &known);
        // Without training rows the row is itself one of the known rows: it is not its own neighbour.
        let own = usize::from(!trained && squares.contains(&0.0));
        let reach = ball(&mut squares, REACH + own)?;
        let inside = squares.iter().filter(|s| **s <= reach).count() - own;
        let near = distances(&centre, &samples).iter().filter(|s| **s <= reach).count();
        let chance = at_least(inside, inside + near, share);
        (chance < LEVEL / checked as f64).then_some((*i, inside, near))
    };
    let alone: Vec<(usize, usize, usize)> = places.par_iter().filter_map(check).collect();
    let kind = if trained { "training" } else { "held-out" };
    let mut words = format!(
        "of {} ({from}), among {}; {REACH} of {most} {kind} rows are near each",
        count(checked as u64, "row"),
        count(drawn as u64, "sample")
    );
    if let Some((row, inside, near)) = alone.iter().min_by_key(|(_, inside, near)| (near * REACH / inside, *near)) {
        let expected = SAMPLES * inside;
        let more = match alone.len() - 1 {
            0 => String::new(),
            1 => ", and 1 more row has too few".to_owned(),
            n => format!(", and {n} more rows have too few"),
        };
        words = format!(
            "row {row} (counted from 0) has {} near it where {expected} are expected{more}: {words}",
            count(*near as u64, "sample")
        );
    }
    Ok(Check::judge(NAME, alone.len() as f64, 0.0, words))
}

/// `count` of `n` rows, evenly taken.
fn places(n: usize, count: usize) -> Vec<usize> {
    (0..count).map(|i| i * n / count).collect()
}

fn evenly(x: &[f64], d: usize, count: usize) -> Vec<f64> {
    places(x.len() / d, count).into_iter().flat_map(|i| &x[i * d..(i + 1) * d]).copied().collect()
}

/// Deviations of the columns that far rows do not move; 1 where nearly all values are equal.
fn scales(x: &[f64], d: usize) -> Vec<f64> {
    let scale = |j: usize| {
        let mut column: Vec<f64> = x.iter().skip(j).step_by(d).copied().collect();
        let deviation = crate::stats::robust_moments(&mut column).1;
        if deviation > 0.0 && deviation.is_finite() { deviation } else { 1.0 }
    };
    (0..d).map(scale).collect()
}

fn scaled(x: &[f64], scales: &[f64]) -> Vec<f64> {
    x.iter().zip(scales.iter().cycle()).map(|(x, s)| x / s).collect()
}

/// Squared distances from one point.
fn distances(from: &[f64], x: &[f64]) -> Vec<f64> {
    x.chunks_exact(from.len()).map(|x| x.iter().zip(from).map(|(a, b)| (a - b) * (a - b)).sum()).collect()
}

/// The least square above 0 within which `count` of the `squares` are; none where there is none. Rows that are equal to
/// the centre would have a ball without a volume, in which no sample can lie.
fn ball(squares: &mut [f64], count: usize) -> Option<f64> {
    let (_, at, beyond) = squares.select_nth_unstable_by(count.min(squares.len()) - 1, f64::total_cmp);
    let reach = if *at > 0.0 { *at } else { beyond.iter().copied().filter(|s| *s > 0.0).fold(f64::INFINITY, f64::min) };
    reach.is_finite().then_some(reach)
}

/// P(X ≥ `least`) of a binomial with `n` draws of probability `p`.
fn at_least(least: usize, n: usize, p: f64) -> f64 {
    // Terms from the least on, each from the one before; the first by logarithms.
    let choose: f64 = (1..=n - least).map(|i| ((least + i) as f64 / i as f64).ln()).sum();
    let mut term = (choose + least as f64 * p.ln() + (n - least) as f64 * (-p).ln_1p()).exp();
    let mut sum = 0.0;
    for k in least..=n {
        sum += term;
        term *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binomial_tail_is_that_by_hand() {
        assert!((at_least(2, 3, 0.5) - 0.5).abs() < 1e-14);
        assert!((at_least(16, 16, 0.2) / 0.2f64.powi(16) - 1.0).abs() < 1e-12);
        assert!((at_least(1, 4, 0.2) - (1.0 - 0.8f64.powi(4))).abs() < 1e-14);
        assert!((at_least(0, 7, 0.3) - 1.0).abs() < 1e-14);
        // What the bound means: a row where 64 samples are expected is left alone with at most five, if 10 000 rows are
        // checked.
        let most = (0..64).take_while(|c| at_least(16, 16 + c, 0.2) < LEVEL / 10_000.0).last();
        assert_eq!(most, Some(5));
    }

    #[test]
    fn a_ball_has_a_volume() {
        assert_eq!(ball(&mut [4.0, 0.0, 1.0, 9.0], 2), Some(1.0));
        assert_eq!(ball(&mut [0.0, 0.0, 0.0, 9.0], 2), Some(9.0));
        assert_eq!(ball(&mut [0.0, 0.0], 2), None);
    }
}
