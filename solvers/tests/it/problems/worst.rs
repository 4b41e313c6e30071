//! How far a solve strays from a known solution, at the ends of its steps and inside them.

use cnflow_solvers::{Observer, Step};

use super::scaled_error;

/// The worst scaled errors so far; NaN as soon as one is.
pub struct Worst {
    truth: fn(f64) -> Vec<f64>,
    /// Places inside each step.
    thetas: &'static [f64],
    pub ends: f64,
    pub inside: f64,
}

impl Worst {
    pub fn new(truth: fn(f64) -> Vec<f64>, thetas: &'static [f64]) -> Self {
        Self { truth, thetas, ends: 0.0, inside: 0.0 }
    }
}

/// The larger of two, NaN where one is: `f64::max` would drop it.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

impl Observer<f64> for &mut Worst {
    fn dense(&self) -> bool {
        true
    }
    fn accepted(&mut self, step: &dyn Step<f64>) {
        let mut y = vec![0.0; step.dim()];
        step.end(&mut y);
        self.ends = larger(self.ends, scaled_error(&y, &(self.truth)(step.t() + step.h())));
        for theta in self.thetas {
            step.at(*theta, &mut y);
            self.inside = larger(self.inside, scaled_error(&y, &(self.truth)(step.t() + theta * step.h())));
        }
    }
}
