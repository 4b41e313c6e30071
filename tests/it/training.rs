//! Laws of training, over every objective.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use cnflow::continuous::{LogDensity, SolverSpec};
use cnflow::io::safetensors::ModelFile;
use cnflow::model::{Architecture, Model};
use cnflow::rng;
use cnflow::rows::{DataOptions, Dataset, Rows, Source, resolve};
use cnflow::train::{
    AdamW, Batch, Checkpoint, Criterion, FixedTree, Job, LossContext, LossGradient, Objective, Pairing, Partial,
    Progress, Reduce, StepSize, Sums, TrainResult, Watch, fit, resume, score, split_rule,
};
use cnflow::transform::{Base, Mixture, StandardNormal};
use cnflow::velocity::layers::{Layer, LayerNetSpec};
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

use crate::common::watch::Every;

fn toy(name: &str) -> Dataset {
    resolve(name, &DataOptions { held_out: 1000, ..DataOptions::default() }, 0).unwrap()
}

/// A small job of so many steps.
fn job(objective: Objective, steps: usize) -> Job {
    Job::default().with(|job| {
        job.objective.kind = objective;
        job.model.hidden = Some(vec![16, 16]);
        job.optimiser.batch = Some(300);
        job.optimiser.steps = Some(steps);
        job.optimiser.validations = 0;
        job.solver = SolverSpec { rtol: 1e-4, atol: 1e-4, ..SolverSpec::default() };
    })
}

fn on(threads: usize, job: &Job, data: &Dataset) -> TrainResult {
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
            let losses = |fitted: &TrainResult| fitted.history.records().iter().map(|m| m.loss).collect::<Vec<_>>();
            assert_eq!(losses(&one), losses(&other), "{}", objective.name());
        }
        let other_seed = on(1, &job.with(|job| job.seed = 1), &data);
        assert_ne!(one.model.theta, other_seed.model.theta);
    }
}

#[test]
fn looking_on_does_not_change_the_run() {
    let data = toy("moons");
    let blind = job(Objective::Matching, 40);
    let seen = blind.clone().with(|job| job.optimiser.validations = 10);
    let fitted = fit(&seen, &data, &mut ()).unwrap();
    assert!(!fitted.history.validations.is_empty());
    assert_eq!(fitted.model.theta, fit(&blind, &data, &mut ()).unwrap().model.theta);
}

#[test]
fn every_objective_reduces_the_excess_over_the_true_density() {
    let data = toy("8gaussians");
    for (objective, steps, lr) in [(Objective::Matching, 600, 1e-2), (Objective::Likelihood, 80, 2e-2)] {
        let excess = |steps| {
            let job = job(objective, steps).with(|job| {
                job.optimiser.lr = Some(lr);
                job.model.hidden = Some(vec![32, 32]);
            });
            let fitted = fit(&job, &data, &mut ()).unwrap();
            score(&fitted.model.bind(Precision::F32).unwrap(), &data.test, data.toy()).unwrap().excess.unwrap()
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
        let normal = |stream| cnflow::transform::StandardNormal::new(d).draw(n, &mut rng::stream(7, stream));
        let t = (0..n).map(|i| i as f64 / n as f64).collect();
        let batch = Batch { x: normal(1), z: normal(2), t, end: 1.3, ..Batch::default() };
        let solver = SolverSpec { fixed_steps: Some(3), ..SolverSpec::default() };
        // The penalties have no say in matching.
        let plain = LossContext { kinetic: 0.3, jacobian: 0.2, ..LossContext::new(velocity.clone(), solver) };
        let mixture = LossContext { base: Base::Mixture(two_gaussians(d)), ..plain.clone() };
        let theta: Vec<f64> = velocity.init(&mut rng::stream(7, 3)).into_iter().map(f64::from).collect();
        let cases = [(Criterion::Matching, &plain), (Criterion::Likelihood, &plain), (Criterion::Likelihood, &mixture)];
        for (objective, context) in cases {
            let loss = |theta: &[f64]| objective.gradient(context, theta, Precision::F64, &batch).unwrap();
            let gradient = loss(&theta).gradient;
            let eps = 1e-5;
            for i in (0..theta.len()).step_by(5) {
                let (mut up, mut down) = (theta.clone(), theta.clone());
                up[i] += eps;
                down[i] -= eps;
                let difference = (loss(&up).loss - loss(&down).loss) / (2.0 * eps);
                // Truncation ε² = 1e-10, round-off 1e-15/ε = 1e-10.
                let off = (difference - gradient[i]).abs();
                assert!(off < 1e-8, "{} {velocity:?} θ[{i}]: {} against {difference}", objective.name(), gradient[i]);
            }
        }
    }
}

/// A mixture of two, neither round nor at the origin.
fn two_gaussians(d: usize) -> Mixture {
    let means = (0..2 * d).map(|i| 0.4 * (i as f64) - 0.5).collect();
    let mut factors = vec![0.0; 2 * d * d];
    for (k, factor) in factors.chunks_exact_mut(d * d).enumerate() {
        for i in 0..d {
            factor[i * d + i] = 0.7 + 0.2 * (k + i) as f64;
            (0..i).for_each(|j| factor[i * d + j] = 0.3 - 0.2 * k as f64);
        }
    }
    Mixture::new(vec![0.3, 0.7], means, factors).unwrap()
}

#[test]
fn partials_that_are_computed_apart_have_the_sum_of_one_process() {
    // Nine chunks: two ranks compute what falls to them, in their own order, and the partials are put back in order.
    let partial = |chunk: usize| {
        let number = |i: usize| 1.0 / (1.0 + (7 * chunk + i) as f64);
        Partial {
            sums: Sums { rows: 128.0, loss: number(0), kinetic: number(1), jacobian: number(2), nfe: 42.0 },
            failures: if chunk == 5 { vec![(700, cnflow::error::Failure::Point)] } else { Vec::new() },
            gradient: (0..40).map(|i| number(i) as f32).collect(),
            gradient_f64: (0..3).map(number).collect(),
        }
    };
    let sum = |partials: Vec<Partial<f32>>| FixedTree.sum(9, Ok(partials)).unwrap();
    let whole = sum((0..9).map(partial).collect());
    let mut apart: Vec<(usize, Partial<f32>)> = [8, 6, 4, 2, 0, 7, 5, 3, 1].map(|chunk| (chunk, partial(chunk))).into();
    apart.sort_by_key(|(chunk, _)| *chunk);
    assert_eq!(sum(apart.into_iter().map(|(_, partial)| partial).collect()), whole);
    assert_eq!(
        (whole.sums.rows, whole.sums.nfe, &whole.failures[..]),
        (9.0 * 128.0, 9.0 * 42.0, &[(700, cnflow::error::Failure::Point)][..])
    );
    let sum = |i: usize| (0..9).map(|chunk| 1.0 / (1.0 + (7 * chunk + i) as f64)).sum::<f64>();
    // Nine terms in another order.
    assert!((whole.sums.loss - sum(0)).abs() < 1e-14 && (whole.gradient_f64[2] - sum(2)).abs() < 1e-14);
    assert!(whole.gradient.iter().enumerate().all(|(i, g)| (f64::from(*g) - sum(i)).abs() < 1e-6));
}

#[test]
fn a_batch_that_does_not_fit_is_refused_in_words() {
    let velocity = mlp(2, &[4]);
    let theta: Vec<f64> = velocity.init(&mut rng::stream(1, 0)).into_iter().map(f64::from).collect();
    let context = LossContext::new(velocity, SolverSpec::default());
    let batch =
        |x: usize, c: usize, z: usize| Batch { x: vec![0.1; x], c: vec![0.1; c], z: vec![0.1; z], ..Batch::default() };
    let refuse = |criterion: Criterion, theta: &[f64], batch: Batch, part: &str| {
        let text = criterion.gradient(&context, theta, Precision::F64, &batch).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    refuse(Criterion::Likelihood, &theta, batch(0, 0, 0), "a loss of 0 rows");
    refuse(Criterion::Likelihood, &theta, batch(3, 0, 0), "expected 2");
    refuse(Criterion::Likelihood, &theta, batch(4, 1, 0), "1 numbers of conditions in a batch of 2 rows, expected 0");
    refuse(Criterion::Matching, &theta, batch(4, 0, 2), "2 numbers of latents in a batch of 2 rows, expected 4");
    refuse(Criterion::Matching, &theta, batch(4, 0, 4), "0 numbers of times in a batch of 2 rows, expected 2");
    refuse(Criterion::Likelihood, &theta[1..], batch(4, 0, 0), "expected");
    for end in [0.0, -0.5, 2.1, f64::NAN, f64::INFINITY] {
        let part = format!("cannot end at time {}", cnflow::words::exact(end));
        refuse(Criterion::Likelihood, &theta, Batch { end, ..batch(4, 0, 0) }, &part);
    }
}

#[test]
fn steps_of_the_optimiser_are_those_of_candle_nn() {
    let mut rng = rng::stream(5, 0);
    let mut draw = |n: usize| StandardNormal::new(1).draw(n, &mut rng);
    let mut theta = draw(37);
    let var = Var::from_slice(&theta, theta.len(), &Device::Cpu).unwrap();
    let (decay, betas) = (0.03, [0.8, 0.99]);
    let params = ParamsAdamW { weight_decay: decay, beta1: betas[0], beta2: betas[1], ..ParamsAdamW::default() };
    let mut oracle = candle_nn::AdamW::new(vec![var.clone()], params).unwrap();
    let mut ours = AdamW::new(theta.len());
    for step in 0..50 {
        let lr = 1e-2 / (1.0 + f64::from(step));
        let gradient = draw(theta.len());
        // A loss whose gradient is the one that was drawn.
        let weights = Tensor::from_slice(&gradient, gradient.len(), &Device::Cpu).unwrap();
        let loss = (var.as_tensor() * weights).unwrap().sum_all().unwrap();
        oracle.set_learning_rate(lr);
        oracle.backward_step(&loss).unwrap();
        ours.step(&mut theta, &gradient, 1.0, StepSize { betas, ..StepSize::new(lr, decay) });
    }
    for (a, b) in theta.iter().zip(var.to_vec1::<f64>().unwrap()) {
        // Two orders of the same operations, fifty times.
        assert!((a - b).abs() < 1e-13, "{a} against {b}");
    }
}

#[test]
fn a_penalised_loss_is_the_sum_of_its_parts_and_without_weights_the_likelihood() {
    let velocity = mlp(2, &[8, 8]);
    let theta: Vec<f64> = velocity.init(&mut rng::stream(4, 0)).into_iter().map(|w| 2.0 * f64::from(w)).collect();
    let mut x = cnflow::transform::StandardNormal::new(2).draw(50, &mut rng::stream(4, 1));
    let solver = SolverSpec { fixed_steps: Some(8), method: "rk4".into(), ..SolverSpec::default() };
    let plain = LossContext::new(velocity.clone(), solver.clone());
    // A row that is lost is left out of every mean.
    for lost in [false, true] {
        if lost {
            x.extend([f64::NAN, 0.0]);
        }
        for end in [1.0, 1.4] {
            let batch = Batch { x: x.clone(), end, ..Batch::default() };
            let of = |kinetic, jacobian| {
                let context = LossContext { kinetic, jacobian, ..plain.clone() };
                let found = Criterion::Likelihood.gradient(&context, &theta, Precision::F64, &batch).unwrap();
                (found.loss, found.parts.unwrap())
            };
            let (without, alone) = of(0.0, 0.0);
            let (loss, parts) = of(0.3, 0.2);
            assert_eq!((alone.kinetic, alone.jacobian), (0.0, 0.0));
            assert_eq!(without.to_bits(), alone.nll.to_bits());
            // Four evaluations a step; a lost row is given up after its first.
            let nfe = if lost { (32.0 * 50.0 + 1.0) / 51.0 } else { 32.0 };
            assert_eq!((parts.nll.to_bits(), parts.nfe_mean), (alone.nll.to_bits(), nfe));
            let sum = parts.nll + 0.3 * parts.kinetic + 0.2 * parts.jacobian;
            assert!((loss - sum).abs() < 1e-14 * sum.abs().max(1.0), "{loss} or {sum}");
            assert!(parts.kinetic > 0.1 && parts.jacobian > 0.1, "{parts:?}");
            let (_, kinetic) = of(0.3, 0.0);
            assert_eq!((kinetic.kinetic, kinetic.jacobian), (parts.kinetic, 0.0));
        }
    }
}

#[test]
fn penalties_straighten_the_paths_at_a_small_price_in_likelihood() {
    let velocity = mlp(2, &[16, 16]);
    let start: Vec<f64> = velocity.init(&mut rng::stream(5, 0)).into_iter().map(f64::from).collect();
    let x = toy("8gaussians").test.x.part(0..400).into_owned();
    let batch = Batch { x, ..Batch::default() };
    let solver = SolverSpec { fixed_steps: Some(8), method: "rk4".into(), ..SolverSpec::default() };
    let plain = LossContext::new(velocity.clone(), solver.clone());
    let gradient = |weight, theta: &[f64]| {
        let context = LossContext { kinetic: weight, jacobian: weight, ..plain.clone() };
        Criterion::Likelihood.gradient(&context, theta, Precision::F64, &batch).unwrap()
    };
    // Both penalties and the NLL, after as many steps with and without.
    let train = |weight| {
        let (mut theta, mut optimiser) = (start.clone(), AdamW::new(start.len()));
        for _ in 0..60 {
            let by_theta = gradient(weight, &theta).gradient;
            optimiser.step(&mut theta, &by_theta, 1.0, StepSize::new(0.02, 0.0));
        }
        gradient(1.0, &theta).parts.unwrap()
    };
    let (free, penalised) = (train(0.0), train(0.05));
    // Seen: 3.08 → 2.37, 2.48 → 1.47 and 3.24 → 3.28.
    assert!(penalised.kinetic < 0.85 * free.kinetic, "{penalised:?} {free:?}");
    assert!(penalised.jacobian < 0.7 * free.jacobian, "{penalised:?} {free:?}");
    assert!(penalised.nll < free.nll + 0.1, "{penalised:?} {free:?}");
}

#[test]
fn a_table_is_standardised_inside_the_model_and_scored_in_its_own_units() {
    let mut rng = rng::stream(3, 0);
    // Correlated columns of very different sizes.
    let mut rows = |n: usize| -> Rows {
        let z = cnflow::transform::StandardNormal::new(2).draw(n, &mut rng);
        Rows::new(z.chunks_exact(2).flat_map(|z| [1000.0 + 50.0 * z[0], 0.01 * (0.6 * z[0] + 0.8 * z[1])]).collect())
    };
    let (train, test) = (rows(4000), rows(2000));
    let data = Dataset {
        name: "rows".into(),
        dim: 2,
        shape: None,
        columns: None,
        train: Source::Rows(train),
        valid: Rows::default(),
        test,
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    };
    let fitted = fit(&job(Objective::Matching, 800), &data, &mut ()).unwrap();
    let score = score(&fitted.model.bind(Precision::F64).unwrap(), &data.test, None).unwrap();
    // Entropy of the normal: 1 + ln 2π + ln 50 + ln 0.008.
    let entropy = 1.0 + std::f64::consts::TAU.ln() + (50.0f64 * 0.008).ln();
    assert!((score.nll - entropy).abs() < 0.05 + 4.0 * score.nll_se, "{} against {entropy}", score.nll);
    assert!((fitted.log_volume - (50.0f64 * 0.01).ln()).abs() < 0.1);
}

#[test]
fn a_job_survives_being_written() {
    let full = Job::default().with(|job| {
        job.data.split = "column:set".into();
        job.objective.kind = Objective::Likelihood;
        job.model.init = Some("model.safetensors".into());
        job.optimiser.time = Some(60.0);
        job.model.precision = Precision::F64;
        job.optimiser.lr = Some(0.1 + 0.2);
        job.solver =
            SolverSpec { trace: "hutchinson:3".parse().unwrap(), fixed_steps: Some(8), ..SolverSpec::default() };
    });
    for job in [Job::default(), full, Job::default().resolve(43).unwrap()] {
        assert_eq!(Job::from_toml(&job.to_toml().unwrap()).unwrap(), job);
    }
    assert_eq!(Job::from_toml("").unwrap(), Job::default());
    // One flat table, as jobs once were, with the order and the names of then.
    let flat = "data = \"8gaussians\"\nsplit = \"column:set\"\nseed = 4\nmodel = \"spline\"\nobjective = \"likelihood\"\nlate = 2.0\n\
                hidden = [8]\nlr = 0.5\nprecision = \"f64\"\n[solver]\nmethod = \"tsit5\"\n[picture]\nnames = [\"a\"]\n";
    let wanted = Job::default().with(|job| {
        job.seed = 4;
        job.data.split = "column:set".into();
        (job.model.family, job.model.hidden) = ("spline".parse().unwrap(), Some(vec![8]));
        (job.objective.kind, job.objective.time_exponent) = (Objective::Likelihood, Some(2.0));
        (job.model.precision, job.optimiser.lr) = (Precision::F64, Some(0.5));
        job.solver.method = "tsit5".into();
        job.output.picture.names = vec!["a".into()];
    });
    assert_eq!(Job::from_toml(flat).unwrap(), wanted);
    // What a run did not say yet had another meaning then.
    let run = Job::of_run(flat).unwrap();
    assert!(!run.data.copies_together && run.data.far_rows == cnflow::train::FarRows::Keep);
    assert!(Job::of_run(&format!("copies_together = true\n{flat}")).unwrap().data.copies_together);
    for (broken, part) in [
        ("steps = \"many\"", "many"),
        ("[optimiser]\nlerning_rate = 1", "line 2"),
        ("lr = 1.0\n[optimiser]\nlr = 2.0", "`lr` is given twice"),
    ] {
        let text = Job::from_toml(broken).unwrap_err().to_string();
        assert!(text.contains(part), "{broken}: {text}");
    }
    let text = Job::from_toml("lerning_rate = 1").unwrap_err().to_string();
    assert!(text.contains("lerning_rate"), "{text}");
}

#[test]
fn a_resolved_job_says_everything_and_stays_as_it_is() {
    for dim in [1, 2, 8, 9, 64] {
        for objective in Objective::ALL {
            let job = Job::default().with(|job| job.objective.kind = objective).resolve(dim).unwrap();
            assert!(
                job.model.hidden.is_some()
                    && job.optimiser.batch.is_some()
                    && job.optimiser.lr.is_some()
                    && job.optimiser.time.is_some()
            );
            assert_eq!(job.clone().resolve(dim).unwrap(), job);
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let data = toy("moons");
    let (base, mixed) = (job(Objective::Matching, 5), job(Objective::Mixed, 5));
    let wrong = [
        (base.clone().with(|job| job.optimiser.lr = Some(0.0)), "learning rate"),
        (base.clone().with(|job| job.optimiser.lr = Some(f64::NAN)), "learning rate"),
        (base.clone().with(|job| job.optimiser.batch = Some(0)), "batch of 0"),
        (base.clone().with(|job| job.optimiser.steps = Some(0)), "0 steps"),
        (base.clone().with(|job| job.optimiser.time = Some(-1.0)), "-1 seconds"),
        (base.clone().with(|job| job.optimiser.ema = 1.0), "decay 1"),
        (base.clone().with(|job| job.optimiser.clip = 0.0), "clip"),
        (base.clone().with(|job| job.data.spread = Some(0.0)), "deviation of 0"),
        (base.clone().with(|job| job.optimiser.batch = Some(usize::MAX)), "rows of 2 columns"),
        (base.clone().with(|job| job.optimiser.validations = usize::MAX), "validations"),
        (base.clone().with(|job| job.model.hidden = Some(vec![1 << 20; 3])), "parameters (3 → 1048576"),
        (base.clone().with(|job| job.solver = SolverSpec { rtol: 0.0, atol: 1e-9, ..SolverSpec::default() }), "f32"),
        (base.clone().with(|job| job.model.hidden = Some(vec![4, 0])), "width 0"),
        (base.clone().with(|job| job.data.split = "sideways".into()), "sideways"),
        (base.clone().with(|job| job.solver = SolverSpec { method: "magic".into(), ..SolverSpec::default() }), "magic"),
        (base.clone().with(|job| job.model.init = Some("nowhere.safetensors".into())), "the file does not exist"),
        (base.clone().with(|job| job.output.checkpoint = "often".into()), "interval `often`"),
        (base.clone().with(|job| job.output.checkpoint = "0".into()), "interval `0`"),
        (base.clone().with(|job| job.model.base = "uniform".into()), "unknown `model.base` `uniform`"),
        (base.clone().with(|job| job.model.base = "mixture:0".into()), "mixture:0"),
        (base.clone().with(|job| job.data.columns = vec!["angle".into()]), "expected NAME:KIND"),
        (base.clone().with(|job| job.data.columns = vec!["0:round".into()]), "round"),
        (mixed.clone().with(|job| job.objective.likelihood_share = 1.0), "share of 1"),
        (mixed.clone().with(|job| job.objective.likelihood_tol = Some(2.0)), "tolerance of 2"),
        (mixed.clone().with(|job| job.objective.likelihood_batch = Some(0)), "batch of 0"),
        (mixed.clone().with(|job| job.objective.likelihood_lr = Some(-1.0)), "learning rate of -1"),
        (base.clone().with(|job| job.objective.pairing_block = 64), "no meaning for independent pairs"),
        (
            base.clone().with(|job| {
                job.objective.kinetic = -0.5;
                job.objective.kind = Objective::Likelihood;
            }),
            "kinetic penalty of -0.5",
        ),
        (
            base.clone().with(|job| {
                job.objective.jacobian = f64::INFINITY;
                job.objective.kind = Objective::Likelihood;
            }),
            "jacobian penalty of inf",
        ),
        (
            base.clone().with(|job| {
                job.objective.jacobian = f64::NAN;
                job.objective.kind = Objective::Likelihood;
            }),
            "jacobian penalty",
        ),
        (
            base.clone().with(|job| {
                job.objective.steer = 1.0;
                job.objective.kind = Objective::Likelihood;
            }),
            "end time of 1 ± 1",
        ),
        (
            base.clone().with(|job| {
                job.objective.nfe_target = Some(0.0);
                job.objective.kind = Objective::Mixed;
            }),
            "target of 0",
        ),
        (base.clone().with(|job| job.objective.nfe_target = Some(30.0)), "`objective.nfe_target` has no meaning"),
        (base.clone().with(|job| job.objective.steer = 0.5), "`objective.steer` has no meaning"),
        (
            base.clone().with(|job| {
                job.objective.pairing = Pairing::Optimal;
                job.objective.pairing_block = 1;
            }),
            "pairing among 1",
        ),
        (
            base.clone().with(|job| {
                job.objective.pairing = Pairing::Optimal;
                job.objective.kind = Objective::Likelihood;
            }),
            "pairs no latents",
        ),
    ];
    for (job, word) in wrong {
        let text = fit(&job, &data, &mut ()).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
    let implicit = SolverSpec { method: "bdf".into(), ..SolverSpec::default() };
    let error = fit(&job(Objective::Likelihood, 5).with(|job| job.solver = implicit), &data, &mut ()).unwrap_err();
    assert!(error.to_string().contains("no gradient") && error.hint().unwrap().contains("dopri5"), "{error}");
    let mut holed = data.clone();
    holed.train = Source::Rows(vec![0.0, 1.0, f64::NAN, 3.0].into());
    let text = fit(&base, &holed, &mut ()).unwrap_err().to_string();
    assert!(text.contains("row 1 of the training set has NaN in column 0"), "{text}");
    assert!(split_rule("column:").is_err());
}

#[test]
fn a_loss_that_is_not_finite_is_named_with_its_step() {
    let data = toy("moons");
    for objective in Objective::ALL {
        let job = job(objective, 50).with(|job| {
            job.optimiser.lr = Some(1e30);
            job.optimiser.clip = f64::INFINITY;
        });
        let error = fit(&job, &data, &mut ()).unwrap_err();
        let (text, hint) = (error.to_string(), error.hint().unwrap());
        assert!(text.contains("at step ") && hint.contains("`optimiser.lr`"), "{text}; {hint}");
    }
}

#[test]
fn a_run_can_be_ended_after_any_step_and_goes_on_from_its_model() {
    struct Until(usize);
    impl Watch for Until {
        fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
            if progress.record.step == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let data = toy("moons");
    let fitted = fit(&job(Objective::Matching, 1000), &data, &mut Until(7)).unwrap();
    assert!(fitted.stopped && fitted.steps == 7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fitted.model.save(&path).unwrap();
    let start = cnflow::model::Model::load(&path).unwrap();
    let next = job(Objective::Likelihood, 1).with(|job| {
        job.model.init = Some(path);
        job.model.hidden = None;
        job.optimiser.lr = Some(1e-30);
    });
    let went_on = fit(&next, &data, &mut ()).unwrap();
    assert_eq!(went_on.model.spec.architecture, fitted.model.spec.architecture);
    assert_eq!(went_on.model.spec.standardise, start.spec.standardise);
    assert_eq!(went_on.model.theta, fitted.model.theta);
    let wide = next.with(|job| job.model.hidden = Some(vec![3]));
    assert!(
        fit(&wide, &data, &mut ())
            .unwrap_err()
            .to_string()
            .contains("`model.hidden` is [3], but the model to start from has [16, 16]")
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
        let spec = cnflow::model::FlowSpec::plain(velocity, SolverSpec::default());
        cnflow::model::Model { spec, theta, provenance: Default::default() }.save(&path).unwrap();
    };
    let start = job(Objective::Matching, 1).with(|job| {
        job.model.init = Some(path.clone());
        job.model.hidden = None;
    });
    let refused = || fit(&start, &toy("moons"), &mut ()).unwrap_err().to_string();
    save(2, 3);
    assert!(refused().contains("conditional on 3 columns"));
    save(5, 0);
    assert!(refused().contains("has 5 columns, expected 2"));
}

#[test]
fn a_score_counts_what_it_scored() {
    let fitted = fit(&job(Objective::Matching, 3), &toy("moons"), &mut ()).unwrap();
    let flow = fitted.model.bind(Precision::F64).unwrap();
    let x = toy("moons").test;
    let all = score(&flow, &x, None).unwrap();
    assert_eq!((all.n, all.failed.len(), all.excess), (1000, 0, None));
    let mean = flow.log_prob(&x.points(), &[]).unwrap().log_prob.iter().sum::<f64>() / 1000.0;
    assert!((all.nll + mean).abs() < 1e-12 && all.nll_se > 0.0 && all.nfe_mean > 6.0);
}

/// What a run is judged by, but for its seconds.
type Outcome = (Vec<f32>, Vec<(usize, f64)>, Vec<(usize, f64)>, usize);

fn outcome(fitted: &TrainResult) -> Outcome {
    let losses = fitted.history.records().iter().map(|m| (m.step, m.loss)).collect();
    let scores = fitted.history.validations.iter().map(|v| (v.step, v.nll)).collect();
    (fitted.model.theta.clone(), losses, scores, fitted.chosen)
}

#[test]
fn a_run_that_is_taken_up_from_any_checkpoint_ends_in_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let normal = StandardNormal::new(2);
    let rows = |n: usize, stream| Rows::new(normal.draw(n, &mut rng::stream(3, stream)));
    let table = Dataset {
        name: "rows".into(),
        dim: 2,
        shape: None,
        columns: None,
        train: Source::Rows(rows(700, 0)),
        valid: rows(200, 1),
        test: Rows::default(),
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    };
    for (data, precision) in [(toy("moons"), Precision::F32), (table, Precision::F64)] {
        let usual = Objective::ALL.into_iter().map(|objective| (objective, false));
        // The likelihood of equal steps as the flow, too.
        for (objective, exact) in usual.chain([(Objective::Mixed, true), (Objective::Likelihood, true)]) {
            // Checkpoints on and beside the states that are fallen back to, and around the change of phase.
            let checkpoint = "7".to_owned();
            let job = job(objective, 40).with(|job| {
                job.optimiser.validations = 6;
                job.optimiser.validation_rows = 100;
                job.optimiser.batch = Some(64);
                job.output.checkpoint = checkpoint;
                job.model.precision = precision;
            });
            let job = job.with(|job| {
                job.objective.likelihood_batch = Some(32);
                job.objective.likelihood_share = 0.3;
            });
            let job = if exact { job.with(|job| job.solver = exact_steps()) } else { job };
            let job = job.applicable();
            let mut keeper = Every::default();
            let whole = fit(&job, &data, &mut keeper).unwrap();
            assert_eq!(keeper.0.iter().map(Checkpoint::steps).collect::<Vec<_>>(), [7, 14, 21, 28, 35]);
            for checkpoint in keeper.0 {
                checkpoint.save(&path).unwrap();
                let again = resume(Checkpoint::load(&path).unwrap(), &data, &mut ()).unwrap();
                assert_eq!(outcome(&again), outcome(&whole), "{} from step {}", objective.name(), checkpoint.steps());
            }
        }
    }
}

/// The solver whose two steps are the flow.
fn exact_steps() -> SolverSpec {
    let log_density = LogDensity::Exact;
    SolverSpec { method: "rk4".into(), fixed_steps: Some(2), log_density, ..SolverSpec::default() }
}

#[test]
fn what_is_trained_by_the_likelihood_of_steps_is_what_they_sample() {
    let data = toy("moons");
    let trained = |threads: usize, kind: Objective| {
        let job = job(kind, 300).with(|job| {
            job.solver = exact_steps();
            job.objective.likelihood_share = 0.5;
        });
        on(threads, &job.applicable(), &data)
    };
    let (matched, mixed) = (trained(2, Objective::Matching), trained(1, Objective::Mixed));
    assert_eq!(outcome(&mixed), outcome(&trained(3, Objective::Mixed)), "the bits on other threads");
    // A net that is matched is right for the differential equation, and less so for two steps.
    let excess = |fitted: &TrainResult| {
        let flow = fitted.model.bind(Precision::F32).unwrap();
        score(&flow, &data.test, data.toy()).unwrap().excess.unwrap().0
    };
    assert!(excess(&mixed) < excess(&matched) - 0.02, "{} and {}", excess(&mixed), excess(&matched));
}

#[test]
fn a_run_does_not_go_on_with_other_rows() {
    let mut data = toy("moons");
    data.train = Source::Rows(data.valid.clone());
    let mut keeper = Every::default();
    fit(&job(Objective::Matching, 12).with(|job| job.output.checkpoint = "5".into()), &data, &mut keeper).unwrap();
    let Source::Rows(rows) = &mut data.train else { panic!("it was made of rows") };
    rows.x.real_mut().unwrap()[17] += 1e-9;
    let text = resume(keeper.0.remove(0), &data, &mut ()).unwrap_err().to_string();
    assert!(text.contains("no longer holds the rows"), "{text}");
}

#[test]
fn a_step_that_diverges_is_rolled_back_and_training_goes_on_with_a_smaller_learning_rate() {
    struct Rollbacks(Vec<String>);
    impl Watch for Rollbacks {
        fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
            self.0.extend(progress.rollback.map(str::to_owned));
            assert!(progress.record.loss.is_finite() || progress.record.step == 0);
            ControlFlow::Continue(())
        }
    }
    let data = toy("moons");
    // f32 overflows where a step is of this size; three rollbacks bring it down to what training bears.
    let job = job(Objective::Matching, 60).with(|job| {
        job.optimiser.lr = Some(1e20);
        job.optimiser.clip = f64::INFINITY;
        job.model.precision = Precision::F32;
    });
    let mut rollbacks = Rollbacks(Vec::new());
    let outcome = fit(&job, &data, &mut rollbacks);
    let first = rollbacks.0.first().unwrap();
    assert!(first.contains(" failed (") && first.contains("): restored step "), "{first}");
    assert!(first.ends_with("; the learning rate is now a quarter"), "{first}");
    if let Ok(fitted) = outcome {
        assert_eq!(fitted.rollbacks, rollbacks.0.len());
        assert!(fitted.model.theta.iter().all(|w| w.is_finite()));
    }
    let job = job.with(|job| job.optimiser.lr = Some(1e4));
    let fitted = fit(&job, &data, &mut ()).unwrap();
    assert!(fitted.model.theta.iter().all(|w| w.is_finite()) && fitted.steps == 60);
}

/// Rows of a table in three sets.
fn table(dim: usize, mut rows: impl FnMut(usize, u64) -> Vec<f64>) -> Dataset {
    let [train, valid, test] = [(3000, 0), (1000, 1), (1000, 2)].map(|(n, stream)| Rows::new(rows(n, stream)));
    Dataset {
        name: "rows".into(),
        dim,
        shape: None,
        columns: None,
        train: Source::Rows(train),
        valid,
        test,
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    }
}

#[test]
fn a_mixture_with_a_better_validation_nll_is_the_model() {
    // One half as narrow as no flow of thirty steps can be, one half wide.
    let narrow = 0.1_f64;
    let data = table(2, |n, stream| {
        let z = StandardNormal::new(2).draw(n, &mut rng::stream(9, stream));
        let place =
            |(i, z): (usize, &[f64])| if i % 2 == 0 { [z[0], z[1]] } else { [4.0 + narrow * z[0], narrow * z[1]] };
        z.chunks_exact(2).enumerate().flat_map(place).collect()
    });
    let job = job(Objective::Matching, 30).with(|job| {
        job.optimiser.validations = 3;
        job.output.checkpoint = "10".into();
    });
    let mut keeper = Every::default();
    let fitted = fit(&job, &data, &mut keeper).unwrap();
    assert!(fitted.replaced_by_baseline && fitted.model.spec.base.is_some());
    // It is the mixture itself: nothing moves, nothing is integrated.
    assert_eq!((&fitted.model.spec.architecture, fitted.model.theta.len()), (&Architecture::Identity { dim: 2 }, 0));
    assert!(fitted.model.spec.condition.is_none() && fitted.model.spec.stages().is_err());
    let found = score(&fitted.model.bind(Precision::F64).unwrap(), &data.test, None).unwrap();
    assert_eq!(found.nfe_mean, 0.0);
    let file = tempfile::NamedTempFile::new().unwrap();
    fitted.model.save(file.path()).unwrap();
    assert_eq!(Model::load(file.path()).unwrap().spec, fitted.model.spec);
    // ln 2 for the half, and the mean of the entropies of the two normals, which hardly overlap.
    let entropy = std::f64::consts::LN_2 + 1.0 + std::f64::consts::TAU.ln() + narrow.ln();
    // The sampling error of the mean; and the prior of EM, two pseudo-rows of the whole width, which makes the
    // narrow half wider by a fifth.
    assert!((found.nll - entropy).abs() < 4.0 * found.nll_se + 0.2, "{} against {entropy}", found.nll);
    // Checkpoints of before 0.2 call the mixture a rival.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    keeper.0[0].save(&path).unwrap();
    let mut file = ModelFile::read(&path).unwrap();
    let names = file.tensors.iter_mut().map(|tensor| &mut tensor.name).filter(|name| name.contains("baseline"));
    let renamed = names.map(|name| *name = name.replace("baseline", "rival")).count();
    assert_eq!(renamed, 3);
    file.write(&path).unwrap();
    let old = resume(Checkpoint::load(&path).unwrap(), &data, &mut ()).unwrap();
    assert!(old.replaced_by_baseline && old.model.spec == fitted.model.spec);
    let again = resume(keeper.0.remove(0), &data, &mut ()).unwrap();
    assert!(
        again.replaced_by_baseline && again.model.spec == fitted.model.spec && again.model.theta == fitted.model.theta
    );
    // Who wants the flow gets the flow.
    let plain = fit(&job.clone().with(|job| job.model.base = "normal".into()), &data, &mut ()).unwrap();
    assert!(!plain.replaced_by_baseline && plain.model.spec.base.is_none());
    let flow = score(&plain.model.bind(Precision::F64).unwrap(), &data.test, None).unwrap();
    assert!(flow.nll > found.nll + 0.2, "{} against {}", flow.nll, found.nll);
    // A velocity that begins at the mixture has its density before it has learnt anything.
    let begun = job.with(|job| {
        job.model.base = "mixture:2".into();
        job.optimiser.lr = Some(1e-9);
    });
    let begun = fit(&begun, &data, &mut ()).unwrap();
    let found = score(&begun.model.bind(Precision::F64).unwrap(), &data.test, None).unwrap();
    assert!((found.nll - entropy).abs() < 4.0 * found.nll_se + 0.2, "{} against {entropy}", found.nll);
}

#[test]
fn an_overfitted_small_table_ends_its_run_early_and_no_other_table_does() {
    let few = |n: usize, stream: u64| Rows::new(StandardNormal::new(3).draw(n, &mut rng::stream(11, stream)));
    let data = |n: usize| Dataset {
        name: "rows".into(),
        dim: 3,
        shape: None,
        columns: None,
        train: Source::Rows(few(n, 0)),
        valid: few(200, 1),
        test: few(200, 2),
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    };
    let job = job(Objective::Matching, 3000).with(|job| {
        job.model.hidden = Some(vec![48, 48]);
        job.optimiser.batch = Some(64);
        job.optimiser.lr = Some(1e-2);
        job.optimiser.ema = 0.9;
        job.model.base = "normal".into();
        job.optimiser.validations = 20;
    });
    // Thirty rows, and a net of thousands of numbers.
    let mut keeper = Every::default();
    let fitted = fit(&job.clone().with(|job| job.output.checkpoint = "100".into()), &data(30), &mut keeper).unwrap();
    let words = fitted.ended_early.clone().unwrap();
    assert!(
        fitted.steps < 2400 && words.contains("clearly worse") && words.contains("`optimiser.patience`"),
        "{words}"
    );
    // As if it had not been broken off; and to the end, where that was asked for: the same model.
    let again = resume(keeper.0.swap_remove(1), &data(30), &mut ()).unwrap();
    assert_eq!((again.steps, &again.model.theta), (fitted.steps, &fitted.model.theta));
    let whole = fit(&job.clone().with(|job| job.optimiser.patience = Some(0)), &data(30), &mut ()).unwrap();
    assert_eq!((whole.steps, whole.ended_early.is_none(), whole.chosen), (3000, true, fitted.chosen));
    assert_eq!(whole.model.theta, fitted.model.theta);
    // Three scores without a better one are what they always were.
    let patient = fit(&job.clone().with(|job| job.optimiser.patience = Some(3)), &data(30), &mut ()).unwrap();
    assert!(patient.steps <= fitted.steps && patient.ended_early.unwrap().contains("3 held-out scores"));
    // Rows enough: the curve is flat and wiggles, and the run goes on to its end; so does one that keeps its last
    // weights.
    let enough = fit(&job.clone().with(|job| job.optimiser.steps = Some(1000)), &data(4000), &mut ()).unwrap();
    assert_eq!((enough.steps, enough.ended_early), (1000, None));
    let last = fit(&job.with(|job| job.optimiser.keep_best = false), &data(30), &mut ()).unwrap();
    assert_eq!(last.steps, 3000);
}

#[test]
fn columns_are_what_the_job_says_they_are() {
    let turn = std::f64::consts::TAU;
    let data = table(2, |n, stream| {
        let z = StandardNormal::new(2).draw(n, &mut rng::stream(8, stream));
        z.chunks_exact(2).flat_map(|z| [(2.0 + z[0]).exp(), (3.0 + z[1]).rem_euclid(turn)]).collect()
    });
    let columns = vec!["0:positive".to_owned(), format!("1:angle:{turn}")];
    let fitted = fit(&job(Objective::Matching, 600).with(|job| job.data.columns = columns), &data, &mut ()).unwrap();
    let flow = fitted.model.bind(Precision::F64).unwrap();
    let found = score(&flow, &data.test, None).unwrap();
    // A lognormal has 2 + ½ ln 2πe; wrapping a normal of deviation 1 hardly changes its ½ ln 2πe.
    let entropy = 2.0 + 1.0 + turn.ln();
    assert!((found.nll - entropy).abs() < 4.0 * found.nll_se + 0.06, "{} against {entropy}", found.nll);
    let x = flow.sample(500, &[], &mut rng::stream(8, 9)).unwrap().y;
    assert!(x.chunks_exact(2).all(|row| row[0] > 0.0 && (0.0..turn).contains(&row[1])));
    for (column, word) in
        [("2:positive", "2"), ("0:round", "round"), ("0", "expected NAME:KIND"), ("1:unit", "not inside (0, 1)")]
    {
        let job = job(Objective::Matching, 1).with(|job| job.data.columns = vec![column.into()]);
        let text = fit(&job, &data, &mut ()).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn evaluations_are_steered_towards_their_target() {
    let data = toy("8gaussians");
    let base = job(Objective::Mixed, 500).with(|job| {
        job.model.hidden = Some(vec![32, 32]);
        job.objective.likelihood_share = 0.6;
        job.optimiser.batch = Some(256);
    });
    // Tight tolerances, so that there are evaluations to save; an average that does not lag behind the penalties.
    let solver = SolverSpec { rtol: 1e-6, atol: 1e-6, ..SolverSpec::default() };
    let base = base.with(|job| {
        job.objective.likelihood_batch = Some(128);
        job.objective.likelihood_lr = Some(1e-2);
        job.optimiser.ema = 0.9;
        job.solver = solver;
    });
    let nfe = |job: &Job| {
        let fitted = fit(job, &data, &mut ()).unwrap();
        let found = score(&fitted.model.bind(Precision::F32).unwrap(), &data.test, data.toy()).unwrap();
        (found.nfe_mean, fitted.before)
    };
    let (free, nothing) = nfe(&base);
    let (steered, before) = nfe(&base.with(|job| {
        job.objective.nfe_target = Some(0.6 * free);
        job.optimiser.validations = 2;
    }));
    assert!(nothing.is_none() && before.is_some());
    assert!(steered < 0.9 * free, "{steered} against {free}");
}

#[test]
fn a_row_whose_integral_is_not_finite_is_left_out_of_the_step() {
    // Two steep units that cancel each other: the velocity is 0 everywhere, its derivative 0 but at x = 0, where it is
    // inf - inf.
    let velocity = VelocitySpec::Layers(LayerNetSpec {
        dim: 1,
        condition_dim: 0,
        layers: vec![
            Layer::Linear { inputs: 1, outputs: 2 },
            Layer::Activation(Activation::Tanh),
            Layer::Linear { inputs: 2, outputs: 1 },
        ],
    });
    let theta: [f64; 7] = [1e20, 1e20, 0.0, 0.0, 1e20, -1e20, 0.0];
    let context = LossContext::new(velocity, SolverSpec { rtol: 1e-4, atol: 1e-4, ..SolverSpec::default() });
    let sound: Vec<f64> = (1..=150).map(|i| 0.02 * f64::from(i) - 1.01).collect();
    let step = |x: &[f64]| {
        let batch = Batch { x: x.to_vec(), ..Batch::default() };
        let found = Criterion::Likelihood.gradient(&context, &theta, Precision::F32, &batch).unwrap();
        let LossGradient { loss, parts, gradient } = found;
        (loss, parts.unwrap().nll, gradient)
    };
    let alone = step(&sound);
    assert!(alone.0.is_finite() && alone.2.iter().all(|g| g.is_finite()), "{alone:?}");
    // First, last and in a chunk of its own.
    for place in [0, 70, 150] {
        let mut rows = sound.clone();
        rows.insert(place, 0.0);
        let with = step(&rows);
        assert!((with.0 - alone.0).abs() < 1e-5 && (with.1 - alone.1).abs() < 1e-5, "{place}: {with:?} for {alone:?}");
        for (a, b) in with.2.iter().zip(&alone.2) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{place}: {with:?} for {alone:?}");
        }
    }
}

#[test]
fn a_seed_beyond_the_integers_of_toml_is_read_from_every_form_of_a_job() {
    let job = Job::default().with(|job| {
        job.seed = u64::MAX - 1;
        job.optimiser.steps = Some(7);
    });
    let text = job.to_toml().unwrap();
    assert_eq!((Job::from_toml(&text).unwrap(), Job::of_run(&text).unwrap()), (job.clone(), job.clone()));
    let provenance = serde_json::json!({ "job": serde_json::to_value(&job).unwrap() });
    assert_eq!(Job::of_provenance(provenance.as_object().unwrap()), Some(job.clone()));
    // As jobs once were: flat, and with the meaning of what they could not say.
    let flat = format!("steps = 7\nseed = {}\n", job.seed);
    assert_eq!(Job::from_toml(&flat).unwrap(), job);
    let provenance = serde_json::json!({ "job": { "steps": 7, "seed": job.seed } });
    let old = Job::of_provenance(provenance.as_object().unwrap()).unwrap();
    assert_eq!((old.seed, old.optimiser.steps, old.data.copies_together), (job.seed, Some(7), false));
    assert_eq!(Job::of_run(&flat).unwrap(), old);
}
