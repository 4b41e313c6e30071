//! `cnf check`: right models pass every line, and what is wrong fails the line that is about it.
#![cfg(feature = "cli")]

use crate::common::command::{cnf, conditional, folder, has, json};
use cnflow::check::{CHECKS, Check, DiagnosticSamples, HeldOut, Subject, Verdict, passed, ranks, run};
use cnflow::continuous::{LogDensity, SolverSpec, TraceSpec};
use cnflow::model::{FlowSpec, Model};
use cnflow::rng::stream;
use cnflow::rows::{DataOptions, Rows, resolve, toys};
use cnflow::train::{Job, fit};
use cnflow::transform::StandardNormal;
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};
use serde_json::Map;

fn subject(model: Model) -> Subject {
    let held_out = HeldOut::Missing("none".into());
    Subject {
        model,
        precision: Precision::F32,
        n: 400,
        seed: 0,
        condition: Vec::new(),
        held_out,
        conditional: Rows::default(),
        trained_on: Vec::new(),
    }
}

/// A net of random weights, `gain` times PyTorch's.
fn random(dim: usize, condition_dim: usize, hidden: &[usize], gain: f32) -> Model {
    let (activation, time) = (Activation::Tanh, TimeInput::Plain);
    let velocity = VelocitySpec::Mlp(MlpSpec { dim, condition_dim, hidden: hidden.to_vec(), activation, time });
    let theta = velocity.init(&mut stream(9, dim as u64)).into_iter().map(|w| gain * w).collect();
    let spec = FlowSpec::plain(velocity, SolverSpec::default());
    Model { spec, theta, provenance: Map::new() }
}

/// Eight Gaussians after some seconds, and rows that it was not trained on.
fn trained() -> Subject {
    let data = resolve("8gaussians", &DataOptions::default(), 0).unwrap();
    let job = Job::default().with(|job| {
        job.optimiser.steps = Some(1200);
        job.optimiser.batch = Some(512);
        job.model.hidden = Some(vec![48, 48]);
        job.optimiser.ema = 0.99;
    });
    let model = fit(&job, &data, &mut ()).unwrap().model;
    Subject { held_out: HeldOut::Rows(data.test.first(2, 2000), "test".into()), ..subject(model) }
}

fn listed(lines: &[Check]) -> String {
    lines.iter().map(|l| format!("{} {:?} of {:?}: {:?}, {}\n", l.name, l.value, l.bound, l.verdict, l.words)).collect()
}

fn verdict(lines: &[Check], name: &str) -> Verdict {
    lines.iter().find(|line| line.name == name).unwrap_or_else(|| panic!("no line {name}")).verdict
}

/// One test alone, of evidence that was tampered with.
fn judged(evidence: &DiagnosticSamples<'_>, name: &str) -> Verdict {
    let (_, test) = CHECKS.iter().find(|line| line.0 == name).unwrap();
    test(evidence).unwrap().verdict
}

#[test]
fn a_trained_model_passes_every_line_and_what_is_wrong_fails_the_line_about_it() {
    let good = trained();
    let lines = run(&good, &mut |_| {}).unwrap();
    // The last line is about models with conditions.
    let passed_all = |lines: &[Check]| lines.iter().all(|line| line.verdict == Verdict::Pass);
    assert!(passed_all(&lines[..lines.len() - 1]), "{}", listed(&lines));
    assert_eq!((lines.len(), verdict(&lines, "calibration")), (CHECKS.len(), Verdict::Skipped));

    let with = |solver: SolverSpec| {
        let mut other = good.clone();
        other.model.spec.solver = solver;
        other
    };
    let usual = SolverSpec::default;
    let loose = SolverSpec { rtol: 0.3, atol: 0.3, ..usual() };
    let few = SolverSpec { method: "rk4".into(), fixed_steps: Some(3), ..usual() };
    let one = SolverSpec { method: "euler".into(), fixed_steps: Some(1), ..usual() };
    let careless = SolverSpec { log_density_atol: Some(10.0), rtol: 1e-2, atol: 1e-2, ..usual() };
    let noisy = SolverSpec { trace: TraceSpec::Hutchinson(1), ..usual() };
    let moons = (toys::find("moons").unwrap().sample)(2000, &mut stream(1, 1));
    let elsewhere = Subject { held_out: HeldOut::Rows(moons.into(), "moons".into()), ..good.clone() };
    let mut stiff = good.clone();
    stiff.model.theta.iter_mut().for_each(|w| *w *= 20.0);
    stiff.model.spec.solver.max_steps = 300;
    stiff.n = 16;
    let wrong: [(&str, Subject, &[&str]); 6] = [
        ("a tolerance of 0.3", with(loose), &["tolerance", "density carried", "round trip"]),
        ("three steps of rk4", with(few), &["tolerance", "density carried"]),
        ("one step of Euler", with(one), &["mass", "round trip", "tolerance"]),
        ("a careless quadrature", with(careless), &["quadrature", "tolerance"]),
        ("other data", elsewhere, &["latents of data"]),
        ("huge weights", stiff, &["solver"]),
    ];
    for (what, subject, names) in wrong {
        let lines = run(&subject, &mut |_| {}).unwrap();
        for name in names {
            assert_eq!(verdict(&lines, name), Verdict::Fail, "{what}, {name}:\n{}", listed(&lines));
        }
        assert!(!passed(&lines));
    }
    // Noise of probes cannot be distinguished from error, with one probe.
    let lines = run(&with(noisy), &mut |_| {}).unwrap();
    assert_eq!(verdict(&lines, "density carried"), Verdict::Unclear, "{}", listed(&lines));
    assert!(passed(&lines), "{}", listed(&lines));

    // What no setting can break is broken by hand.
    let mut evidence = DiagnosticSamples::gather(&good).unwrap();
    assert_eq!((judged(&evidence, "trace"), judged(&evidence, "precision")), (Verdict::Pass, Verdict::Pass));
    evidence.back.log_prob.iter_mut().for_each(|l| *l += 2.0);
    assert_eq!((judged(&evidence, "trace"), judged(&evidence, "precision")), (Verdict::Fail, Verdict::Fail));
    // Samples of another density: that of latents twice as wide.
    let theorem = ["divergence, t = 1", "divergence, t = 1/2"];
    assert_eq!(theorem.map(|name| judged(&evidence, name)), [Verdict::Pass; 2]);
    evidence.z.iter_mut().for_each(|z| *z *= 2.0);
    assert_eq!(theorem.map(|name| judged(&evidence, name)), [Verdict::Fail; 2]);
}

#[test]
fn right_models_pass_in_any_dimension_with_any_solver_and_seed() {
    let usual = SolverSpec::default;
    let coupled = SolverSpec { log_density: LogDensity::Coupled, ..usual() };
    let fixed = SolverSpec { method: "rk4".into(), fixed_steps: Some(30), ..usual() };
    let probes = SolverSpec { trace: TraceSpec::Hutchinson(8), ..usual() };
    let sharp = SolverSpec { method: "vern7".into(), rtol: 1e-9, atol: 1e-9, ..usual() };
    let implicit = SolverSpec { method: "tr_bdf2".into(), ..usual() };
    let cases = [
        (1, 0, vec![16, 16], usual(), Precision::F32),
        (2, 1, vec![24], coupled, Precision::F32),
        (2, 0, vec![16, 16, 16], fixed, Precision::F32),
        (3, 0, vec![16, 16, 16], probes, Precision::F32),
        (5, 0, vec![24, 24], sharp, Precision::F64),
        (2, 0, vec![8], implicit, Precision::F64),
        (8, 2, vec![32, 32], usual(), Precision::F32),
    ];
    for (d, c, hidden, solver, precision) in cases {
        let mut model = random(d, c, &hidden, 2.5);
        model.spec.solver = solver;
        for seed in 0..2 {
            let condition = vec![0.4; c];
            let n = if model.spec.solver.method == "tr_bdf2" { 60 } else { 400 };
            let subject = Subject { precision, seed, n, condition: condition.clone(), ..subject(model.clone()) };
            let lines = run(&subject, &mut |_| {}).unwrap();
            assert!(passed(&lines), "{d} dimensions, {hidden:?}, seed {seed}:\n{}", listed(&lines));
            let names = ["round trip", "density carried", "tolerance", "trace", "mass", "divergence, t = 1"];
            // So few draws may be too noisy to tell the mass in eight dimensions, and say so.
            for name in names.into_iter().filter(|name| d < 8 || *name != "mass") {
                assert_eq!(
                    verdict(&lines, name),
                    Verdict::Pass,
                    "{d} dimensions, seed {seed}, {name}:\n{}",
                    listed(&lines)
                );
            }
        }
    }
}

#[test]
fn the_command_tells_each_line_and_its_exit_code_whether_all_passed() {
    let folder = folder();
    let at = folder.path();
    let facts = json(at, "check m.safetensors -n 200");
    has(&facts, "model n passed checks");
    assert_eq!(facts["passed"], true, "{facts}");
    let checks = facts["checks"].as_array().unwrap();
    assert_eq!(checks.len(), CHECKS.len());
    checks.iter().for_each(|check| has(check, "name verdict words"));
    // The seed fixes every draw.
    assert_eq!(facts, json(at, "check m.safetensors -n 200 --threads 1"));
    assert_ne!(facts, json(at, "check m.safetensors -n 200 --seed 1"));

    let out = cnf(at, "check m.safetensors x.npy -n 100 --solver rk4 --fixed-steps 2");
    assert_eq!(out.status.code(), Some(1));
    let (words, err) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(words.contains("FAIL") && words.contains("tolerance"), "{words}");
    assert!(err.contains("lines failed") && err.contains("hint: give a smaller --rtol"), "{err}");
}

#[test]
fn the_command_writes_error_bars_that_cover_a_far_better_solve() {
    let folder = folder();
    let at = folder.path();
    let read = |file: &str| cnflow::io::read(&at.join(file)).unwrap();
    let facts = json(at, "density m.safetensors x.npy -o l.npy --error-bars b.npy --block 300");
    has(&facts["error_bars"], "median max");
    json(at, "density m.safetensors x.npy -o best.npy --precision f64 --rtol 1e-11 --atol 1e-11");
    let (l, best, bars) = (read("l.npy"), read("best.npy"), read("b.npy"));
    assert_eq!((bars.rows, bars.cols), (l.rows, 3));
    let rows = || bars.data.chunks_exact(3).zip(l.data.iter().zip(&best.data));
    let covered = rows().filter(|(bar, (a, b))| (**a - **b).abs() <= bar[2]).count();
    assert!(covered * 100 >= 95 * l.rows, "{covered} of {}", l.rows);
    assert!(rows().all(|(bar, _)| bar[1] == 0.0 && bar[2] == bar[0]));
    let worst = bars.data.chunks_exact(3).map(|bar| bar[2]).fold(0.0, f64::max);
    // One number, through decimals.
    assert!((facts["error_bars"]["max"].as_f64().unwrap() / worst - 1.0).abs() < 1e-6);
    // Tight, too: the path's tolerance is 1e-5.
    assert!(facts["error_bars"]["median"].as_f64().unwrap() < 1e-4, "{facts}");

    let facts = json(at, "density m.safetensors x.npy -o l.npy --error-bars b.npy --trace hutchinson:4");
    let bars = read("b.npy");
    // Both parts are there, and the probes' is by far the larger.
    assert!(bars.data.chunks_exact(3).all(|bar| (bar[2] - bar[0].hypot(bar[1])).abs() <= 1e-6 * bar[2]));
    assert!(facts["error_bars"]["median"].as_f64().unwrap() > 0.01, "{facts}");
}

#[test]
fn a_conditional_model_is_calibrated_on_its_own_samples_and_too_sharp_or_wide_on_others() {
    let model = random(2, 1, &[16], 3.0);
    let flow = model.bind(Precision::F32).unwrap();
    let conditions = StandardNormal::new(1).draw(900, &mut stream(21, 0));
    let own = flow.sample_rows(5, 0, 900, &conditions).unwrap().y;
    let judged = |scale: f64| {
        let x: Vec<f64> = own.iter().map(|v| scale * v).collect();
        let conditional = Rows::under(x, conditions.clone());
        let subject = Subject { condition: vec![0.3], conditional, n: 60, ..subject(model.clone()) };
        let evidence = DiagnosticSamples::gather(&subject).unwrap();
        let (_, test) = CHECKS.iter().find(|line| line.0 == "calibration").unwrap();
        (test(&evidence).unwrap(), ranks(&subject).unwrap().unwrap())
    };
    let (line, right) = judged(1.0);
    assert!(line.verdict == Verdict::Pass && line.value.unwrap() < 0.06, "{line:?}");
    assert_eq!(right, judged(1.0).1);
    // Of 900 uniform ranks the mean is within 4 standard errors of a half.
    let mean = right.values.iter().sum::<f64>() / 900.0;
    assert!((mean - 0.5).abs() < 4.0 / (12.0f64 * 900.0).sqrt(), "{mean}");
    let curve = right.coverage();
    assert_eq!((curve[0], curve[901]), ((0.0, 0.0), (1.0, 1.0)));
    assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
    assert!(curve.iter().all(|(level, inside)| (level - inside).abs() < 1.5 * right.noise()));
    for (scale, words) in [(2.0, "too sharp"), (0.5, "too wide")] {
        let (line, _) = judged(scale);
        assert!(line.verdict == Verdict::Fail && line.words.contains(words), "{line:?}");
    }
    let none = Subject { n: 60, ..subject(random(2, 0, &[8], 1.0)) };
    assert_eq!(ranks(&none).unwrap().unwrap_err(), "the model has no condition");
}

#[test]
fn the_command_draws_the_coverage_of_a_conditional_model() {
    let folder = folder();
    let at = folder.path();
    conditional(at);
    let out = cnf(at, "sample c.safetensors -n 300 -o own.npy --given 0.5");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let facts = json(at, "check c.safetensors own.npy --given 0.5 -n 100 --plot coverage.svg");
    let line = facts["checks"].as_array().unwrap().iter().find(|line| line["name"] == "calibration").unwrap().clone();
    assert_eq!(line["verdict"], "pass", "{line}");
    let svg = std::fs::read_to_string(at.join("coverage.svg")).unwrap();
    assert!(svg.contains("held-out rows inside") && svg.contains("calibrated"));
    let out = cnf(at, "check m.safetensors x.npy --plot no.svg");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && err.contains("of a model with conditions") && !at.join("no.svg").exists());
}
