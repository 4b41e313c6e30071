//! Work against precision: evaluations and scaled error of every adaptive method on four hard problems.
//!
//! `cargo bench -p cnflow-solvers --bench work_precision` prints one line a method, problem and tolerance, with tabs
//! between columns, ready for a plot. Time is left out: with these fields it would measure the fields.

#[path = "../tests/it/problems/mod.rs"]
mod problems;

use cnflow_solvers::{Method, Options, methods, solve};
use problems::{ARENSTORF, BRUSSELATOR, LORENZ, PLEIADES, scaled_error};

fn main() {
    println!("problem\tmethod\ttolerance\tevaluations\terror");
    for problem in [&ARENSTORF, &BRUSSELATOR, &LORENZ, &PLEIADES] {
        for method in methods::ALL.iter().filter(|method| method.adaptive() && method.order > 2) {
            for exponent in [3, 5, 7, 9] {
                let tolerance = 10f64.powi(-exponent);
                let options = Options {
                    method: Method::Explicit(method),
                    rtol: tolerance,
                    atol: tolerance,
                    ..Options::default()
                };
                let span = (problem.t0, problem.t1);
                match solve(|| (problem.field(), ()), problem.y0, span, &options) {
                    Ok((solution, _)) => println!(
                        "{}\t{}\t{tolerance:.0e}\t{}\t{:.2e}",
                        problem.name,
                        method.name,
                        solution.reports[0].nfe,
                        scaled_error(&solution.y, &problem.end())
                    ),
                    Err(refusal) => println!("{}\t{}\t{tolerance:.0e}\t{refusal}", problem.name, method.name),
                }
            }
        }
    }
}
