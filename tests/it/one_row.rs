//! A row alone, among a few and in a batch: the same bits of everything, whatever the net and the method.

use cnflow::continuous::{LogDensity, Method, SolverSpec, TraceSpec};
use cnflow::model::{ErrorBars, FlowSpec, Model};
use cnflow::rng::stream;
use cnflow::velocity::{Activation, MlpSpec, Path, Precision, TimeInput, VelocitySpec};

use crate::common::discrete::draws;
use crate::common::velocity::{around, bits};

/// Rows of the batch: two blocks of lanes, and a few behind them.
const ROWS: usize = 35;

fn mlp(dim: usize, condition_dim: usize, hidden: &[usize], activation: Activation) -> VelocitySpec {
    let time = if dim == 3 { TimeInput::Fourier { frequencies: 1 } } else { TimeInput::Plain };
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time })
}

fn model(velocity: VelocitySpec, solver: SolverSpec) -> Model {
    let theta = velocity.init(&mut stream(5, 0)).into_iter().map(|w| 2.0 * w).collect();
    Model { spec: FlowSpec::plain(velocity, solver), theta, provenance: Default::default() }
}

/// Everything that a row of a batch gets, as bits.
fn found(model: &Model, precision: Precision, x: &[f64], condition: &[f64], bars: bool) -> Vec<Vec<u64>> {
    let (flow, d) = (model.bind(precision).unwrap(), model.spec.dim());
    let n = x.len() / d;
    let (back, there) = (flow.encode(x, condition).unwrap(), flow.decode(x, condition).unwrap());
    let (latents, points) = (flow.latents(x, condition).unwrap(), flow.points(x, condition).unwrap());
    let scored = flow.log_prob(x, condition).unwrap();
    assert!(back.log_prob.iter().chain(&there.log_prob).all(|l| l.is_finite()));
    let mut columns: Vec<(usize, Vec<u64>)> = Vec::new();
    for (solved, points) in [(&back, &latents), (&there, &points)] {
        // Where the log-density is a state, it has a say in the steps.
        columns.extend([(d, bits(&points.y)), (d, bits(&solved.y))]);
        columns.extend([(1, bits(&solved.log_prob)), (1, bits(&solved.cost.logdet_error))]);
        let counts = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).collect::<Vec<_>>();
        columns.extend([(1, counts(&solved.cost.nfe)), (1, counts(&solved.cost.traces))]);
        if !solved.cost.logdet_se.is_empty() {
            columns.push((1, bits(&solved.cost.logdet_se)));
        }
    }
    assert_eq!(bits(&scored.log_prob), bits(&back.log_prob));
    if bars {
        let bars = ErrorBars::of_model(model, 1.0, Ok).unwrap();
        let bars = bars.of(x, condition, &scored.log_prob, &scored.cost).unwrap();
        columns.extend([(1, bits(&bars.solver)), (1, bits(&bars.estimator))]);
    }
    (0..n).map(|row| columns.iter().flat_map(|(width, all)| all[row * width..][..*width].to_vec()).collect()).collect()
}

/// Some rows alone, and some in batches that are solved with less scratch, as in the batch of all.
fn check(what: &str, model: &Model, bars: bool) {
    let (d, c) = (model.spec.dim(), model.spec.condition_dim());
    let (x, condition) = (draws(ROWS, d, 3), if c > 0 { draws(ROWS, c, 4) } else { Vec::new() });
    for precision in [Precision::F32, Precision::F64] {
        let all = found(model, precision, &x, &condition, bars);
        for (first, n) in [(0, 1), (17, 1), (34, 1), (20, 2), (3, 3), (9, 5), (2, 18)] {
            let (x, condition) = (&x[first * d..][..n * d], &condition[first * c..][..n * c]);
            let some = found(model, precision, x, condition, bars);
            assert_eq!(some, all[first..first + n], "{what}, {precision:?}: {n} rows from {first} on");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_by_every_method_and_way_of_the_log_density() {
    for method in Method::names() {
        let explicit = matches!(Method::named(method).unwrap(), Method::Explicit(_));
        let solver = SolverSpec { method: method.into(), rtol: 1e-4, atol: 1e-4, ..SolverSpec::default() };
        let model = |solver| model(mlp(2, 0, &[9, 12, 10], Activation::Tanh), solver);
        // Some methods have no error estimate, and take equal steps only.
        let adaptive = solver.validate().is_ok();
        if adaptive {
            check(method, &model(solver.clone()), true);
        }
        if adaptive && explicit {
            let coupled = SolverSpec { log_density: LogDensity::Coupled, ..solver.clone() };
            check(&format!("{method}, coupled"), &model(coupled), false);
        }
        if explicit {
            let fixed = SolverSpec { fixed_steps: Some(5), ..solver.clone() };
            check(&format!("{method}, equal steps"), &model(fixed.clone()), true);
            let both = SolverSpec { log_density: LogDensity::Quadrature, ..fixed };
            check(&format!("{method}, equal steps and quadrature"), &model(both), false);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_for_every_activation_width_depth_dimension_condition_and_trace() {
    let traces = [TraceSpec::Exact, TraceSpec::Hutchinson(2), TraceSpec::Gaussian(4)];
    for (k, width) in [1, 2, 7, 8, 16, 33, 64, 100].into_iter().enumerate() {
        for depth in 0..5 {
            let (dim, condition_dim) = ([2, 1, 3, 6][(k + depth) % 4], (k + depth) % 3);
            let net = mlp(dim, condition_dim, &vec![width; depth], Activation::ALL[(k + 2 * depth) % 5]);
            let gaussian = (k + depth) % 4 == 3;
            let net = if gaussian { around(Path::Straight, 1.5, net) } else { net };
            let trace = traces[(k + depth) % 3];
            let solver = SolverSpec { rtol: 1e-3, atol: 1e-3, trace, ..SolverSpec::default() };
            check(&format!("{depth} x {width}, d = {dim}, {trace}"), &model(net, solver), depth == 2);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_for_any_number_of_lanes() {
    let of = |lanes: usize| {
        let solver = SolverSpec { lanes, ..SolverSpec::default() };
        model(mlp(2, 1, &[16, 8, 24], Activation::Silu), solver)
    };
    let (x, condition) = (draws(ROWS, 2, 3), draws(ROWS, 1, 4));
    let usual = found(&of(64), Precision::F32, &x, &condition, false);
    for lanes in [1, 2, 3, 5, 16, 17, 20] {
        assert_eq!(found(&of(lanes), Precision::F32, &x, &condition, false), usual, "{lanes} lanes");
        check(&format!("{lanes} lanes"), &of(lanes), false);
    }
}
