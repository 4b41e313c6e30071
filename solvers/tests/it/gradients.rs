//! Gradients of a solve, against central differences of the same computation.

use crate::common::{Divergence, Sine, numbers};
use cnflow_solvers::gauss::Gauss;
use cnflow_solvers::gradient::{Integrand, chunks, pull_back, tree_sum};
use cnflow_solvers::{Method, Options, Quadrature, Tableau, Tape, methods, solve};

const DIM: usize = 3;
const N: usize = 5;

/// Σ a·y(t₁) + Σ b·∫ div, with equal steps: then step sizes are constants and differences are of the computation on the
/// tape.
fn loss(method: &'static Tableau, theta: &[f64], y0: &[f64], a: &[f64], b: &[f64], options: &Options) -> f64 {
    let rule = Gauss::for_order(method.order);
    let worker = || {
        let g = Divergence(Sine { theta, dim: DIM });
        (Sine { theta, dim: DIM }, Quadrature::new(g, rule, None, 8, options.lanes))
    };
    let (solution, quadratures) = solve(worker, y0, (1.0, 0.0), options).unwrap();
    let ends: f64 = solution.y.iter().zip(a).map(|(y, a)| y * a).sum();
    let integrals: f64 =
        quadratures.into_iter().flat_map(|q| q.into_integrals()).map(|i| b[i.sample] * i.values[0]).sum();
    ends + integrals
}

fn tape_gradient(
    method: &'static Tableau,
    theta: &[f64],
    y0: &[f64],
    a: &[f64],
    b: &[f64],
    options: &Options,
) -> (Vec<f64>, Vec<f64>) {
    let rule = Gauss::for_order(method.order);
    let worker = || {
        let g = Divergence(Sine { theta, dim: DIM });
        let quadrature = Quadrature::new(g, rule, None, 8, options.lanes);
        (Sine { theta, dim: DIM }, (Tape::new(method, DIM), quadrature))
    };
    let (_, observers) = solve(worker, y0, (1.0, 0.0), options).unwrap();
    let tape = &observers[0].0;
    let mut gp = vec![0.0; theta.len()];
    let mut g = Divergence(Sine { theta, dim: DIM });
    let integrand = Integrand { g: &mut g, rule, bar: b };
    let gy = pull_back(tape, &mut Sine { theta, dim: DIM }, Some(integrand), a, options.lanes, &mut gp);
    (gy, gp)
}

fn check(method: &'static Tableau, options: &Options, gy: &[f64], gp: &[f64], tolerance: f64) {
    let (theta, y0, a, b) = (numbers(DIM * DIM, 1), numbers(N * DIM, 2), numbers(N * DIM, 3), numbers(N, 4));
    let eps = 1e-5;
    let difference = |i: usize, of_theta: bool| {
        let at = |sign: f64| {
            let (mut theta, mut y0) = (theta.clone(), y0.clone());
            if of_theta {
                theta[i] += sign * eps
            } else {
                y0[i] += sign * eps
            }
            loss(method, &theta, &y0, &a, &b, options)
        };
        (at(1.0) - at(-1.0)) / (2.0 * eps)
    };
    for (i, g) in gp.iter().enumerate() {
        let d = difference(i, true);
        assert!((d - g).abs() < tolerance, "{}: θ[{i}]: {g} against {d}", method.name);
    }
    for (i, g) in gy.iter().enumerate() {
        let d = difference(i, false);
        assert!((d - g).abs() < tolerance, "{}: y[{i}]: {g} against {d}", method.name);
    }
}

#[test]
fn the_tape_gives_the_gradient_of_what_was_computed_for_every_method() {
    let (theta, y0, a, b) = (numbers(DIM * DIM, 1), numbers(N * DIM, 2), numbers(N * DIM, 3), numbers(N, 4));
    for method in methods::ALL {
        for lanes in [1, 3, 16] {
            let options = Options { method: Method::Explicit(method), steps: Some(4), lanes, ..Options::default() };
            let (gy, gp) = tape_gradient(method, &theta, &y0, &a, &b, &options);
            // Central differences at 1e-5: round-off 1e-16/1e-5, truncation 1e-10 times third derivatives of order 10.
            check(method, &options, &gy, &gp, 3e-9);
        }
    }
}

#[test]
fn chunks_cover_a_batch_and_their_sum_is_a_fixed_tree() {
    let ranges: Vec<_> = chunks(10, 4).collect();
    assert_eq!(ranges, [0..4, 4..8, 8..10]);
    let parts: Vec<Vec<f64>> = (0..7).map(|i| vec![f64::from(i), 1.0]).collect();
    assert_eq!(tree_sum(parts), [21.0, 7.0]);
    assert!(tree_sum::<f64>(Vec::new()).is_empty());
}
