//! The toy densities: recipes, true entropies, and the exact log-density of each.
//!
//! Recipes of FFJORD's toy data (Grathwohl et al. 2019), every row drawn independently, so that the
//! stated density is the density of each row (where the original deals out equal shares to the parts).
//! An entropy is the lowest mean negative log-likelihood, in nats, that any model can reach on held-out
//! points. Where it has no closed form it is −∫ p ln p of the exact density by the trapezoidal
//! rule on a fine grid; the tests repeat that integral and a Monte Carlo mean.

use std::f64::consts::{LN_2, PI, SQRT_2};
use std::sync::LazyLock;

use rand::Rng as _;

use super::curve::{Arc, Cloud};
use super::mixture::Mixture;
use super::{pinwheel, ring};
use crate::{Error, Result, Rng};

/// A density that we can draw from, and whose truth is known.
#[derive(Clone, Copy, Debug)]
pub struct Toy {
    /// As the user types it.
    pub name: &'static str,
    /// What it looks like, in a few words.
    pub about: &'static str,
    /// d, the number of columns.
    pub dim: usize,
    /// The differential entropy in nats.
    pub entropy: f64,
    /// A bound on the error of `entropy`; 0 where it is known in closed form.
    pub entropy_se: f64,
    /// Draws n rows, `[n, dim]` row-major.
    pub sample: fn(usize, &mut Rng) -> Vec<f64>,
    /// log p at one point, in nats; −∞ outside the support.
    pub log_prob: fn(&[f64]) -> f64,
    /// The half-width of a square (interval) about the origin that holds all but 1e-9 of the mass.
    pub extent: f64,
}

/// Every toy. A new one is added here and meets all laws of `tests/it/data.rs`.
pub static ALL: &[Toy] = &[
    Toy {
        name: "8gaussians",
        about: "eight Gaussians on a circle",
        dim: 2,
        entropy: 2.831_578_4,
        entropy_se: 1e-7,
        sample: |n, rng| EIGHT.sample(n, rng),
        log_prob: |x| EIGHT.log_prob(x),
        extent: 6.0,
    },
    Toy {
        name: "checkerboard",
        about: "the dark squares of a 4 × 4 board",
        dim: 2,
        entropy: 5.0 * LN_2,
        entropy_se: 0.0,
        sample: checkerboard,
        log_prob: checkerboard_log_prob,
        extent: 4.0,
    },
    Toy {
        name: "circles",
        about: "two concentric circles with noise",
        dim: 2,
        entropy: 3.268_135_7,
        entropy_se: 1e-7,
        sample: |n, rng| ring::sample(&CIRCLES, 0.24, n, rng),
        log_prob: |x| ring::log_prob(&CIRCLES, 0.24, x),
        extent: 5.0,
    },
    Toy {
        name: "rings",
        about: "four concentric circles with little noise",
        dim: 2,
        entropy: 2.623_182_8,
        entropy_se: 1e-7,
        sample: |n, rng| ring::sample(&RINGS, 0.08, n, rng),
        log_prob: |x| ring::log_prob(&RINGS, 0.08, x),
        extent: 4.0,
    },
    Toy {
        name: "moons",
        about: "two interleaved half circles with noise",
        dim: 2,
        entropy: 2.393_879_2,
        entropy_se: 1e-7,
        sample: |n, rng| MOONS.sample(n, rng),
        log_prob: |x| MOONS.log_prob(x),
        extent: 5.0,
    },
    Toy {
        name: "swissroll",
        about: "one spiral with noise",
        dim: 2,
        entropy: 2.669_646_2,
        entropy_se: 1e-7,
        sample: |n, rng| SWISSROLL.sample(n, rng),
        log_prob: |x| SWISSROLL.log_prob(x),
        extent: 5.0,
    },
    Toy {
        name: "2spirals",
        about: "two interleaved spirals with noise",
        dim: 2,
        entropy: 2.645_450_3,
        entropy_se: 1e-7,
        sample: |n, rng| SPIRALS.sample(n, rng),
        log_prob: |x| SPIRALS.log_prob(x),
        extent: 5.0,
    },
    Toy {
        name: "pinwheel",
        about: "five curved arms",
        dim: 2,
        entropy: 2.317_788,
        entropy_se: 1e-6,
        sample: pinwheel::sample,
        log_prob: pinwheel::log_prob,
        extent: 6.0,
    },
    Toy {
        name: "uniform",
        about: "uniform on [-1, 1]",
        dim: 1,
        entropy: LN_2,
        entropy_se: 0.0,
        sample: |n, rng| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect(),
        log_prob: |x| if x[0].abs() <= 1.0 { -LN_2 } else { f64::NEG_INFINITY },
        extent: 1.0,
    },
    Toy {
        name: "two-uniforms",
        about: "uniform on [-2, -1] and [1, 2]",
        dim: 1,
        entropy: LN_2,
        entropy_se: 0.0,
        sample: |n, rng| (0..n).map(|_| sign(rng) * rng.random_range(1.0..2.0)).collect(),
        log_prob: |x| if (1.0..=2.0).contains(&x[0].abs()) { -LN_2 } else { f64::NEG_INFINITY },
        extent: 2.0,
    },
];

/// The toy of a name.
///
/// # Errors
/// [`Error::Unknown`] with the names that exist.
pub fn find(name: &str) -> Result<&'static Toy> {
    ALL.iter().find(|toy| toy.name == name).ok_or_else(|| Error::Unknown {
        kind: "toy data set",
        name: name.into(),
        known: names(),
    })
}

/// All names, divided by commas.
pub fn names() -> String {
    ALL.iter().map(|toy| toy.name).collect::<Vec<_>>().join(", ")
}

const CIRCLES: [f64; 2] = [3.0, 1.5];
const RINGS: [f64; 4] = [3.0, 2.25, 1.5, 0.75];

/// Centres on a circle of radius 4/√2, four on the axes and four between them; σ = 0.5/√2.
static EIGHT: LazyLock<Mixture> = LazyLock::new(|| {
    let centres = (0..8).flat_map(|k| {
        let angle = PI / 4.0 * f64::from(k);
        [4.0 / SQRT_2 * angle.cos(), 4.0 / SQRT_2 * angle.sin()]
    });
    Mixture::isotropic(2, vec![1.0; 8], centres.collect(), vec![0.5 / SQRT_2; 8])
        .expect("eight weights, centres and widths are given")
});

/// scikit-learn's `make_moons` with noise 0.1, doubled and moved by (−1, −0.2).
static MOONS: LazyLock<Cloud> = LazyLock::new(|| {
    let upper = |u: f64| [2.0 * (PI * u).cos() - 1.0, 2.0 * (PI * u).sin() - 0.2];
    let lower = |u: f64| [2.0 * (1.0 - (PI * u).cos()) - 1.0, 2.0 * (0.5 - (PI * u).sin()) - 0.2];
    Cloud::new(vec![Arc::new(upper), Arc::new(lower)], 0.2, 0.0)
});

/// scikit-learn's `make_swiss_roll` with noise 1, first and third column, divided by 5.
static SWISSROLL: LazyLock<Cloud> = LazyLock::new(|| {
    let roll = |u: f64| {
        let t = 1.5 * PI * (1.0 + 2.0 * u);
        [t * t.cos() / 5.0, t * t.sin() / 5.0]
    };
    Cloud::new(vec![Arc::new(roll)], 0.2, 0.0)
});

/// Angle 3π√U, radius the same; each coordinate shifted by U(0, ½); a third of that, and N(0, 0.1²).
///
/// The parameter of the curve is √U, drawn as such: its density 2s stands in the weights.
static SPIRALS: LazyLock<Cloud> = LazyLock::new(|| {
    let (box_side, thirds) = (1.0 / 6.0, 1.0 / 3.0);
    let arm = move |sign: f64| {
        move |s: f64| {
            let angle = 3.0 * PI * s;
            let middle = [-angle.cos() * angle + 0.25, angle.sin() * angle + 0.25];
            middle.map(|v| sign * v * thirds)
        }
    };
    Cloud::new(vec![Arc::rooted(arm(1.0)), Arc::rooted(arm(-1.0))], 0.1, box_side)
});

fn sign(rng: &mut Rng) -> f64 {
    if rng.random::<bool>() { 1.0 } else { -1.0 }
}

/// x₁ = U(−2, 2), x₂ = U(0, 1) − 2·{0, 1} + (⌊x₁⌋ mod 2), both doubled.
fn checkerboard(n: usize, rng: &mut Rng) -> Vec<f64> {
    let mut rows = Vec::with_capacity(2 * n);
    for _ in 0..n {
        let x1: f64 = rng.random_range(-2.0..2.0);
        let down = if rng.random::<bool>() { 2.0 } else { 0.0 };
        let x2 = rng.random::<f64>() - down + x1.floor().rem_euclid(2.0);
        rows.extend([2.0 * x1, 2.0 * x2]);
    }
    rows
}

/// Eight squares of side 2: p = 1/32 where the two columns of the board have the same parity.
fn checkerboard_log_prob(x: &[f64]) -> f64 {
    let inside = x.iter().all(|v| (-4.0..4.0).contains(v));
    let dark = (x[0] / 2.0).floor().rem_euclid(2.0) == (x[1] / 2.0).floor().rem_euclid(2.0);
    if inside && dark { -5.0 * LN_2 } else { f64::NEG_INFINITY }
}
