//! The recipe's net for digits of 28 × 28 pixels, f32, one thread, beside the machine's own peak.
//!
//! CPU time of one block of 16 images, medians of many runs: in µs an image, GFLOP/s, and percent of a loop of nothing
//! but fused multiply-adds. An operation is half of a multiply-add of a convolution or a dense layer, borders counted
//! as if they were not; a pull-back counts twice its forward pass.

// As for the whole crate's benches.
#[path = "../../benches/measure/mod.rs"]
mod measure;

use cnflow_kernels::{Activation, ImageNet, ImageNetSpec, ImageOp, ImageShape, ImageWorkspace, Keep};
use measure::peak;

const LANES: usize = 16;

/// As [`measure::median`], over runs of 100 ms.
fn median(f: impl FnMut()) -> f64 {
    measure::median(1e-1, f)
}

/// Sets the cotangent of y, which a pull-back replaces.
fn fill_bar(ws: &mut ImageWorkspace<f32>) {
    let bar = ws.output_bar();
    (0..bar.rows()).for_each(|row| bar.at_mut(0, row).fill(1e-3));
}

fn filled(spec: &ImageNetSpec) -> (ImageNet<f32>, ImageWorkspace<f32>, Vec<f32>) {
    let theta: Vec<f32> = (0..spec.n_params()).map(|i| 0.1 * (i as f32 * 0.7).sin()).collect();
    let net = ImageNet::new(spec, &theta).expect("the spec is valid and θ its own");
    let mut ws = net.workspace();
    for tile in [ImageWorkspace::input, ImageWorkspace::direction] {
        let tile = tile(&mut ws);
        (0..tile.rows()).for_each(|row| *tile.at_mut(0, row) = std::array::from_fn(|l| ((row + l) as f32).sin()));
    }
    (net, ws, theta)
}

fn main() {
    let peak = peak();
    println!("fused multiply-adds: {peak:.1} GFLOP/s");
    let shape = ImageShape { height: 28, width: 28, channels: 1 };
    let spec = ImageNetSpec::recipe(shape, 30, ImageNetSpec::CHANNELS);
    let (net, mut ws, mut g) = filled(&spec);
    let flops = 2.0 * net.multiply_adds() as f64;
    println!("recipe, 28 × 28: {} parameters, {:.2} MFLOP forward", net.n_params(), flops * 1e-6);
    let report = |what: &str, times: f64, seconds: f64| {
        let (image, speed) = (seconds / LANES as f64, times * flops * LANES as f64 / seconds * 1e-9);
        println!("  {what:<34} {:8.1} µs an image {speed:7.1} GFLOP/s {:5.1} %", image * 1e6, 100.0 * speed / peak);
    };
    report("value", 1.0, median(|| net.run(&mut ws, Keep::Value)));
    report("value, σ′ kept", 1.0, median(|| net.run(&mut ws, Keep::First)));
    report("tangent", 1.0, median(|| net.advance(&mut ws)));
    let mut back = |ws: &mut ImageWorkspace<f32>, to_x: bool| {
        fill_bar(ws);
        net.run_back(ws, false, to_x, &mut g);
    };
    report(
        "value and gradient",
        3.0,
        median(|| {
            net.run(&mut ws, Keep::First);
            back(&mut ws, false);
        }),
    );
    report(
        "value, gradient and pull-back",
        3.0,
        median(|| {
            net.run(&mut ws, Keep::First);
            back(&mut ws, true);
        }),
    );
    report(
        "value, tangent, pull-back of both",
        6.0,
        median(|| {
            net.run(&mut ws, Keep::Second);
            net.advance(&mut ws);
            fill_bar(&mut ws);
            net.retreat(&mut ws, &mut g);
            fill_bar(&mut ws);
            net.run_back(&mut ws, true, true, &mut g);
        }),
    );
    println!("one operation alone, forward / with its gradient and pull-back");
    let conv = |kernel, channels| ImageOp::Conv { kernel, channels, activation: None };
    for (what, shape, op) in [
        ("3 × 3, 1 → 16, 28 × 28", shape, conv(3, 16)),
        ("3 × 3, 16 → 16, 28 × 28", ImageShape { channels: 16, ..shape }, conv(3, 16)),
        ("1 × 1, 16 → 1, 28 × 28", ImageShape { channels: 16, ..shape }, conv(1, 1)),
        ("1 × 1, 256 → 32, 7 × 7", ImageShape { height: 7, width: 7, channels: 256 }, conv(1, 32)),
        ("1 × 1, 32 → 256, 7 × 7", ImageShape { height: 7, width: 7, channels: 32 }, conv(1, 256)),
        ("3 × 3, 32 → 32, 7 × 7", ImageShape { height: 7, width: 7, channels: 32 }, conv(3, 32)),
    ] {
        let (net, mut ws, mut g) = filled(&ImageNetSpec { shape, aux: 0, embedding: None, ops: vec![op] });
        let flops = 2.0 * (net.multiply_adds() * LANES) as f64;
        let forward = median(|| net.run(&mut ws, Keep::Value));
        let both = median(|| {
            net.run(&mut ws, Keep::First);
            net.run_back(&mut ws, false, true, &mut g);
        });
        let percent = |times: f64, seconds: f64| 100.0 * times * flops / seconds * 1e-9 / peak;
        println!("  {what:<34} {:5.1} % {:5.1} %", percent(1.0, forward), percent(3.0, both));
    }
    for (what, shape) in
        [("stem", ImageShape { channels: 16, ..shape }), ("trunk", ImageShape { height: 7, width: 7, channels: 32 })]
    {
        let op = ImageOp::Activate { activation: Activation::Silu };
        let (net, mut ws, _) = filled(&ImageNetSpec { shape, aux: 0, embedding: None, ops: vec![op] });
        let (value, first) = (median(|| net.run(&mut ws, Keep::Value)), median(|| net.run(&mut ws, Keep::First)));
        let each = |seconds: f64| seconds * 1e9 / (shape.len() * LANES / 8) as f64;
        println!(
            "  silu on the plane of the {what:<10} {:5.2} ns, with σ′ {:5.2} ns for 8 numbers",
            each(value),
            each(first)
        );
    }
}
