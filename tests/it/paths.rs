//! Laws of places on the way: one solve at many times says what a solve to each of them says.
#![cfg(feature = "cli")]

use crate::common::command;
use cnflow::continuous::{End, SolverSpec};
use cnflow::model::{FlowSpec, Model, Moments};
use cnflow::transform::StandardNormal;
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};
use cnflow::{Error, rng};

fn model(dim: usize, condition_dim: usize, method: &str, fixed_steps: Option<usize>, tolerance: f64) -> Model {
    let time = TimeInput::Plain;
    let net = MlpSpec { dim, condition_dim, hidden: vec![24, 24], activation: Activation::Tanh, time };
    let velocity = VelocitySpec::Mlp(net);
    let theta = velocity.init(&mut rng::stream(11, dim as u64)).iter().map(|w| 2.0 * w).collect();
    let moments = Moments { mean: vec![5.0; dim], std: (0..dim).map(|j| 0.5 + j as f64).collect() };
    let solver =
        SolverSpec { method: method.into(), rtol: tolerance, atol: tolerance, fixed_steps, ..SolverSpec::default() };
    let spec = FlowSpec { standardise: Some(moments), ..FlowSpec::plain(velocity, solver) };
    Model { spec, theta, provenance: serde_json::Map::new() }
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
}

/// The flow's own map from latents to the distribution at time t, in the data's units.
fn transported(model: &Model, z: &[f64], condition: &[f64], t: f64) -> Vec<f64> {
    model.bind(Precision::F64).unwrap().until(t).unwrap().points(z, condition).unwrap().y
}

#[test]
fn one_solve_at_many_times_says_what_a_solve_to_each_says() {
    let times = [0.0, 0.1, 0.37, 0.5, 0.93, 1.0];
    // The dense output of dopri5, tsit5 and bdf is of order 4, 4 and 2 between steps that are good to 1e-8.
    let cases = [
        ("dopri5", None, 1e-5),
        ("tsit5", None, 1e-5),
        ("vern7", None, 1e-5),
        ("rk4", Some(64), 1e-5),
        ("bdf", None, 1e-4),
    ];
    for (method, fixed_steps, tolerance) in cases {
        for (dim, condition_dim) in [(1, 0), (2, 1), (5, 0)] {
            let model = model(dim, condition_dim, method, fixed_steps, 1e-8);
            let n = 37;
            let z = StandardNormal::new(dim).draw(n, &mut rng::stream(1, 2));
            let condition: Vec<f64> = (0..n * condition_dim).map(|i| i as f64 / 40.0).collect();
            let bound = model.bind(Precision::F64).unwrap();
            let paths = bound.stages(&z, End::Latent, &condition, &times).unwrap();
            assert_eq!((paths.points.len(), paths.cost.nfe.len()), (times.len() * n * dim, n));
            for (k, t) in times.iter().enumerate() {
                let found = &paths.points[k * n * dim..(k + 1) * n * dim];
                let error = worst(found, &transported(&model, &z, &condition, *t));
                assert!(error < tolerance, "{method}, {dim} columns, t = {t}: {error:.1e}");
            }
            // From where they arrived they go back the same way.
            let arrived = &paths.points[(times.len() - 1) * n * dim..];
            let back = bound.stages(arrived, End::Data, &condition, &times).unwrap();
            assert!(worst(&back.points, &paths.points) < tolerance, "{method}, {dim} columns, backwards");
            // Where they were given they are, to the round-off of the standardisation.
            assert!(worst(&back.points[(times.len() - 1) * n * dim..], arrived) < 1e-13);
        }
    }
}

#[test]
fn the_bits_of_a_path_depend_on_no_other_particle_time_or_thread() {
    let model = model(3, 0, "dopri5", None, 1e-5);
    let bound = model.bind(Precision::F32).unwrap();
    let z = StandardNormal::new(3).draw(200, &mut rng::stream(3, 4));
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let all =
        |threads, times: &[f64]| pool(threads).install(|| bound.stages(&z, End::Latent, &[], times).unwrap().points);
    let (one, four) = (all(1, &[0.2, 0.7]), all(4, &[0.7, 0.2]));
    assert_eq!((&one[..600], &one[600..]), (&four[600..], &four[..600]));
    let alone = bound.stages(&z[150..153], End::Latent, &[], &[0.7]).unwrap().points;
    assert_eq!(alone, one[600 + 150..600 + 153]);
}

#[test]
fn a_particle_that_fails_is_listed_and_leaves_the_others_alone() {
    let model = model(2, 0, "dopri5", None, 1e-5);
    let bound = model.bind(Precision::F32).unwrap();
    // Beyond f32.
    let paths = bound.stages(&[0.1, 0.2, 1e300, 0.0, 0.3, 0.4], End::Latent, &[], &[0.5, 1.0]).unwrap();
    assert_eq!(paths.cost.failures.iter().map(|f| f.0).collect::<Vec<_>>(), [1]);
    for rows in paths.points.chunks_exact(6) {
        assert!(rows[..2].iter().chain(&rows[4..]).all(|v| v.is_finite()) && !rows[2].is_finite(), "{rows:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let model = model(2, 1, "dopri5", None, 1e-5);
    let bound = model.bind(Precision::F32).unwrap();
    for refused in [
        bound.stages(&[0.0; 2], End::Latent, &[0.0], &[1.5]),
        bound.stages(&[0.0; 2], End::Latent, &[0.0], &[f64::NAN]),
        bound.stages(&[0.0; 3], End::Latent, &[0.0], &[0.5]),
        bound.stages(&[0.0; 4], End::Latent, &[0.0], &[0.5]),
    ] {
        assert!(matches!(refused.unwrap_err(), Error::Invalid { .. } | Error::Dimension { .. }));
    }
}

#[test]
fn the_steepest_place_of_a_model_is_on_its_paths_and_the_same_each_time() {
    let folder = command::folder();
    let model = Model::load(&folder.path().join("m.safetensors")).unwrap();
    let found = model.lipschitz(32, 9, &mut rng::stream(0, 1)).unwrap().unwrap();
    assert_eq!(found, model.lipschitz(32, 9, &mut rng::stream(0, 1)).unwrap().unwrap());
    assert!(found.exact && found.points == 32 * 9 && found.norm >= found.mean && (0.0..=1.0).contains(&found.t));
    let cnflow::model::Architecture::Velocity(VelocitySpec::Mlp(spec)) = &model.spec.architecture else {
        panic!("the golden net is an MLP")
    };
    assert!(found.norm < cnflow::velocity::lipschitz_bound(spec, &model.theta).unwrap());
    // A conditional velocity has none of its own.
    command::conditional(folder.path());
    let conditional = Model::load(&folder.path().join("c.safetensors")).unwrap();
    assert!(conditional.lipschitz(4, 3, &mut rng::stream(0, 1)).unwrap().is_none());
}
