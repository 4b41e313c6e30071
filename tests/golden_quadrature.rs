//! The quadrature of the log-density on trained nets, against reference densities.
//!
//! `tests/golden/*/logp.npy`: scipy's DOP853 at 1e-13 with a hand-written divergence; see README.txt beside it.

use std::path::Path;

use candle_core::{Device, Tensor};
use cnf::flow::{Continuous, Cost, Flow, LogDensity, SolverSpec, VelocitySpec};
use cnf::io::{self, torch};
use cnf::velocity::{Activation, MlpSpec, TimeInput};

struct Golden {
    velocity: VelocitySpec,
    theta: Tensor,
    x: Tensor,
    log_prob: Vec<f64>,
}

fn golden(name: &str, activation: Activation) -> Golden {
    let folder = Path::new("tests/golden").join(name);
    let net = torch::read_sequential(&folder.join("model.safetensors")).unwrap();
    let dim = net.sizes[net.sizes.len() - 1];
    let hidden = net.sizes[1..net.sizes.len() - 1].to_vec();
    let velocity = VelocitySpec::Mlp(MlpSpec { dim, condition_dim: 0, hidden, activation, time: TimeInput::Plain });
    let theta: Vec<f64> = net.theta().into_iter().map(f64::from).collect();
    let theta = Tensor::from_vec(theta, velocity.n_params(), &Device::Cpu).unwrap();
    let x = io::read(&folder.join("x.npy")).unwrap();
    let x = Tensor::from_vec(x.data, (x.rows, x.cols), &Device::Cpu).unwrap();
    let log_prob = io::read(&folder.join("logp.npy")).unwrap().data;
    Golden { velocity, theta, x, log_prob }
}

impl Golden {
    fn log_prob(&self, solver: &SolverSpec) -> (Vec<f64>, Cost) {
        let flow = Flow::new(Continuous::new(self.velocity.clone(), self.theta.clone(), solver.clone()).unwrap());
        let (_, log_prob, cost) = flow.encode(&self.x, None).unwrap();
        (log_prob.to_vec1().unwrap(), cost)
    }
}

fn worst(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, e| if e > m || e.is_nan() { e } else { m })
}

const NETS: [(&str, Activation); 2] = [("8gaussians", Activation::Tanh), ("d43", Activation::Softplus)];

fn solver(method: &str, tolerance: f64) -> SolverSpec {
    SolverSpec { method: method.into(), rtol: tolerance, atol: tolerance, ..SolverSpec::default() }
}

#[test]
fn the_quadrature_is_as_good_as_the_coupled_state_for_fewer_traces() {
    for (name, activation) in NETS {
        let golden = golden(name, activation);
        for (method, budget) in [("bosh3", 1.0), ("dopri5", 0.55), ("tsit5", 0.55), ("vern7", 0.6)] {
            for tolerance in [1e-5, 1e-7] {
                let quadrature = solver(method, tolerance);
                let coupled = SolverSpec { log_density: LogDensity::Coupled, ..quadrature.clone() };
                let (by_quadrature, cost) = golden.log_prob(&quadrature);
                let (by_state, coupled_cost) = golden.log_prob(&coupled);
                let (error, state_error) =
                    (worst(&by_quadrature, &golden.log_prob), worst(&by_state, &golden.log_prob));
                let text = format!(
                    "{name} {method} {tolerance:.0e}: worst {error:.1e} with {:.1} traces and {:.1} NFE; \
                     as a state {state_error:.1e} with {:.1} of both",
                    cost.traces_mean(),
                    cost.nfe_mean(),
                    coupled_cost.nfe_mean()
                );
                println!("{text}");
                // Both errors are mostly the path's. The worst of 500 scatters: measured ratios are 0.4 to 2.4.
                assert!(error < 4.0 * state_error, "{text}");
                assert!(cost.traces_mean() < budget * coupled_cost.traces_mean(), "{text}");
            }
        }
    }
}
