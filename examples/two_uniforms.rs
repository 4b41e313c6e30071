//! One Gaussian and two flows on data that are uniform on [−1, 1], and on [−2, −1] ∪ [1, 2].
//!
//! A Gaussian with a fixed deviation has only its mean to fit. It fits the first set acceptably. On the second set its
//! peak lies where there are no data. `cargo run --release --example two_uniforms` draws `runs/two-uniforms.png`.

use std::path::Path;

use cnflow::plot::{Options, Overlay, overlay};
use cnflow::rng::stream;
use cnflow::rows::{DataOptions, resolve};
use cnflow::train::{Job, fit, score};
use cnflow::velocity::Precision;

/// Where densities are drawn.
const RANGE: (f64, f64) = (-3.0, 3.0);
const CELLS: usize = 1200;

fn main() -> cnflow::Result<()> {
    // A test runs this with fewer steps.
    let steps = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(4000);
    let at = |i: usize| RANGE.0 + (RANGE.1 - RANGE.0) * (i as f64 + 0.5) / CELLS as f64;
    let points: Vec<f64> = (0..CELLS).map(at).collect();
    let models = ["gaussian-fixed", "cnf", "spline"];
    let mut drawn = Vec::new();
    for name in ["uniform", "two-uniforms"] {
        let data = resolve(name, &DataOptions::default(), 0)?;
        let mut densities = Vec::new();
        for model in models {
            // 1/√3 is the deviation of the uniform distribution on [−1, 1].
            let family = model.parse()?;
            let job = Job::default().with(|job| {
                job.data.source = name.into();
                job.model.family = family;
                job.model.sigma = 1.0 / 3f64.sqrt();
                job.optimiser.steps = Some(steps);
            });
            let job = job.applicable();
            let flow = fit(&job, &data, &mut ())?.model.bind(Precision::F32)?;
            let found = score(&flow, &data.test, data.toy())?;
            println!("{name:<13} {model:<15} NLL {:.3} nats", found.nll);
            let log_p = flow.log_prob(&points, &[])?.log_prob;
            densities.push(log_p.iter().map(|log| log.exp()).collect::<Vec<f64>>());
        }
        let truth: Vec<f64> =
            data.toy().map_or(Vec::new(), |toy| points.iter().map(|x| (toy.log_prob)(&[*x]).exp()).collect());
        drawn.push((name, data.draw(20_000, &mut stream(1, 0)), truth, densities));
    }
    let pairs: Vec<Vec<(&str, &[f64])>> = drawn
        .iter()
        .map(|(_, _, _, all)| models.iter().copied().zip(all.iter().map(Vec::as_slice)).collect())
        .collect();
    let overlays: Vec<Overlay<'_>> = drawn
        .iter()
        .zip(&pairs)
        .map(|((title, data, truth, _), models)| Overlay { title, data, range: RANGE, truth: Some(truth), models })
        .collect();
    let path = Path::new("runs/two-uniforms.png");
    std::fs::create_dir_all("runs").map_err(|e| cnflow::Error::write(path, e.kind()))?;
    overlay(path, &overlays, &Options::default())?;
    println!("{}", path.display());
    Ok(())
}
