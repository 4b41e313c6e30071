//! A bound model gives a result for every row, and a flow takes any velocity.

use cnflow::continuous::{BoundVelocity, Continuous, SolverSpec};
use cnflow::error::Failure;
use cnflow::model::{Flow, FlowSpec};
use cnflow::rng::stream;
use cnflow::transform::{Column, StandardNormal};
use cnflow::velocity::{Activation, Batch, Evaluator, MlpSpec, Precision, TimeInput, Velocity, VelocitySpec};
use cnflow::{Error, Result};

use crate::common::discrete::draws;

fn mlp(dim: usize, hidden: &[usize]) -> VelocitySpec {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim: 0, hidden: hidden.to_vec(), activation, time })
}

fn theta(velocity: &VelocitySpec) -> Vec<f64> {
    velocity.init(&mut stream(3, 0)).into_iter().map(|w| 3.0 * f64::from(w)).collect()
}

#[test]
fn a_row_that_fails_leaves_the_others_their_results() {
    let spec = FlowSpec {
        columns: Some(vec![Column::Plain, Column::Positive]),
        ..FlowSpec::plain(mlp(2, &[8]), SolverSpec::default())
    };
    let model = spec.bind(&theta(spec.architecture.velocity().unwrap()), Precision::F32).unwrap();
    let x = [0.1, 0.2, f64::NAN, 1.0, 0.3, -1.0, 0.5, 0.6];
    let (solved, scored) = (model.encode(&x, &[]).unwrap(), model.log_prob(&x, &[]).unwrap());
    let latents = model.latents(&x, &[]).unwrap();
    assert_eq!((scored.row(1), latents.row(1)), (Err(Failure::Point), Err(Failure::Point)));
    assert_eq!(solved.cost.failures, [(1, Failure::Point)]);
    assert_eq!((scored.row(2), latents.row(2)), (Ok(f64::NEG_INFINITY), Err(Failure::Outside)));
    for row in [0, 3] {
        let alone = model.encode(&x[2 * row..2 * row + 2], &[]).unwrap();
        assert_eq!(scored.row(row), Ok(alone.log_prob[0]));
        assert_eq!(solved.row(row), Ok((&alone.y[..], alone.log_prob[0])));
        assert_eq!(latents.row(row), Ok(&alone.y[..]));
    }
    // As text, for a failure may hold NaN, which equals nothing.
    let (each, all) = ((0..4).map(|row| solved.row(row)).collect::<Vec<_>>(), solved.rows().collect::<Vec<_>>());
    assert_eq!(format!("{all:?}"), format!("{each:?}"));
    let (each, all) = ((0..4).map(|row| scored.row(row)).collect::<Vec<_>>(), scored.rows().collect::<Vec<_>>());
    assert_eq!(format!("{all:?}"), format!("{each:?}"));
    let (each, all) = ((0..4).map(|row| latents.row(row)).collect::<Vec<_>>(), latents.rows().collect::<Vec<_>>());
    assert_eq!(format!("{all:?}"), format!("{each:?}"));
}

#[test]
fn a_velocity_of_ones_own_is_a_flow() {
    let velocity = mlp(2, &[8, 8]);
    let weights = theta(&velocity);
    let own = BoundVelocity::F64(velocity.bind_here(&weights).unwrap().into());
    let own = Flow::new(Continuous::of_velocity(own, SolverSpec::default()).unwrap());
    let usual = Continuous::new(&velocity, &weights, SolverSpec::default(), Precision::F64).unwrap();
    let usual = Flow::new(usual);
    let x = draws(20, 2, 4);
    assert_eq!(own.encode(&x, &[]).unwrap().log_prob, usual.encode(&x, &[]).unwrap().log_prob);
}

#[test]
fn samples_are_the_points_of_the_latents_that_the_generator_draws() {
    let velocity = mlp(2, &[8, 8]);
    let spec = FlowSpec::plain(velocity.clone(), SolverSpec::default());
    let model = spec.bind(&theta(&velocity), Precision::F32).unwrap();
    let drawn = model.sample(30, &[], &mut stream(1, 2)).unwrap();
    let z = StandardNormal::new(2).draw(30, &mut stream(1, 2));
    assert_eq!(drawn.y, model.decode(&z, &[]).unwrap().y);
    assert!(drawn.cost.traces.iter().all(|traces| *traces == 0), "a sample integrates no density");
    assert!(model.until(1.5).is_err() && model.until(f64::NAN).is_err());
}

#[test]
fn a_model_until_a_time_has_the_points_and_the_density_of_its_closed_form() {
    // x' = A x + b with A = diag(0.7, −0.4): xᵢ(t) = (zᵢ + bᵢ/aᵢ) e^{aᵢ t} − bᵢ/aᵢ, and log p falls by t tr A.
    let (a, b) = ([0.7, -0.4], [0.3, 0.2]);
    let (activation, time) = (Activation::Tanh, TimeInput::None);
    let velocity = VelocitySpec::Mlp(MlpSpec { dim: 2, condition_dim: 0, hidden: Vec::new(), activation, time });
    let solver = SolverSpec { rtol: 1e-10, atol: 1e-10, ..SolverSpec::default() };
    let weights = [a[0], 0.0, 0.0, a[1], b[0], b[1]];
    let model = FlowSpec::plain(velocity, solver).bind(&weights, Precision::F64).unwrap();
    let z = draws(20, 2, 5);
    for t in [0.25, 0.5, 1.0] {
        let part = model.until(t).unwrap();
        let x = part.points(&z, &[]).unwrap().y;
        let log_prob = part.log_prob(&x, &[]).unwrap().log_prob;
        // A few steps of 1e-10, amplified by e^{0.7}; the log-density's tolerance is 1e-8.
        for (i, (x, z)) in x.iter().zip(&z).enumerate() {
            let (a, b) = (a[i % 2], b[i % 2]);
            let expected = (z + b / a) * (a * t).exp() - b / a;
            assert!((x - expected).abs() < 1e-8, "t = {t}: {x} against {expected}");
        }
        for (log_prob, z) in log_prob.iter().zip(z.chunks_exact(2)) {
            let normal = -0.5 * (z[0] * z[0] + z[1] * z[1]) - std::f64::consts::TAU.ln();
            let expected = normal - t * (a[0] + a[1]);
            assert!((log_prob - expected).abs() < 1e-7, "t = {t}: {log_prob} against {expected}");
        }
        let back = part.latents(&x, &[]).unwrap().y;
        assert!(back.iter().zip(&z).all(|(back, z)| (back - z).abs() < 1e-8), "t = {t}");
    }
}

/// A velocity whose device fails.
struct Failing(Box<dyn Velocity<f64>>);

impl Velocity<f64> for Failing {
    fn dim(&self) -> usize {
        self.0.dim()
    }
    fn condition_dim(&self) -> usize {
        self.0.condition_dim()
    }
    fn n_params(&self) -> usize {
        self.0.n_params()
    }
    fn grad_len(&self) -> usize {
        self.0.grad_len()
    }
    fn fold_gradient(&self, gradient: &mut [f64]) {
        self.0.fold_gradient(gradient);
    }
    fn take_failure(&self) -> Option<Error> {
        Some(Error::invalid("the device is out of memory", "use a smaller batch"))
    }
    fn evaluator<'a>(&'a self, batch: Batch<'a, f64>) -> Box<dyn Evaluator<f64> + 'a> {
        self.0.evaluator(batch)
    }
}

#[test]
fn a_device_that_failed_is_the_error_of_a_solve() {
    let spec = mlp(2, &[8]);
    let velocity = Failing(spec.bind_here(&theta(&spec)).unwrap());
    let flow = Continuous::of_velocity(BoundVelocity::F64(std::sync::Arc::new(velocity)), SolverSpec::default());
    let flow = Flow::new(flow.unwrap());
    let x = [0.1, 0.2];
    let results: [Result<Vec<f64>>; 2] =
        [flow.log_prob(&x, &[]).map(|scored| scored.log_prob), flow.points(&x, &[]).map(|points| points.y)];
    for result in results {
        assert!(result.unwrap_err().to_string().contains("out of memory"));
    }
}
