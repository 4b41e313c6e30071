//! Every method converges at its stated order, at the ends of its steps and between them.

mod problems;

use cnf_solvers::solve::solve_here;
use cnf_solvers::{Observer, Options, Step, Tableau, methods};
use problems::{Problem, SLOPES, Truth, scaled_error};

/// The worst error inside the steps, at two places that no method favours.
struct Inside {
    truth: fn(f64) -> Vec<f64>,
    worst: f64,
}

impl Observer<f64> for &mut Inside {
    fn dense(&self) -> bool {
        true
    }
    fn accepted(&mut self, step: &dyn Step<f64>) {
        let mut y = vec![0.0; step.dim()];
        for theta in [0.37, 0.81] {
            step.at(theta, &mut y);
            self.worst = self.worst.max(scaled_error(&y, &(self.truth)(step.t() + theta * step.h())));
        }
    }
}

/// Errors at the end and inside, with `n` equal steps.
fn errors(method: &'static Tableau, problem: &Problem, n: usize) -> (f64, f64) {
    let Truth::Closed(truth) = problem.truth else { panic!("{} has no formula", problem.name) };
    let options = Options { method, steps: Some(n), ..Options::default() };
    let mut inside = Inside { truth, worst: 0.0 };
    let (y, _) = solve_here(problem.field(), &mut inside, problem.y0, (problem.t0, problem.t1), &options).unwrap();
    (scaled_error(&y, &problem.end()), inside.worst)
}

/// log₂ of the gain of the finest halving whose errors are still far above round-off (1e-12 for up to 10⁴ steps).
fn slope(errors: &[f64]) -> f64 {
    let last = errors.iter().rposition(|e| *e > 1e-12).expect("the coarsest step has an error");
    assert!(last >= 1, "too few errors above round-off: {errors:?}");
    (errors[last - 1] / errors[last]).log2()
}

/// Steps enough to be in the asymptotic range, few enough to stay above round-off.
fn grids(method: &Tableau) -> impl Iterator<Item = usize> {
    let (first, doublings) = match method.order {
        1 | 2 => (64, 6),
        3 => (32, 5),
        4 | 5 => (16, 5),
        _ => (6, 4),
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
        // Its local error O(h^(q+1)) adds to the solution's own O(h^p); where the two are equal a problem may be kinder.
        let expected = f64::from(method.order.min(method.dense_order + 1));
        for problem in SLOPES {
            let inside: Vec<f64> = grids(method).map(|n| errors(method, problem, n).1).collect();
            let measured = slope(&inside);
            assert!(
                measured > expected - 0.25,
                "{} on {}: slope {measured:.2} from {inside:?}",
                method.name,
                problem.name
            );
        }
    }
}
