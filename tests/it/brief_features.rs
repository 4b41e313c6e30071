//! A velocity may do something brief: a pulse that lasts a twentieth of the way or a thousandth. Steps pass over what
//! falls between their stages, and two solves that pass over the same pulse agree on a wrong number. So: what the
//! weights of a net show is never passed over; and what they do not show is in the error bars, and fails a check.
//!
//! `cargo test --test it brief_features:: -- --nocapture` prints the table.

use std::sync::Arc;

use crate::common::flows;
use crate::common::flows::{Closed, bars, log_normal};
use cnflow::check::{self, HeldOut, Subject};
use cnflow::continuous::transport::Request;
use cnflow::continuous::{Method, SolverSpec, TraceSpec};
use cnflow::model::{FlowSpec, Model};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, Trace, VelocitySpec};
use rand::Rng as _;

/// dx/dt = S g(t), or s g(t) x: a Gaussian in time of mass one, so that x(1) = z + S, or eˢ z.
struct Pulse {
    at: f64,
    width: f64,
    shift: f64,
    scale: f64,
}

impl Closed for Pulse {
    fn name(&self) -> String {
        let Self { at, width, shift, scale } = self;
        format!("pulse at {at} of width {width}, shift {shift}, scale {scale}")
    }
    fn dim(&self) -> usize {
        1
    }
    fn field(&self, t: f64, x: &[f64], v: &mut [f64], jacobian: &mut [f64]) {
        let g = (-0.5 * ((t - self.at) / self.width).powi(2)).exp() / (self.width * std::f64::consts::TAU.sqrt());
        (v[0], jacobian[0]) = (g * (self.shift + self.scale * x[0]), g * self.scale);
    }
    fn points(&self, n: usize, rng: &mut cnflow::Rng) -> Vec<f64> {
        // The latent 0 stands still under a scaling: only the divergence sees that pulse.
        (0..n).map(|i| if i == 0 { 0.0 } else { 3.0 * rng.random::<f64>() - 1.5 }).collect()
    }
    fn log_prob(&self, x: &[f64]) -> f64 {
        log_normal(&[(x[0] - self.shift) * (-self.scale).exp()]) - self.scale
    }
}

fn pulses() -> Vec<Pulse> {
    let mut pulses = Vec::new();
    for at in [0.13, 0.5, 0.71] {
        for width in [0.03, 0.015, 0.006] {
            pulses.push(Pulse { at, width, shift: 2.0, scale: 0.0 });
            pulses.push(Pulse { at, width, shift: 0.0, scale: 1.2 });
        }
    }
    pulses
}

fn solvers() -> Vec<(String, SolverSpec)> {
    let mut solvers = Vec::new();
    for name in Method::names() {
        let adaptive = match Method::named(name).unwrap() {
            Method::Explicit(tableau) => tableau.adaptive(),
            Method::Implicit(_) => true,
        };
        if adaptive {
            for tol in [1e-3, 1e-5, 1e-9, 1e-12] {
                // Orders one to three take thousands of steps to what is below 1e-8.
                if tol < 1e-8 && ["heun_euler", "bosh3", "tr_bdf2", "esdirk34"].contains(&name) {
                    continue;
                }
                let spec = SolverSpec { method: name.into(), rtol: tol, atol: tol, ..SolverSpec::default() };
                solvers.push((format!("{name} at {tol:e}"), spec));
            }
        } else {
            for steps in [2, 5] {
                let spec = SolverSpec { method: name.into(), fixed_steps: Some(steps), ..SolverSpec::default() };
                solvers.push((format!("{steps} steps of {name}"), spec));
            }
        }
    }
    solvers
}

#[test]
fn error_bars_cover_a_pulse_that_the_solve_passed_over() {
    let (mut wrong, mut off, mut missed, mut all) = (Vec::new(), Vec::new(), 0, 0);
    for pulse in pulses() {
        let pulse: Arc<dyn Closed> = Arc::new(pulse);
        let x = pulse.points(6, &mut cnflow::rng::stream(3, 0));
        for (name, solver) in solvers() {
            let exact = SolverSpec { trace: TraceSpec::Exact, ..solver.clone() };
            let bars = bars(&pulse, &x, &exact, Precision::F64);
            for (row, x) in x.iter().enumerate() {
                let (truth, found, bar) = (pulse.log_prob(&[*x]), bars.log_prob[row], bars.solver[row]);
                all += 1;
                missed += usize::from((found - truth).abs() > 0.1);
                // The bars of fixed steps are as rough as the steps; three of them hold any of these.
                let allowed = if solver.fixed_steps.is_some() { 3.0 * bar } else { bar };
                let line = || format!("{}, {name}, x = {x:.3}: {found:.6} ± {bar:.1e}, truth {truth:.6}", pulse.name());
                if (found - truth).abs() > allowed.max(1e-9) {
                    wrong.push(line());
                }
                if (found - truth).abs() > allowed + 0.05 || bar.is_nan() {
                    off.push(line());
                }
            }
        }
    }
    println!("{missed} of {all} log-densities are off by more than 0.1 nats; {} bars do not cover", wrong.len());
    // The bars have something to say: many solves do pass over the pulse.
    assert!(missed > all / 20, "{missed} of {all}");
    // 95 of 100 is what bars promise, and what they miss is a digit of the bar, never the pulse.
    assert!(wrong.len() * 20 < all, "{} of {all}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(off.is_empty(), "{}", off.join("\n"));
}

#[test]
fn absurd_tolerances_have_bars_that_cover() {
    let mut wrong = Vec::new();
    for flow in flows::every_flow() {
        let x = flow.points(100, &mut cnflow::rng::stream(4, 0));
        for name in ["bosh3", "dopri5", "tsit5", "vern7", "dop853"] {
            for tol in [0.1, 1.0, 10.0, 1e10] {
                let solver = SolverSpec { method: name.into(), rtol: tol, atol: tol, ..SolverSpec::default() };
                let exact = SolverSpec { trace: TraceSpec::Exact, ..solver };
                let bars = bars(&flow, &x, &exact, Precision::F64);
                let rows = x.chunks_exact(flow.dim()).zip(&bars.log_prob).zip(&bars.solver);
                let covered = rows.filter(|((x, found), bar)| (*found - flow.log_prob(x)).abs() <= **bar).count();
                // Of 98 in truth fewer than 92 are seen in one case of a thousand.
                if covered < 92 {
                    wrong.push(format!("{}, {name} at {tol:e}: {covered} of 100", flow.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// m = height · (tanh(w (t − from)) − tanh(w (t − to))) in one dimension: x(1) = z + 2 height (to − from).
fn switched(w: f32, from: f32, to: f32, height: f32) -> (VelocitySpec, Vec<f32>) {
    let spec =
        MlpSpec { dim: 1, condition_dim: 0, hidden: vec![2], activation: Activation::Tanh, time: TimeInput::Plain };
    (VelocitySpec::Mlp(spec), vec![0.0, w, 0.0, w, -w * from, -w * to, height, -height, 0.0])
}

/// A pulse that only the second layer has: it switches on and off where the first layer's slow unit passes a narrow
/// window around the time `at`; and the distance that it carries a point, by a fine sum.
fn hidden_pulse(at: f32, sharp: f32) -> (VelocitySpec, Vec<f32>, f64) {
    let spec =
        MlpSpec { dim: 1, condition_dim: 0, hidden: vec![1, 2], activation: Activation::Tanh, time: TimeInput::Plain };
    let (slow, half, height) = (4.0_f32, 20.0 / sharp, 0.125 * sharp);
    let first = [0.0, slow, -slow * at];
    let second = [sharp, sharp, sharp * half, -sharp * half];
    let theta = [&first[..], &second, &[height, -height, 0.0]].concat();
    let m = |t: f64| {
        let h = (f64::from(slow) * (t - f64::from(at))).tanh();
        let [s, half, height] = [sharp, half, height].map(f64::from);
        height * ((s * (h + half)).tanh() - (s * (h - half)).tanh())
    };
    let n = 2_000_000;
    let shift = (0..n).map(|i| m((f64::from(i) + 0.5) / f64::from(n))).sum::<f64>() / f64::from(n);
    (VelocitySpec::Mlp(spec), theta, shift)
}

fn model(velocity: VelocitySpec, theta: Vec<f32>, solver: SolverSpec) -> Model {
    Model { spec: FlowSpec::plain(velocity, solver), theta, provenance: serde_json::Map::new() }
}

fn log_prob(model: &Model, x: &[f64]) -> Vec<f64> {
    model.bind(Precision::F64).unwrap().log_prob(x, &[]).unwrap().log_prob
}

#[test]
fn no_solve_passes_over_what_the_weights_of_time_show() {
    let (x, mut wrong) = ([0.3, -0.2, 1.0, 2.0], Vec::new());
    for (w, from, to, height) in [
        (2000.0, 0.4, 0.6, 5.0),
        (2000.0, 0.7, 0.705, 200.0),
        (200.0, 0.31, 0.35, 25.0),
        (60.0, 0.8, 0.9, 10.0),
        (4000.0, 0.111, 0.1135, 400.0),
    ] {
        let (velocity, theta) = switched(w, from, to, height);
        let shift = 2.0 * f64::from(height) * f64::from(theta[4] - theta[5]) / f64::from(w);
        for name in ["bosh3", "dopri5", "tsit5", "vern7", "dop853", "bdf", "tr_bdf2", "esdirk34"] {
            for tol in [1e-3, 1e-6] {
                let solver = SolverSpec { method: name.into(), rtol: tol, atol: tol, ..SolverSpec::default() };
                let found = log_prob(&model(velocity.clone(), theta.clone(), solver), &x);
                for (x, found) in x.iter().zip(found) {
                    let truth = log_normal(&[x - shift]);
                    // Steep edges cost some hundred tolerances; who passes over a pulse is off by more than a nat
                    // somewhere.
                    let off = (found - truth).abs();
                    println!("{name} at {tol:e}, w = {w}, {from} to {to}, x = {x}: off by {off:.1e}");
                    if off > 200.0 * tol {
                        wrong.push(format!("{name} at {tol:e}, w = {w}, {from} to {to}: {found} for {truth}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_check_passes_only_where_the_density_is_right() {
    let mut missed = 0;
    for (at, sharp) in [(0.5, 500.0), (0.62, 600.0), (0.3, 400.0), (0.11, 600.0), (0.9, 500.0)] {
        let (velocity, theta, shift) = hidden_pulse(at, sharp);
        for name in ["dopri5", "tsit5", "vern7", "dop853"] {
            let solver = SolverSpec { method: name.into(), ..SolverSpec::default() };
            let model = model(velocity.clone(), theta.clone(), solver);
            let x = [0.3, 1.0, 2.5];
            let error = log_prob(&model, &x)
                .iter()
                .zip(x)
                .map(|(found, x)| (found - log_normal(&[x - shift])).abs())
                .fold(0.0, f64::max);
            let subject = Subject {
                model,
                precision: Precision::F64,
                n: 500,
                seed: 0,
                condition: Vec::new(),
                held_out: HeldOut::Missing("there are no data".into()),
                conditional: cnflow::rows::Rows::default(),
                trained_on: Vec::new(),
            };
            let lines = check::run(&subject, &mut |_| ()).unwrap();
            let failed: Vec<&str> =
                lines.iter().filter(|line| line.verdict == check::Verdict::Fail).map(|line| line.name).collect();
            println!("{name}, pulse at {at} of shift {shift:.3}: error {error:.1e}, fails {failed:?}");
            missed += usize::from(error > 0.1);
            assert!(error < check::CAP || !check::passed(&lines), "{name} at {at}: off by {error}, and all lines pass");
        }
    }
    // Otherwise nothing was tried.
    assert!(missed > 0);
}

#[test]
fn a_net_whose_time_weights_are_ordinary_takes_the_steps_it_always_took() {
    // Rates up to 4 allow dopri5 any step; trained nets have 1.3 to 2.5.
    let (velocity, theta) = switched(3.5, 0.3, 0.7, 1.0);
    let solver = SolverSpec { rtol: 1e-4, atol: 1e-4, ..SolverSpec::default() };
    let bound = velocity.bind_here::<f64>(&theta.iter().map(|w| f64::from(*w)).collect::<Vec<_>>()).unwrap();
    assert!((bound.time_rate() - 3.5).abs() < 1e-6);
    // The same field without the knowledge of its rate.
    struct Blind<'a>(&'a dyn cnflow::velocity::Velocity<f64>);
    impl cnflow::velocity::Velocity<f64> for Blind<'_> {
        fn dim(&self) -> usize {
            self.0.dim()
        }
        fn condition_dim(&self) -> usize {
            0
        }
        fn n_params(&self) -> usize {
            self.0.n_params()
        }
        fn grad_len(&self) -> usize {
            self.0.grad_len()
        }
        fn fold_gradient(&self, gradient: &mut [f64]) {
            self.0.fold_gradient(gradient);
        }
        fn evaluator<'a>(
            &'a self,
            batch: cnflow::velocity::Batch<'a, f64>,
        ) -> Box<dyn cnflow::velocity::Evaluator<f64> + 'a> {
            self.0.evaluator(batch)
        }
    }
    let request = Request { span: (1.0, 0.0), solver: &solver, trace: Trace::Exact, log_density: true, progress: None };
    let x = [0.3, -1.0, 2.0];
    let seen = cnflow::continuous::transport::transport(&*bound, &x, &[], &request).unwrap();
    let blind = cnflow::continuous::transport::transport(&Blind(&*bound), &x, &[], &request).unwrap();
    assert_eq!((seen.y, seen.logdet, seen.cost.nfe), (blind.y, blind.logdet, blind.cost.nfe));
}

#[test]
fn a_longest_step_is_refused_beside_equal_steps_and_never_runs_into_the_cap() {
    let both = SolverSpec { fixed_steps: Some(4), max_step: Some(0.1), ..SolverSpec::default() };
    assert!(both.validate().unwrap_err().to_string().contains("equal steps"));
    let (velocity, theta) = switched(3.5, 0.3, 0.7, 1.0);
    let x = [0.3, -1.0];
    let truth = log_prob(&model(velocity.clone(), theta.clone(), SolverSpec::default()), &x);
    for name in ["dopri5", "dop853", "bdf", "tr_bdf2", "esdirk34"] {
        for max_step in [1e-4, 1.0 / 80.0, 1.0 / 70.0, 0.3] {
            let solver = SolverSpec { method: name.into(), max_step: Some(max_step), ..SolverSpec::default() };
            solver.validate().unwrap();
            let found = log_prob(&model(velocity.clone(), theta.clone(), solver), &x);
            for (a, b) in found.iter().zip(&truth) {
                // Two solves whose tolerance of the log-density is 1e-3.
                assert!((a - b).abs() < 1e-3, "{name}, {max_step}: {a} for {b}");
            }
        }
    }
}
