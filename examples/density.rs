//! The library in thirty lines: from PyTorch weights to samples, log-densities and latents.
//!
//! `cargo run --release --example density`

use std::path::Path;

use cnflow::continuous::SolverSpec;
use cnflow::io::torch;
use cnflow::model::{FlowSpec, Model};
use cnflow::rng::stream;
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // An MLP of (x, t) with three hidden layers of 64, saved by PyTorch.
    let net = torch::read_sequential(Path::new("tests/golden/8gaussians/model.safetensors"))?;
    let velocity = VelocitySpec::Mlp(MlpSpec {
        dim: 2,
        condition_dim: 0,
        hidden: vec![64, 64, 64],
        activation: Activation::Tanh,
        time: TimeInput::Plain,
    });
    let solver = SolverSpec { method: "tsit5".into(), rtol: 1e-6, atol: 1e-6, ..SolverSpec::default() };
    let spec = FlowSpec::plain(velocity, solver);
    let model = Model { spec, theta: net.theta(), provenance: serde_json::Map::new() };
    let flow = model.bind(Precision::F64)?;

    let x = flow.sample(1000, &[], &mut stream(42, 0))?.y;
    let solved = flow.encode(&x, &[])?;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / 1000.0;
    println!("mean log p   {:.4} nats", mean(&solved.log_prob));
    let squares: Vec<f64> = solved.y.iter().map(|z| z * z).collect();
    println!("mean |z|²    {:.4} (2 for a standard normal)", mean(&squares));
    let cost = &solved.cost;
    println!("evaluations  {:.1} of the velocity, {:.1} of its trace", cost.nfe_mean(), cost.traces_mean());

    // The distribution half-way from the Gaussian to the data.
    let half_way = flow.until(0.5)?.log_prob(&solved.y, &[])?;
    println!("mean log p at t = 0.5 of the latents {:.4}", mean(&half_way.log_prob));
    Ok(())
}
