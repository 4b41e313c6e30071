//! Laws of training, over every objective.

use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor, Var};
use cnf::data::{DataOptions, Dataset, Source, resolve};
use cnf::flow::{SolverSpec, VelocitySpec};
use cnf::rng;
use cnf::train::{Batch, Fitted, Job, Objective, Precision, Progress, Scene, Watch, fit, score, split_rule};
use cnf::velocity::layers::{Layer, LayerNetSpec};
use cnf::velocity::{Activation, MlpSpec, TimeInput};

fn toy(name: &str) -> Dataset {
    resolve(name, &DataOptions { held_out: 1000, ..DataOptions::default() }, 0).unwrap()
}

/// A small job of so many steps.
fn job(objective: Objective, steps: usize) -> Job {
    Job {
        objective,
        hidden: Some(vec![16, 16]),
        batch: Some(300),
        steps: Some(steps),
        validations: 0,
        solver: SolverSpec { rtol: 1e-4, atol: 1e-4, ..SolverSpec::default() },
        ..Job::default()
    }
}

fn on(threads: usize, job: &Job, data: &Dataset) -> Fitted {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| fit(job, data, &mut ()).unwrap())
}

fn mlp(dim: usize, hidden: &[usize]) -> VelocitySpec {
    let (activation, time) = (Activation::Silu, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim: 0, hidden: hidden.to_vec(), activation, time })
}

#[test]
fn fifty_steps_have_the_same_bits_on_any_number_of_threads_and_again() {
    let data = toy("moons");
    for objective in Objective::ALL {
        let job = job(objective, 50);
        let one = on(1, &job, &data);
        assert_eq!(one.steps, 50);
        for threads in [1, 2] {
            let other = on(threads, &job, &data);
            assert_eq!(one.model.theta, other.model.theta, "{} on {threads} threads", objective.name());
            let losses = |fitted: &Fitted| fitted.history.marks().iter().map(|m| m.loss).collect::<Vec<_>>();
            assert_eq!(losses(&one), losses(&other), "{}", objective.name());
        }
        let other_seed = on(1, &Job { seed: 1, ..job }, &data);
        assert_ne!(one.model.theta, other_seed.model.theta);
    }
}

#[test]
fn looking_on_does_not_change_the_run() {
    let data = toy("moons");
    let blind = job(Objective::Matching, 40);
    let seen = Job { validations: 10, ..blind.clone() };
    let fitted = fit(&seen, &data, &mut ()).unwrap();
    assert!(!fitted.history.validations.is_empty());
    assert_eq!(fitted.model.theta, fit(&blind, &data, &mut ()).unwrap().model.theta);
}

#[test]
fn every_objective_reduces_the_excess_over_the_true_density() {
    let data = toy("8gaussians");
    for (objective, steps, lr) in [(Objective::Matching, 600, 1e-2), (Objective::Likelihood, 80, 2e-2)] {
        let excess = |steps| {
            let job = Job { lr: Some(lr), hidden: Some(vec![32, 32]), ..job(objective, steps) };
            let fitted = fit(&job, &data, &mut ()).unwrap();
            score(&fitted.model.flow(DType::F32).unwrap(), &data.test, data.toy()).unwrap().excess.unwrap()
        };
        let ((before, _), (after, se)) = (excess(1), excess(steps));
        assert!(se < 0.05 && after > -4.0 * se, "{}: {after} ± {se}", objective.name());
        assert!(after < 0.75 * before, "{}: from {before} to {after}", objective.name());
    }
}

#[test]
fn the_gradient_of_every_loss_is_that_of_central_differences() {
    let layers = VelocitySpec::Layers(LayerNetSpec {
        dim: 2,
        condition_dim: 0,
        layers: vec![
            Layer::ConcatSquash { inputs: 2, outputs: 5 },
            Layer::Activation(Activation::Tanh),
            Layer::ConcatLinear { inputs: 5, outputs: 2 },
        ],
    });
    for velocity in [mlp(2, &[6, 5]), mlp(3, &[5, 4, 3]), layers] {
        let d = velocity.dim();
        // More rows than a chunk, and not a multiple of anything.
        let n = 131;
        let normal = |stream| cnf::flow::StandardNormal::new(d).draw(n, &mut rng::stream(7, stream));
        let batch =
            Batch { x: normal(1), z: normal(2), t: (0..n).map(|i| i as f64 / n as f64).collect(), probe_seed: 0 };
        let solver = SolverSpec { fixed_steps: Some(3), ..SolverSpec::default() };
        let scene = Scene { velocity: velocity.clone(), solver, path: Default::default() };
        let theta: Vec<f64> = velocity.init(&mut rng::stream(7, 3)).into_iter().map(f64::from).collect();
        for objective in Objective::ALL {
            let loss = |theta: &[f64]| {
                let var = Var::from_slice(theta, theta.len(), &Device::Cpu).unwrap();
                (objective.loss(&scene, var.as_tensor(), &batch).unwrap(), var)
            };
            // A scaled loss has a scaled gradient.
            let (value, var) = loss(&theta);
            let gradients = (value * 3.0).unwrap().backward().unwrap();
            let gradient = gradients.get(&var).unwrap().to_vec1::<f64>().unwrap();
            let eps = 1e-5;
            for i in (0..theta.len()).step_by(5) {
                let (mut up, mut down) = (theta.clone(), theta.clone());
                up[i] += eps;
                down[i] -= eps;
                let at = |theta: &[f64]| loss(theta).0.to_scalar::<f64>().unwrap();
                let difference = 3.0 * (at(&up) - at(&down)) / (2.0 * eps);
                // Truncation ε² = 1e-10, round-off 1e-15/ε = 1e-10.
                let off = (difference - gradient[i]).abs();
                assert!(off < 1e-8, "{} {velocity:?} θ[{i}]: {} against {difference}", objective.name(), gradient[i]);
            }
        }
    }
}

#[test]
fn a_table_is_standardised_inside_the_model_and_scored_in_its_own_units() {
    let mut rng = rng::stream(3, 0);
    // Correlated columns of very different sizes.
    let mut rows = |n: usize| -> Vec<f64> {
        let z = cnf::flow::StandardNormal::new(2).draw(n, &mut rng);
        z.chunks_exact(2).flat_map(|z| [1000.0 + 50.0 * z[0], 0.01 * (0.6 * z[0] + 0.8 * z[1])]).collect()
    };
    let (train, test) = (rows(4000), rows(2000));
    let data =
        Dataset { name: "rows".into(), dim: 2, columns: None, train: Source::Rows(train), valid: Vec::new(), test };
    let fitted = fit(&job(Objective::Matching, 800), &data, &mut ()).unwrap();
    let score = score(&fitted.model.flow(DType::F64).unwrap(), &data.test, None).unwrap();
    // Entropy of the normal: 1 + ln 2π + ln 50 + ln 0.008.
    let entropy = 1.0 + std::f64::consts::TAU.ln() + (50.0f64 * 0.008).ln();
    assert!((score.nll - entropy).abs() < 0.05 + 4.0 * score.nll_se, "{} against {entropy}", score.nll);
    assert!((fitted.log_volume - (50.0f64 * 0.01).ln()).abs() < 0.1);
}

#[test]
fn a_job_survives_being_written() {
    let full = Job {
        split: "column:set".into(),
        objective: Objective::Likelihood,
        init: Some("model.safetensors".into()),
        time: Some(60.0),
        precision: Precision::F64,
        lr: Some(0.1 + 0.2),
        solver: SolverSpec { trace: "hutchinson:3".parse().unwrap(), fixed_steps: Some(8), ..SolverSpec::default() },
        ..Job::default()
    };
    for job in [Job::default(), full, Job::default().resolve(43).unwrap()] {
        assert_eq!(Job::from_toml(&job.to_toml().unwrap()).unwrap(), job);
    }
    assert_eq!(Job::from_toml("").unwrap(), Job::default());
    let text = Job::from_toml("lerning_rate = 1").unwrap_err().to_string();
    assert!(text.contains("lerning_rate"), "{text}");
}

#[test]
fn a_resolved_job_says_everything_and_stays_as_it_is() {
    for dim in [1, 2, 8, 9, 64] {
        for objective in Objective::ALL {
            let job = Job { objective, ..Job::default() }.resolve(dim).unwrap();
            assert!(job.hidden.is_some() && job.batch.is_some() && job.lr.is_some() && job.time.is_some());
            assert_eq!(job.clone().resolve(dim).unwrap(), job);
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let data = toy("moons");
    let base = job(Objective::Matching, 5);
    let wrong = [
        (Job { lr: Some(0.0), ..base.clone() }, "learning rate"),
        (Job { lr: Some(f64::NAN), ..base.clone() }, "learning rate"),
        (Job { batch: Some(0), ..base.clone() }, "batch of 0"),
        (Job { steps: Some(0), ..base.clone() }, "0 steps"),
        (Job { time: Some(-1.0), ..base.clone() }, "-1 seconds"),
        (Job { ema: 1.0, ..base.clone() }, "decay 1"),
        (Job { clip: 0.0, ..base.clone() }, "clip"),
        (Job { spread: 0.0, ..base.clone() }, "deviation 0"),
        (Job { batch: Some(usize::MAX), ..base.clone() }, "rows of 2 columns"),
        (Job { validations: usize::MAX, ..base.clone() }, "validations"),
        (Job { hidden: Some(vec![1 << 20; 3]), ..base.clone() }, "parameters (3 → 1048576"),
        (Job { solver: SolverSpec { rtol: 0.0, atol: 1e-9, ..SolverSpec::default() }, ..base.clone() }, "f32"),
        (Job { hidden: Some(vec![4, 0]), ..base.clone() }, "width 0"),
        (Job { split: "sideways".into(), ..base.clone() }, "sideways"),
        (Job { solver: SolverSpec { method: "magic".into(), ..SolverSpec::default() }, ..base.clone() }, "magic"),
        (Job { init: Some("nowhere.safetensors".into()), ..base.clone() }, "no such file"),
    ];
    for (job, word) in wrong {
        let text = fit(&job, &data, &mut ()).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
    let implicit = SolverSpec { method: "bdf".into(), ..SolverSpec::default() };
    let error = fit(&Job { solver: implicit, ..job(Objective::Likelihood, 5) }, &data, &mut ()).unwrap_err();
    assert!(error.to_string().contains("no gradient") && error.hint().unwrap().contains("dopri5"), "{error}");
    let mut holed = data.clone();
    holed.train = Source::Rows(vec![0.0, 1.0, f64::NAN, 3.0]);
    let text = fit(&base, &holed, &mut ()).unwrap_err().to_string();
    assert!(text.contains("row 1 of the training set has NaN in column 0"), "{text}");
    assert!(split_rule("column:").is_err());
}

#[test]
fn a_loss_that_is_not_finite_is_named_with_its_step() {
    let data = toy("moons");
    for objective in Objective::ALL {
        let job = Job { lr: Some(1e30), clip: f64::INFINITY, ..job(objective, 50) };
        let error = fit(&job, &data, &mut ()).unwrap_err();
        let (text, hint) = (error.to_string(), error.hint().unwrap());
        assert!(text.contains("at step ") && hint.contains("--lr"), "{text}; {hint}");
    }
}

#[test]
fn a_run_can_be_ended_after_any_step_and_goes_on_from_its_model() {
    struct Until(usize);
    impl Watch for Until {
        fn see(&mut self, progress: &Progress) -> ControlFlow<()> {
            if progress.mark.step == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let data = toy("moons");
    let fitted = fit(&job(Objective::Matching, 1000), &data, &mut Until(7)).unwrap();
    assert!(fitted.stopped && fitted.steps == 7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fitted.model.save(&path).unwrap();
    let start = cnf::flow::Model::load(&path).unwrap();
    let next = Job { init: Some(path), hidden: None, lr: Some(1e-30), ..job(Objective::Likelihood, 1) };
    let went_on = fit(&next, &data, &mut ()).unwrap();
    assert_eq!(went_on.model.spec.velocity, fitted.model.spec.velocity);
    assert_eq!(went_on.model.spec.standardise, start.spec.standardise);
    assert_eq!(went_on.model.theta, fitted.model.theta);
    let wide = Job { hidden: Some(vec![3]), ..next };
    assert!(
        fit(&wide, &data, &mut ())
            .unwrap_err()
            .to_string()
            .contains("hidden is [3], but the model to start from has [16, 16]")
    );
}

#[test]
fn a_model_of_another_kind_is_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let save = |dim, condition_dim| {
        let velocity = VelocitySpec::Mlp(MlpSpec {
            dim,
            condition_dim,
            hidden: vec![4],
            activation: Activation::Tanh,
            time: TimeInput::Plain,
        });
        let theta = velocity.init(&mut rng::stream(0, 0));
        let spec = cnf::flow::FlowSpec { velocity, solver: SolverSpec::default(), standardise: None };
        cnf::flow::Model { spec, theta, story: Default::default() }.save(&path).unwrap();
    };
    let start = Job { init: Some(path.clone()), hidden: None, ..job(Objective::Matching, 1) };
    let refused = || fit(&start, &toy("moons"), &mut ()).unwrap_err().to_string();
    save(2, 3);
    assert!(refused().contains("conditional on 3 columns"));
    save(5, 0);
    assert!(refused().contains("has 5 columns, expected 2"));
}

#[test]
fn a_score_counts_what_it_scored() {
    let fitted = fit(&job(Objective::Matching, 3), &toy("moons"), &mut ()).unwrap();
    let flow = fitted.model.flow(DType::F64).unwrap();
    let x = toy("moons").test;
    let all = score(&flow, &x, None).unwrap();
    assert_eq!((all.n, all.failed.len(), all.excess), (1000, 0, None));
    let rows = Tensor::from_slice(&x, (1000, 2), &Device::Cpu).unwrap();
    let (_, log_prob, _) = flow.encode(&rows, None).unwrap();
    let mean = log_prob.mean_all().unwrap().to_scalar::<f64>().unwrap();
    assert!((all.nll + mean).abs() < 1e-12 && all.nll_se > 0.0 && all.nfe_mean > 6.0);
}
