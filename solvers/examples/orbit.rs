//! The solver alone: the Arenstorf orbit, a satellite between earth and moon, and its state at chosen times.
//!
//! `cargo run --release -p cnflow-solvers --example orbit`

use cnflow_solvers::save::SaveAt;
use cnflow_solvers::{At, Lanes, LanesMut, Method, Options, VectorField, methods, solve};

struct Satellite;

impl VectorField<f64> for Satellite {
    fn dim(&self) -> usize {
        4
    }

    fn eval(&mut self, _at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        const MOON: f64 = 0.012277471;
        const EARTH: f64 = 1.0 - MOON;
        for l in 0..y.lanes() {
            let [x, y, vx, vy] = [0, 1, 2, 3].map(|i| y.row(i)[l]);
            let to_earth = ((x + MOON).powi(2) + y * y).powf(1.5);
            let to_moon = ((x - EARTH).powi(2) + y * y).powf(1.5);
            out.row_mut(0)[l] = vx;
            out.row_mut(1)[l] = vy;
            out.row_mut(2)[l] = x + 2.0 * vy - EARTH * (x + MOON) / to_earth - MOON * (x - EARTH) / to_moon;
            out.row_mut(3)[l] = y - 2.0 * vx - EARTH * y / to_earth - MOON * y / to_moon;
        }
    }
}

fn main() -> Result<(), cnflow_solvers::SolveError> {
    let start = [0.994, 0.0, 0.0, -2.001_585_106_379_082_5];
    let period = 17.065_216_560_157_963;
    let times: Vec<f64> = (0..=8).map(|i| period * f64::from(i) / 8.0).collect();
    let options =
        Options { method: Method::Explicit(&methods::DOP853), rtol: 1e-12, atol: 1e-12, ..Options::default() };
    let (solution, saved) = solve(|| (Satellite, SaveAt::new(&times, 4)), &start, (0.0, period), &options)?;
    for (t, state) in times.iter().zip(SaveAt::collect(&saved, 1, 0.0, &start).chunks_exact(4)) {
        println!("t = {t:7.4}   x = {:+.6}   y = {:+.6}", state[0], state[1]);
    }
    let miss = solution.y.iter().zip(&start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("back at the start to {miss:.1e} after {} evaluations", solution.reports[0].nfe);
    Ok(())
}
