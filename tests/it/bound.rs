//! A bound model gives a result for every row, and a flow takes any velocity.

use cnflow::continuous::{BoundVelocity, Continuous, SolverSpec};
use cnflow::error::Failure;
use cnflow::model::{Flow, FlowSpec};
use cnflow::rng::stream;
use cnflow::transform::{Column, StandardNormal};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

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
    assert!(matches!(scored.row(1), Err(Failure::Path(_))) && matches!(latents.row(1), Err(Failure::Path(_))));
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
    // Half way there are the same parameters: nothing is bound anew.
    let half = model.until(0.5).unwrap();
    assert_eq!(half.latents(&half.points(&z, &[]).unwrap().y, &[]).unwrap().y.len(), z.len());
    assert!(model.until(1.5).is_err() && model.until(f64::NAN).is_err());
}
