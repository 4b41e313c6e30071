//! The laws of a net within a Gaussian's velocity, over paths, deviations and nets.

use crate::common::velocity as laws;
use crate::common::velocity::{Points, around, both};
use crate::velocity_images::small_images;
use cnflow::continuous::SolverSpec;
use cnflow::model::{FlowSpec, Model};
use cnflow::rng;
use cnflow::transform::StandardNormal;
use cnflow::velocity::layers::{Layer, LayerNetSpec};
use cnflow::velocity::{Activation, GaussianPath, MlpSpec, Path, Precision, TimeInput, Trace, VelocitySpec};

fn mlp(dim: usize, condition_dim: usize, hidden: &[usize]) -> VelocitySpec {
    let (activation, time) = (Activation::Silu, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time })
}

/// Every kind of trace that a net has: constant, in closed form, by tangents, by candle, of images.
fn every_spec() -> Vec<VelocitySpec> {
    let squash = |inputs, outputs| Layer::ConcatSquash { inputs, outputs };
    let layers = VelocitySpec::Layers(LayerNetSpec::stacked(squash, 2, 0, &[5, 4], Activation::Softplus));
    let mut nets = vec![mlp(2, 0, &[]), mlp(2, 2, &[5]), mlp(3, 0, &[5, 4]), mlp(2, 1, &[5, 4, 3]), layers];
    nets.extend(small_images().into_iter().map(VelocitySpec::Image));
    let paths = Path::ALL.into_iter().flat_map(|path| [0.4, 1.0, 2.0].map(|deviation| (path, deviation)));
    let of = |(path, deviation)| nets.clone().into_iter().map(move |net| around(path, deviation, net));
    paths.flat_map(of).collect()
}

fn theta(spec: &VelocitySpec) -> Vec<f64> {
    spec.init(&mut rng::stream(7, 0)).into_iter().map(|w| 2.0 * f64::from(w)).collect()
}

#[test]
fn values_are_a_x_and_b_times_the_net_at_c_x() {
    for spec in every_spec() {
        let (theta, gaussian) = (theta(&spec), spec.gaussian().unwrap());
        let (whole, net) = (spec.bind_here(&theta).unwrap(), spec.net().bind_here(&theta).unwrap());
        let p = Points::new(&*whole, 9);
        let d = p.dim;
        let scales: Vec<_> = p.t.iter().map(|t| gaussian.at(*t)).collect();
        let mut scaled = Points::new(&*whole, 9);
        scaled.x.iter_mut().enumerate().for_each(|(k, x)| *x *= scales[k / d].c);
        let samples: Vec<usize> = (0..9).collect();
        let (v, div) = both(&*whole, &p, Trace::Exact, &samples);
        let (n, of_net) = both(&*net, &scaled, Trace::Exact, &samples);
        for (k, v) in v.into_iter().enumerate() {
            let s = scales[k / d];
            let expected = s.a * p.x[k] + s.b * n[k];
            assert!((v - expected).abs() < 1e-13, "{spec:?}: {v} or {expected}");
        }
        for (l, div) in div.into_iter().enumerate() {
            let s = scales[l];
            let expected = s.a * d as f64 + s.b * s.c * of_net[l];
            assert!((div - expected).abs() < 1e-13, "{spec:?}: {div} or {expected}");
        }
    }
}

#[test]
fn tangent_and_divergence_are_derivatives_of_the_value() {
    for spec in every_spec() {
        laws::check_derivatives(&format!("{spec:?}"), &*spec.bind_here(&theta(&spec)).unwrap());
    }
}

#[test]
fn the_joint_pull_back_is_the_gradient_of_value_and_divergence() {
    for spec in every_spec() {
        let with = |theta: &[f64]| spec.bind_here(theta).unwrap();
        laws::check_pull_back(&format!("{spec:?}"), &theta(&spec), &with);
    }
}

#[test]
fn n_samples_are_n_times_one() {
    for spec in every_spec().into_iter().take(8) {
        let narrow: Vec<f32> = theta(&spec).into_iter().map(|w| w as f32).collect();
        laws::check_lanes(&format!("{spec:?}"), &*spec.bind_here(&narrow).unwrap());
        laws::check_lanes(&format!("{spec:?}"), &*spec.bind_here(&theta(&spec)).unwrap());
    }
}

/// The regression on u of a linear function of x_t: its slope, and the mean square of what is left.
#[test]
fn the_coefficients_are_those_of_the_regression_on_the_paths_velocity() {
    let n = 200_000;
    let draw = |stream| StandardNormal::new(1).draw(n, &mut rng::stream(3, stream));
    let (x, z) = (draw(1), draw(2));
    for (path, deviation) in Path::ALL.into_iter().flat_map(|path| [0.4, 1.0, 2.0].map(|s| (path, s))) {
        for t in [0.0, 0.1, 0.5, 0.8, 1.0] {
            let scales = GaussianPath { path, deviation }.at(t);
            let (mut xx, mut xu, mut uu) = (0.0, 0.0, 0.0);
            for (x, z) in x.iter().zip(&z) {
                let (x_t, u) = path.through(deviation * x, *z, t);
                xx += x_t * x_t / n as f64;
                xu += x_t * u / n as f64;
                uu += u * u / n as f64;
            }
            let name = format!("{} {deviation} at {t}", path.name());
            // Means of squares of normals to five standard errors, √(2/n) each, relative to numbers of order s + 1/s.
            let within = 0.05 * (deviation + 1.0 / deviation);
            assert!((xu / xx - scales.a).abs() < within, "{name}: a = {} or {}", scales.a, xu / xx);
            assert!((xx * scales.c * scales.c - 1.0).abs() < 0.02, "{name}: c = {}", scales.c);
            let rest = uu - xu * xu / xx;
            assert!((rest / (scales.b * scales.b) - 1.0).abs() < 0.02, "{name}: b = {} or {}", scales.b, rest.sqrt());
        }
    }
}

#[test]
fn a_net_that_returns_zero_is_the_flow_of_the_gaussian() {
    for (path, deviation) in Path::ALL.into_iter().flat_map(|path| [0.4, 1.0, 2.0].map(|s| (path, s))) {
        let velocity = around(path, deviation, mlp(2, 0, &[8, 8]));
        let mut theta = velocity.init(&mut rng::stream(7, 0));
        velocity.rest(&mut theta);
        let solver = SolverSpec { rtol: 1e-9, atol: 1e-9, method: "dop853".into(), ..SolverSpec::default() };
        let flow = FlowSpec::plain(velocity, solver).bind(&theta, Precision::F64).unwrap();
        let z = StandardNormal::new(2).draw(30, &mut rng::stream(8, 0));
        let x: Vec<f64> = z.iter().map(|z| deviation * z).collect();
        let scored = flow.log_prob(&x, &[]).unwrap();
        for (row, found) in z.chunks_exact(2).zip(scored.log_prob) {
            let square = row.iter().map(|z| z * z).sum::<f64>();
            let expected = -0.5 * square - std::f64::consts::TAU.ln() - 2.0 * deviation.ln();
            // Two solves to 1e-9, with the quadrature's tolerance of a hundred times that.
            assert!((found - expected).abs() < 1e-6, "{} {deviation}: {found} or {expected}", path.name());
        }
    }
}

#[test]
fn a_model_file_holds_it_and_older_programs_refuse_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for velocity in every_spec() {
        let theta: Vec<f32> = velocity.init(&mut rng::stream(7, 0));
        let spec = FlowSpec::plain(velocity, SolverSpec::default());
        let model = Model { spec, theta, provenance: serde_json::Map::new() };
        model.save(&path).unwrap();
        let read = Model::load(&path).unwrap();
        assert_eq!((&read.spec, &read.theta), (&model.spec, &model.theta));
        let card = &cnflow::io::safetensors::ModelFile::read(&path).unwrap().metadata["cnf"];
        assert_eq!(serde_json::from_str::<serde_json::Value>(card).unwrap()["format"], 4);
    }
}

#[test]
fn what_is_no_gaussian_is_refused() {
    for deviation in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-200, 1e200] {
        assert!(around(Path::Straight, deviation, mlp(2, 0, &[4])).validate().is_err(), "{deviation}");
    }
    let nested = around(Path::Straight, 1.0, around(Path::Straight, 1.0, mlp(2, 0, &[4])));
    assert!(nested.validate().unwrap_err().to_string().contains("within another"));
    assert!(around(Path::Vp, 1.0, mlp(2, 0, &[4])).validate().is_ok());
}
