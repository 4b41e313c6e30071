//! Every method converges at its stated order, at the ends of its steps and between them.

use crate::problems::{Problem, SLOPES, Truth, Worst};
use cnflow_solvers::{Method, Options, Tableau, methods, solve_here};

/// Errors at the ends of `n` equal steps and inside them: the worst, as the error of a single end may be small by
/// chance.
fn errors(method: &'static Tableau, problem: &Problem, n: usize) -> (f64, f64) {
    let Truth::Closed(truth) = problem.truth else { panic!("{} has no formula", problem.name) };
    let options = Options { method: Method::Explicit(method), steps: Some(n), ..Options::default() };
    let mut worst = Worst::new(truth, &[0.37, 0.81]);
    solve_here(problem.field(), &mut worst, problem.y0, (problem.t0, problem.t1), &options).unwrap();
    (worst.ends, worst.inside)
}

/// log₂ of the gain of the finest halving whose errors are still above round-off.
fn slope(errors: &[f64]) -> f64 {
    let last = errors.iter().rposition(|e| *e > 3e-14).expect("the coarsest step has an error");
    assert!(last >= 1, "too few errors above round-off: {errors:?}");
    (errors[last - 1] / errors[last]).log2()
}

/// Steps enough to be in the asymptotic range, few enough to stay above round-off.
fn grids(method: &Tableau) -> impl Iterator<Item = usize> {
    let (first, doublings) = match method.order {
        1 => (4096, 4),
        2 => (1024, 5),
        3 => (512, 5),
        4 | 5 => (128, 5),
        _ => (48, 4),
    };
    (0..=doublings).map(move |k| first << k)
}

#[test]
fn methods_converge_at_their_stated_order() {
    for method in methods::ALL {
        for problem in SLOPES {
            let ends: Vec<f64> = grids(method).map(|n| errors(method, problem, n).0).collect();
            let measured = slope(&ends);
            assert!(
                (measured - f64::from(method.order)).abs() < 0.25,
                "{} on {}: slope {measured:.2} from {ends:?}",
                method.name,
                problem.name
            );
        }
    }
}

#[test]
fn dense_output_converges_at_its_stated_order() {
    for method in methods::ALL {
        // Its local error O(h^(q+1)) adds to the solution's own O(h^p); two parts of like size
        // approach their slope from below.
        let expected = f64::from(method.order.min(method.dense_order + 1));
        for problem in SLOPES {
            let inside: Vec<f64> = grids(method).map(|n| errors(method, problem, n).1).collect();
            let measured = slope(&inside);
            assert!(
                measured > expected - 0.5,
                "{} on {}: slope {measured:.2} from {inside:?}",
                method.name,
                problem.name
            );
        }
    }
}
