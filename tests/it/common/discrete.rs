//! Discrete flows of every kind, for laws over all of them, and the points to try them on.

use std::f64::consts::PI;

use cnflow::discrete::{DiscreteSpec, ImagePlan, Kind, LayerSpec, Mask, Plan};
use cnflow::rng::stream;
use cnflow::transform::HeavyTails;
use cnflow::velocity::{Activation, ImageShape};
use rand::Rng as _;

/// Weights large enough that every layer bends.
pub fn bent(spec: &DiscreteSpec, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 4);
    let fresh = spec.init(&mut rng);
    // A convolution sums over some fifty numbers where a dense layer sums over twelve.
    let (part, most) = if spec.image.is_some() { (1.0, 0.1) } else { (1.5, 0.25) };
    fresh.iter().map(|w| part * f64::from(*w) + rng.random_range(-most..most)).collect()
}

/// The shape of images.
pub fn shape(height: usize, width: usize, channels: usize) -> ImageShape {
    ImageShape { height, width, channels }
}

/// Every kind of discrete flow of images, small ones: of one pixel, of odd sides, of one, two and three levels, in grey
/// and in colour, with a condition and without.
pub fn every_discrete_of_images() -> Vec<(String, DiscreteSpec)> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for (image, c, linear, levels) in [
            (shape(1, 1, 1), 1, false, 1),
            (shape(1, 1, 3), 0, false, 1),
            (shape(4, 4, 1), 0, false, 2),
            (shape(2, 3, 3), 2, true, 1),
            (shape(5, 7, 1), 1, false, 1),
            (shape(6, 6, 3), 2, false, 1),
            (shape(8, 8, 1), 0, true, 3),
        ] {
            let linear = linear || kind == Kind::Glow;
            let name = format!("{} of {image:?} c={c} linear={linear}, {levels} levels", kind.name());
            // Smooth, as above.
            let usual = Plan { activation: Activation::Silu, ..Plan::of_images(kind, image) };
            let (image, hidden) = (Some(ImagePlan { shape: image, levels }), vec![6, 7]);
            let plan = Plan { condition_dim: c, depth: 2, linear, hidden, image, bins: 3, ..usual };
            all.push((name, plan.spec(&mut stream(3, 0)).unwrap()));
        }
    }
    // Nets without hidden layers: a convolution, modulated by the condition.
    let usual = Plan { activation: Activation::Silu, ..Plan::of_images(Kind::Glow, shape(4, 2, 1)) };
    let plan = Plan { condition_dim: 1, depth: 1, hidden: vec![], ..usual };
    all.push(("glow of single convolutions".into(), plan.spec(&mut stream(3, 0)).unwrap()));
    all
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
    // Next to the data two maps of heavy tails, those of Cauchy's law.
    let plan =
        Plan { activation: smooth, depth: 2, hidden: vec![8], condition_dim: 1, ..Plan::usual(Kind::RealNvp, 3) };
    let mut heavy = plan.spec(&mut stream(2, 0)).unwrap();
    let values: Vec<f64> = (0..400).map(|i| (PI * ((f64::from(i) + 0.5) / 400.0 - 0.5)).tan()).collect();
    let map = HeavyTails::fit(&values).unwrap();
    heavy.layers.push(LayerSpec::Tails { columns: vec![Some(map.clone()), None, Some(map)] });
    all.push(("realnvp d=3 c=1 behind heavy tails".into(), heavy));
    all.extend(every_discrete_of_images());
    all
}

/// Uniform in ±1.5, `[n, d]`.
pub fn draws(n: usize, d: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, 1);
    (0..n * d).map(|_| rng.random_range(-1.5..1.5)).collect()
}
