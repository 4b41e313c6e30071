//! The references of `tests/golden`: SciPy's DOP853 at rtol = atol = 1e-13, cross-checked by diffrax (see the README
//! beside them). They hold to 1e-11, so a deviation is ours.

use std::path::{Path, PathBuf};

use cnflow::continuous::{LogDensity, SolverSpec};
use cnflow::io::{self, torch};
use cnflow::model::{FlowSpec, Model};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

/// A net of PyTorch, and how far z, log p(x), the samples and their log p may be off.
///
/// In f64: some fifty steps, each of which errs by 1e-10, amplified by some e¹ on the rest of the way, are 1e-8. In
/// f32: some twenty steps of 1e-6, and their roundings of 6e-8 in numbers up to 5, amplified likewise, are 5e-5.
struct Net {
    name: &'static str,
    activation: Activation,
    /// In f64 at tolerances of 1e-10.
    f64: f64,
    /// In f32 at tolerances of 1e-6.
    f32: f64,
}

const NETS: [Net; 2] = [
    Net { name: "8gaussians", activation: Activation::Tanh, f64: 1e-8, f32: 5e-5 },
    Net { name: "d43", activation: Activation::Softplus, f64: 1e-8, f32: 5e-5 },
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn model(name: &str, activation: Activation, solver: SolverSpec) -> Model {
    let net = torch::read_sequential(&folder(name).join("model.safetensors")).unwrap();
    let [_, ref hidden @ .., dim] = net.sizes[..] else { panic!("a net has layers") };
    let spec = MlpSpec { dim, condition_dim: 0, hidden: hidden.to_vec(), activation, time: TimeInput::Plain };
    let spec = FlowSpec::plain(VelocitySpec::Mlp(spec), solver);
    Model { spec, theta: net.theta(), provenance: Default::default() }
}

fn numbers(name: &str, file: &str) -> Vec<f64> {
    io::read(&folder(name).join(file)).unwrap().data
}

fn worst(found: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    found.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
}

#[test]
fn every_number_is_right_to_the_tolerance() {
    for Net { name, activation, f64, f32 } in NETS {
        for (precision, tolerance, bound) in [(Precision::F64, 1e-10, f64), (Precision::F32, 1e-6, f32)] {
            for log_density in [LogDensity::Quadrature, LogDensity::Coupled] {
                let solver = SolverSpec { rtol: tolerance, atol: tolerance, log_density, ..SolverSpec::default() };
                let model = model(name, activation, solver);
                let flow = model.bind(precision).unwrap();
                let back = flow.encode(&numbers(name, "x.npy"), &[]).unwrap();
                let there = flow.decode(&numbers(name, "noise.npy"), &[]).unwrap();
                let found = [
                    (&back.y, "z.npy"),
                    (&back.log_prob, "logp.npy"),
                    (&there.y, "samples.npy"),
                    (&there.log_prob, "samples_logp.npy"),
                ];
                for (found, file) in found {
                    let error = worst(found, &numbers(name, file));
                    println!("{name} {precision:?} {log_density:?} {file}: {error:.1e}");
                    assert!(
                        error <= bound,
                        "{name} {precision:?} {log_density:?} {file}: {error:.1e} above {bound:.0e}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_quadrature_is_as_good_as_the_coupled_state_for_fewer_traces() {
    for Net { name, activation, .. } in NETS {
        let reference = numbers(name, "logp.npy");
        let points = numbers(name, "x.npy");
        let score = |solver: SolverSpec, precision: Precision| {
            let model = model(name, activation, solver);
            let scored = model.bind(precision).unwrap().log_prob(&points, &[]).unwrap();
            let (log_prob, cost) = (scored.log_prob, scored.cost);
            assert_eq!(cost.unsettled, 0, "{name}");
            (worst(&log_prob, &reference), cost)
        };
        for (method, budget) in [("bosh3", 1.0), ("dopri5", 0.55), ("tsit5", 0.55), ("vern7", 0.6)] {
            for tolerance in [1e-5, 1e-7] {
                let solver =
                    SolverSpec { method: method.into(), rtol: tolerance, atol: tolerance, ..SolverSpec::default() };
                let (error, cost) = score(solver.clone(), Precision::F64);
                let coupled = SolverSpec { log_density: LogDensity::Coupled, ..solver.clone() };
                let (state_error, state_cost) = score(coupled, Precision::F64);
                let text = format!(
                    "{name} {method} {tolerance:.0e}: worst {error:.1e} with {:.1} traces and {:.1} NFE; \
                     as a state {state_error:.1e} with {:.1} of both",
                    cost.traces_mean(),
                    cost.nfe_mean(),
                    state_cost.nfe_mean()
                );
                println!("{text}");
                // Both errors are mostly the path's. The worst of 500 scatters: measured ratios are 0.2 to 2.4.
                assert!(error < 4.0 * state_error, "{text}");
                assert!(cost.traces_mean() < budget * state_cost.traces_mean(), "{text}");
                if tolerance == 1e-5 {
                    // Round-off must not be taken for truncation and refined. Steps are some 15 % shorter in f32, where
                    // noise in the error of a first, short step keeps the next from growing as much.
                    let (_, single) = score(solver, Precision::F32);
                    assert!(
                        single.traces_mean() < 1.5 * cost.traces_mean(),
                        "{text}; f32: {:.1}",
                        single.traces_mean()
                    );
                }
            }
        }
    }
}
