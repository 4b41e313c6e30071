//! Discrete flows of every kind, for laws over all of them, and the points to try them on.

use cnflow::discrete::{DiscreteSpec, Kind, LayerSpec, Mask, Plan};
use cnflow::rng::stream;
use cnflow::velocity::Activation;
use rand::Rng as _;

/// Weights large enough that every layer bends.
pub fn bent(spec: &DiscreteSpec, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 4);
    let fresh = spec.init(&mut rng);
    fresh.iter().map(|w| 1.5 * f64::from(*w) + rng.random_range(-0.25..0.25)).collect()
}

/// Every kind of discrete flow, with every kind of layer and mask.
pub fn every_discrete() -> Vec<(String, DiscreteSpec)> {
    let mut all = Vec::new();
    // Smooth, for laws that compare with central differences; and the relu of one number, which computes by pieces and
    // whose corners lie too sparse to meet.
    let (smooth, relu) = (Activation::Silu, Activation::Relu);
    for kind in Kind::ALL {
        for (d, c, mask, linear, activation, hidden) in [
            (1, 0, Mask::Halves, false, smooth, vec![12, 12]),
            (2, 0, Mask::Random, false, smooth, vec![12, 12]),
            (3, 2, Mask::Parity, true, smooth, vec![12, 12]),
            (5, 0, Mask::Random, true, smooth, vec![12, 12]),
            (1, 0, Mask::Random, false, relu, vec![12, 12]),
            (1, 1, Mask::Random, false, relu, vec![12, 12]),
            (2, 0, Mask::Halves, true, relu, vec![12, 9]),
            (2, 0, Mask::Random, false, relu, vec![12, 12, 12]),
        ] {
            let (depth, linear) = (4, linear || kind == Kind::Glow);
            let name = format!("{} d={d} c={c} {} linear={linear} {activation}", kind.name(), mask.name());
            let plan = Plan { condition_dim: c, depth, mask, linear, hidden, activation, ..Plan::usual(kind, d) };
            let spec = plan.spec(&mut stream(d as u64, 0)).unwrap();
            all.push((name, spec));
        }
    }
    // Couplings whose nets differ in nothing but what computes them.
    let plan = Plan { depth: 4, hidden: vec![8, 8], ..Plan::usual(Kind::RealNvp, 2) };
    let mut mixed = plan.spec(&mut stream(2, 0)).unwrap();
    for (i, layer) in mixed.layers.iter_mut().enumerate() {
        if let LayerSpec::Coupling { activation, .. } = layer {
            *activation = if i % 2 == 0 { relu } else { smooth };
        }
    }
    all.push(("realnvp d=2 of relu and silu".into(), mixed));
    all
}

/// Uniform in ±1.5, `[n, d]`.
pub fn draws(n: usize, d: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 1);
    (0..n * d).map(|_| rng.random_range(-1.5..1.5)).collect()
}
