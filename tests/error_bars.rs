//! Error bars cover the truth.
#[path = "common/flows.rs"]
mod flows;

use cnf::flow::bars::error_bars;
const SAFETY: f64 = 2.0;
use cnf::flow::transport::Request;
use cnf::flow::{LogDensity, SolverSpec};
use cnf::rng::stream;
use cnf::velocity::Trace;
use flows::{Field, every_flow};

#[test]
fn explore() {
    let n = 200;
    for flow in every_flow() {
        let x = flow.points(n, &mut stream(1, 1));
        let truth: Vec<f64> = x.chunks_exact(flow.dim()).map(|x| flow.log_prob(x)).collect();
        for method in ["bosh3", "dopri5", "tsit5", "vern7", "dop853"] {
            for log_density in [LogDensity::Quadrature, LogDensity::Coupled] {
                let mut line = format!("{:20} {method:7} {log_density:?}", flow.name());
                for e in 3..=8 {
                    let tol = 10f64.powi(-e);
                    let solver = SolverSpec {
                        method: method.into(),
                        rtol: tol,
                        atol: tol,
                        log_density,
                        ..SolverSpec::default()
                    };
                    let request = Request {
                        span: (1.0, 0.0),
                        solver: &solver,
                        trace: Trace::Exact,
                        log_density: true,
                        progress: None,
                    };
                    let f = Field(&*flow);
                    let bars = error_bars::<f64>(&f, &f, &x, &[], &request).unwrap();
                    let err: Vec<f64> = bars.log_prob.iter().zip(&truth).map(|(a, b)| (a - b).abs()).collect();
                    let mut need: Vec<f64> = err.iter().zip(&bars.solver).map(|(e, b)| e / (b / SAFETY)).collect();
                    need.sort_by(f64::total_cmp);
                    line += &format!(" | {:5.2} {:5.2} {:7.2}", need[n / 2], need[n * 95 / 100], need[n * 98 / 100]);
                }
                println!("{line}");
            }
        }
    }
}
