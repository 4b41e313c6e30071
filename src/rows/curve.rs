//! A plane curve blurred by noise: Gaussian, after a uniform box if wanted.
//!
//! p(x) = ∫ w(s) K(x − c(s)) ds, with K the Gaussian, or the Gaussian convolved with a square. The
//! integral is a Gauss-Legendre rule of 8 points on panels no longer than 2σ. There the rule errs by less
//! than 1e-11 of the Gaussian's height: (2σ)¹⁷ (8!)⁴ / (17 (16!)³) · max|K⁽¹⁶⁾| ≈ 1e-12, from the bound on
//! Hermite functions. The square is two such rules, one a coordinate (its side is below 2σ too); the kernel
//! is their product, so that nothing needs the error function, whose tails would round to 0.

use rand::Rng as _;
use rand_distr::StandardNormal;
use std::f64::consts::TAU;

use crate::Rng;

/// Gauss-Legendre on [−1, 1], 8 points (Abramowitz & Stegun, table 25.4): the positive half.
const GAUSS: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

/// Terms below e^(−CUT) of the largest are left out; with a few hundred of them that is below 1e-13.
const CUT: f64 = 36.0;

/// A curve over its parameter s ∈ [0, 1].
pub(super) struct Arc {
    at: Box<dyn Fn(f64) -> [f64; 2] + Send + Sync>,
    /// Whether s is drawn as √U, with density 2s, rather than uniformly.
    rooted: bool,
}

impl Arc {
    /// A curve whose parameter is uniform.
    pub fn new(at: impl Fn(f64) -> [f64; 2] + Send + Sync + 'static) -> Self {
        Self { at: Box::new(at), rooted: false }
    }

    /// A curve whose parameter is the root of a uniform number.
    pub fn rooted(at: impl Fn(f64) -> [f64; 2] + Send + Sync + 'static) -> Self {
        Self { at: Box::new(at), rooted: true }
    }
}

/// A short piece of a curve: 8 weighted nodes and a disc that holds them.
struct Panel {
    middle: [f64; 2],
    radius: f64,
    nodes: [([f64; 2], f64); 8],
}

/// Curves of equal weight under one noise.
pub(super) struct Cloud {
    arcs: Vec<Arc>,
    sigma: f64,
    side: f64,
    panels: Vec<Panel>,
    /// The rule over one side of the square, about its middle; one point without a square.
    offsets: Vec<(f64, f64)>,
    log_norm: f64,
}

impl Cloud {
    /// Noise: uniform on a square of the given side (0 for none) about the curve, then N(0, sigma²).
    pub fn new(arcs: Vec<Arc>, sigma: f64, side: f64) -> Self {
        let panels = arcs.iter().flat_map(|arc| panels(arc, sigma)).collect();
        let offsets = match side {
            0.0 => vec![(0.0, 1.0)],
            _ => rule().map(|(u, w)| (0.5 * side * u, 0.5 * w)).collect(),
        };
        let log_norm = -(arcs.len() as f64 * TAU * sigma * sigma).ln();
        Self { arcs, sigma, side, panels, offsets, log_norm }
    }

    /// Draws n rows, `[n, 2]`.
    pub fn sample(&self, n: usize, rng: &mut Rng) -> Vec<f64> {
        let mut rows = Vec::with_capacity(2 * n);
        for _ in 0..n {
            let arc = &self.arcs[rng.random_range(0..self.arcs.len())];
            let u: f64 = rng.random();
            for v in (arc.at)(if arc.rooted { u.sqrt() } else { u }) {
                let shift = if self.side > 0.0 { self.side * (rng.random::<f64>() - 0.5) } else { 0.0 };
                rows.push(v + shift + self.sigma * rng.sample::<f64, _>(StandardNormal));
            }
        }
        rows
    }

    /// log p in nats at one point.
    pub fn log_prob(&self, x: &[f64]) -> f64 {
        let reach = |p: &Panel| p.radius + self.side * std::f64::consts::FRAC_1_SQRT_2;
        let distance = |p: &Panel| (x[0] - p.middle[0]).hypot(x[1] - p.middle[1]);
        let nearest = self.panels.iter().map(|p| distance(p) + reach(p)).fold(f64::INFINITY, f64::min);
        let horizon = (nearest * nearest + 2.0 * CUT * self.sigma * self.sigma).sqrt();
        let mut sum = LogSum::default();
        for panel in self.panels.iter().filter(|p| distance(p) - reach(p) <= horizon) {
            for (centre, weight) in &panel.nodes {
                let (a, u) = self.kernel(x[0] - centre[0]);
                let (b, v) = self.kernel(x[1] - centre[1]);
                sum.add(a + b, weight * u * v);
            }
        }
        self.log_norm + sum.ln()
    }

    /// One coordinate's noise at distance `s`: (a, u) standing for u·eᵃ, without the normalisation.
    fn kernel(&self, s: f64) -> (f64, f64) {
        let scale = -0.5 / (self.sigma * self.sigma);
        if let [_] = self.offsets[..] {
            return (scale * s * s, 1.0);
        }
        let top = self.offsets.iter().map(|(o, _)| scale * (s - o) * (s - o)).fold(f64::NEG_INFINITY, f64::max);
        (top, self.offsets.iter().map(|(o, w)| w * (scale * (s - o) * (s - o) - top).exp()).sum())
    }
}

/// Σ wᵢ e^(aᵢ), kept relative to the largest aᵢ so far.
struct LogSum {
    top: f64,
    sum: f64,
}

impl Default for LogSum {
    fn default() -> Self {
        Self { top: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSum {
    fn add(&mut self, a: f64, w: f64) {
        if a > self.top {
            self.sum = self.sum * (self.top - a).exp() + w;
            self.top = a;
        } else {
            self.sum += w * (a - self.top).exp();
        }
    }

    fn ln(&self) -> f64 {
        self.top + self.sum.ln()
    }
}

/// All 8 points of the rule, with their weights.
fn rule() -> impl Iterator<Item = (f64, f64)> {
    GAUSS.into_iter().flat_map(|(u, w)| [(-u, w), (u, w)])
}

/// Halves the parameter's range until every panel is shorter than 2σ.
fn panels(arc: &Arc, sigma: f64) -> Vec<Panel> {
    let mut waiting = vec![(0.0, 1.0)];
    let mut done = Vec::new();
    while let Some((from, to)) = waiting.pop() {
        let corners: Vec<[f64; 2]> = (0..=8).map(|i| (arc.at)(from + (to - from) * f64::from(i) / 8.0)).collect();
        let length: f64 = corners.windows(2).map(|c| (c[1][0] - c[0][0]).hypot(c[1][1] - c[0][1])).sum();
        let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
        if length > 2.0 * sigma {
            waiting.extend([(from, middle), (middle, to)]);
            continue;
        }
        let mut nodes = [([0.0; 2], 0.0); 8];
        for (node, (u, w)) in nodes.iter_mut().zip(rule()) {
            let s = middle + half * u;
            *node = ((arc.at)(s), half * w * if arc.rooted { 2.0 * s } else { 1.0 });
        }
        let middle = (arc.at)(middle);
        let radius = nodes.iter().map(|(c, _)| (c[0] - middle[0]).hypot(c[1] - middle[1])).fold(0.0, f64::max);
        done.push(Panel { middle, radius, nodes });
    }
    done
}
