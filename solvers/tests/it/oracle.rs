//! An independent solver to compare with: diffsol's tsit45, none of whose code is ours.

use diffsol::{NalgebraMat, OdeBuilder, OdeSolverMethod, OdeSolverStopReason};

/// y(t1) of dy/dt = f(t, y), y(t0) = y0, at rtol = atol = `tol`; t1 may lie before t0.
///
/// # Panics
/// If diffsol fails or returns a state that is not finite.
pub fn oracle(f: impl Fn(f64, &[f64], &mut [f64]), y0: &[f64], t0: f64, t1: f64, tol: f64) -> Vec<f64> {
    if t0 == t1 {
        return y0.to_vec();
    }
    // In s = |t − t0| the span always runs forward.
    let sign = (t1 - t0).signum();
    let length = (t1 - t0).abs();
    let start = y0.to_vec();
    let problem = OdeBuilder::<NalgebraMat<f64>>::new()
        .t0(0.0)
        .h0(1e-3 * length)
        .rtol(tol)
        .atol([tol])
        .rhs(move |y: &[f64], _p: &[f64], s: f64, out: &mut [f64]| {
            f(t0 + sign * s, y, out);
            out.iter_mut().for_each(|v| *v *= sign);
        })
        .init(move |_p: &[f64], _s: f64, y: &mut [f64]| y.copy_from_slice(&start), y0.len())
        .build()
        .unwrap();
    let mut solver = problem.tsit45().unwrap();
    solver.set_stop_time(length).unwrap();
    while !matches!(solver.step().unwrap(), OdeSolverStopReason::TstopReached) {}
    let y = solver.state().y.batch_as_slice(0).to_vec();
    assert!(y.iter().all(|v| v.is_finite()), "the oracle met {y:?}");
    y
}
