//! Laws of what matching minimises, of how its times are drawn, and of the bound that it gives.

use cnflow::continuous::SolverSpec;
use cnflow::model::{FlowSpec, Model};
use cnflow::rng;
use cnflow::rows::{DataOptions, Dataset, Rows, resolve};
use cnflow::train::{
    Batch, Checkpoint, Criterion, Job, LossContext, Net, Objective, Pairing, Path, Preconditioning, TimeWeight,
    TrainResult, ValidationScore, fit, nll_bound, resume, score,
};
use cnflow::transform::StandardNormal;
use cnflow::velocity::{Activation, MlpSpec, Precision, TimeInput, VelocitySpec};

use crate::common::velocity::around;
use crate::common::watch::Every;

fn toy(name: &str) -> Dataset {
    resolve(name, &DataOptions { held_out: 2000, ..DataOptions::default() }, 0).unwrap()
}

fn mlp(dim: usize, hidden: &[usize]) -> VelocitySpec {
    let (activation, time) = (Activation::Silu, TimeInput::Plain);
    VelocitySpec::Mlp(MlpSpec { dim, condition_dim: 0, hidden: hidden.to_vec(), activation, time })
}

fn contexts() -> impl Iterator<Item = LossContext> {
    let nets =
        [mlp(2, &[6, 5]), around(Path::Straight, 2.0, mlp(2, &[6, 5])), around(Path::Vp, 0.5, mlp(3, &[4, 3, 3]))];
    nets.into_iter().flat_map(|net| {
        Path::ALL.into_iter().flat_map(move |path| {
            let net = net.clone();
            TimeWeight::ALL.into_iter().map(move |weight| {
                let time_exponent = weight.usual_exponent();
                let plain = LossContext::new(net.clone(), SolverSpec::default());
                LossContext { path, weight, time_exponent, ..plain }
            })
        })
    })
}

#[test]
fn the_gradient_under_every_weight_is_that_of_central_differences() {
    for context in contexts() {
        let (d, velocity) = (context.architecture.dim(), context.architecture.velocity().unwrap());
        let n = 131;
        let normal = |stream| StandardNormal::new(d).draw(n, &mut rng::stream(7, stream));
        let t = (0..n).map(|i| i as f64 / (n - 1) as f64).collect();
        let batch = Batch { x: normal(1), z: normal(2), t, ..Batch::default() };
        let theta: Vec<f64> = velocity.init(&mut rng::stream(7, 3)).into_iter().map(f64::from).collect();
        let loss = |theta: &[f64]| Criterion::Matching.gradient(&context, theta, Precision::F64, &batch).unwrap();
        let (gradient, eps) = (loss(&theta).gradient, 1e-5);
        for i in (0..theta.len()).step_by(3) {
            let at = |step: f64| {
                let mut theta = theta.clone();
                theta[i] += step;
                loss(&theta).loss
            };
            // Truncation ε² = 1e-10, round-off 1e-15/ε = 1e-10, of losses of order 10.
            let difference = (at(eps) - at(-eps)) / (2.0 * eps);
            let (weight, off) = (context.weight.name(), (difference - gradient[i]).abs());
            assert!(off < 1e-8, "{weight} {} θ[{i}]: {} or {difference}", context.path.name(), gradient[i]);
        }
    }
}

/// With rows and latents of zero the error is v² at every time: that of a net that returns a constant, or t.
#[test]
fn what_is_minimised_does_not_depend_on_how_times_are_drawn() {
    let velocity = mlp(1, &[]);
    let n = 100_000;
    let zeros = || vec![0.0; n];
    for (path, weight) in Path::ALL.into_iter().flat_map(|path| TimeWeight::ALL.map(|weight| (path, weight))) {
        let loss = |exponent: f64, theta: &[f64]| {
            let time = |i: usize| 1.0 - (1.0 - (i as f64 + 0.5) / n as f64).powf(exponent);
            let batch = Batch { x: zeros(), z: zeros(), t: (0..n).map(time).collect(), ..Batch::default() };
            let plain = LossContext::new(velocity.clone(), SolverSpec::default());
            let context = LossContext { path, weight, time_exponent: exponent, ..plain };
            Criterion::Matching.gradient(&context, theta, Precision::F64, &batch).unwrap().loss
        };
        let uniform = drawn_uniformly(path, weight);
        for exponent in [1.0, 1.5, 2.0, 3.0] {
            // v = t, whose square is weighted by time.
            let (drawn, constant) = (loss(exponent, &[0.0, 1.0, 0.0]), loss(exponent, &[0.0, 0.0, 0.7]));
            let name = format!("{} {}: exponent {exponent}", path.name(), weight.name());
            // A midpoint rule on n times, of numbers that bend by 1/NEAREST² at the end.
            assert!((constant - 0.49).abs() < 2e-4, "{name}: {constant}");
            // Where the weight is the density of times: ∫₀¹ (1 − (1 − u)^e)² du.
            let sampled = 1.0 - 2.0 / (exponent + 1.0) + 1.0 / (2.0 * exponent + 1.0);
            let expected = if weight == TimeWeight::Sampled { sampled } else { uniform };
            assert!((drawn - expected).abs() < 3e-4, "{name}: {drawn} or {expected}");
        }
    }
}

/// ∫ w t² dt / ∫ w dt by a fine midpoint rule, with the weights of the table in `train/weight.rs`.
fn drawn_uniformly(path: Path, weight: TimeWeight) -> f64 {
    let n = 2_000_000;
    let (mut sum, mut all) = (0.0, 0.0);
    for i in 0..n {
        let t = (f64::from(i) + 0.5) / f64::from(n);
        let (a, s, a_dot, s_dot) = path.at(t);
        let near = (a_dot * s - a * s_dot) * s.max(1e-3);
        let w = match weight {
            TimeWeight::Sampled | TimeWeight::Uniform => 1.0,
            TimeWeight::Inverse => 1.0 / near,
            TimeWeight::Likelihood => a / near,
        };
        sum += w * t * t;
        all += w;
    }
    sum / all
}

#[test]
fn sampled_weights_have_the_bits_of_none() {
    let plain = LossContext::new(mlp(2, &[6, 5]), SolverSpec::default());
    let other = LossContext { time_exponent: 2.0, ..plain.clone() };
    let theta: Vec<f64> = mlp(2, &[6, 5]).init(&mut rng::stream(7, 3)).into_iter().map(f64::from).collect();
    let normal = |stream| StandardNormal::new(2).draw(50, &mut rng::stream(7, stream));
    let batch =
        Batch { x: normal(1), z: normal(2), t: (0..50).map(|i| f64::from(i) / 50.0).collect(), ..Batch::default() };
    let loss = |context| Criterion::Matching.gradient(context, &theta, Precision::F32, &batch).unwrap();
    assert_eq!(loss(&plain), loss(&other));
}

/// A small job with all options of images.
fn job(steps: usize) -> Job {
    let small = Job::default().with(|job| {
        job.model.hidden = Some(vec![16, 16]);
        job.optimiser.batch = Some(300);
        job.optimiser.steps = Some(steps);
        job.optimiser.validations = 3;
        job.optimiser.validation_rows = 300;
        job.output.checkpoint = "7".into();
    });
    small.with_image_defaults()
}

fn on(threads: usize, job: &Job, data: &Dataset) -> TrainResult {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| fit(job, data, &mut ()).unwrap())
}

#[test]
fn the_options_of_images_have_the_same_bits_on_any_threads_and_after_a_resumption() {
    let (data, job) = (toy("moons"), job(40));
    let whole = on(1, &job, &data);
    assert_eq!(whole.model.theta, on(2, &job, &data).model.theta);
    let mut keeper = Every::default();
    fit(&job, &data, &mut keeper).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    assert!(keeper.0.len() > 3);
    for checkpoint in keeper.0 {
        checkpoint.save(&path).unwrap();
        let again = resume(Checkpoint::load(&path).unwrap(), &data, &mut ()).unwrap();
        assert_eq!(again.model.theta, whole.model.theta);
        let scores = |result: &TrainResult| result.history.validations.iter().map(|v| v.nll).collect::<Vec<_>>();
        assert_eq!(scores(&again), scores(&whole));
    }
    let text = job.to_toml().unwrap();
    assert_eq!(Job::from_toml(&text).unwrap(), job);
}

#[test]
fn a_preconditioned_run_begins_at_the_gaussian_and_trains() {
    let data = toy("8gaussians");
    let excess = |steps: usize| {
        let fitted = fit(&job(steps).with(|job| job.optimiser.lr = Some(1e-2)), &data, &mut ()).unwrap();
        let flow = fitted.model.bind(Precision::F32).unwrap();
        score(&flow, &data.test, data.toy()).unwrap().excess.unwrap().0
    };
    let gaussian = {
        let family = "gaussian".parse().unwrap();
        let fitted = fit(&Job::default().with(|job| job.model.family = family), &data, &mut ()).unwrap();
        score(&fitted.model.bind(Precision::F64).unwrap(), &data.test, data.toy()).unwrap().excess.unwrap().0
    };
    let (first, last) = (excess(1), excess(1500));
    // One step of a hundredth of the rate; the columns of this toy are not correlated.
    assert!((first - gaussian).abs() < 0.02, "{first} at the start, {gaussian} of a Gaussian");
    assert!(last < 0.6 * first, "from {first} to {last}");
}

/// A Gaussian's velocity has a Gaussian's bound, whatever the rows are: it is its own NLL.
#[test]
fn the_bound_of_a_gaussian_is_its_negative_log_likelihood() {
    for path in Path::ALL {
        for (own, rows_deviation) in [(1.0, 1.0), (1.0, 1.5), (2.0, 0.8), (0.5, 0.5)] {
            let velocity = around(path, own, mlp(3, &[4]));
            let mut theta = velocity.init(&mut rng::stream(7, 0));
            velocity.rest(&mut theta);
            let spec = FlowSpec::plain(velocity, SolverSpec::default());
            let model = Model { spec, theta, provenance: serde_json::Map::new() };
            let x: Vec<f64> = StandardNormal::new(3)
                .draw(20_000, &mut rng::stream(9, 0))
                .iter()
                .map(|z| rows_deviation * z)
                .collect();
            let log_prob = |row: &[f64]| {
                let square = row.iter().map(|x| x * x).sum::<f64>();
                -0.5 * square / (own * own) - 3.0 * (own.ln() + 0.5 * std::f64::consts::TAU.ln())
            };
            let nll = -x.chunks_exact(3).map(log_prob).sum::<f64>() / 20_000.0;
            let found = nll_bound(&model, Precision::F64, path, &Rows::new(x), None, 0).unwrap();
            // Of 20 000 rows; what is cut off at the data is 1e-6.
            let off = (found.nll - nll).abs();
            let most = 4.0 * found.nll_se + 1e-4;
            assert!(off < most, "{} {own} {rows_deviation}: {} ± {} or {nll}", path.name(), found.nll, found.nll_se);
            assert_eq!((found.nfe_mean, found.n), (1.0, 20_000));
        }
    }
}

#[test]
fn the_bound_is_near_and_above_the_flows_own_score() {
    for (name, preconditioning, path) in
        [("8gaussians", Preconditioning::Gaussian, Path::Straight), ("moons", Preconditioning::None, Path::Vp)]
    {
        let data = toy(name);
        let job = job(800).with(|job| {
            job.model.hidden = Some(vec![48, 48]);
            job.model.preconditioning = Some(preconditioning);
            job.objective.path = Some(path);
            job.optimiser.lr = Some(1e-2);
        });
        let fitted = fit(&job, &data, &mut ()).unwrap();
        let flow = score(&fitted.model.bind(Precision::F32).unwrap(), &data.test, data.toy()).unwrap();
        let bound = nll_bound(&fitted.model, Precision::F32, path, &data.test, data.toy(), 0).unwrap();
        let ((flow, se), (bound, bound_se)) = (flow.excess.unwrap(), bound.excess.unwrap());
        println!("{name}: excess {flow} ± {se} by the flow, {bound} ± {bound_se} by the bound");
        let noise = 3.0 * (se * se + bound_se * bound_se).sqrt();
        assert!(bound > flow - noise && bound < flow + noise + 0.1, "{name}: {bound} ± {bound_se} or {flow} ± {se}");
    }
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let data = toy("moons");
    let plain = || Job::default().with(|job| job.optimiser.steps = Some(2));
    type Change = fn(&mut Job);
    let cases: [(Change, &str); 13] = [
        (|job| job.optimiser.betas = Some(vec![0.9]), "moments with the decays"),
        (|job| job.optimiser.betas = Some(vec![0.9, 1.0]), "moments with the decays"),
        (|job| job.optimiser.warm_up = Some(0), "warm-up of 0 steps"),
        (|job| job.optimiser.lr_end = Some(1.5), "ends at 1.5 of its peak"),
        (|job| job.objective.time_exponent = Some(0.0), "the exponent 0"),
        (
            |job| {
                job.objective.time_exponent = Some(0.5);
                job.objective.matching_weight = Some(TimeWeight::Uniform);
            },
            "the weight uniform for times",
        ),
        (
            |job| {
                job.objective.kind = Objective::Likelihood;
                job.objective.matching_weight = Some(TimeWeight::Inverse);
            },
            "`objective.matching_weight` has no meaning for likelihood",
        ),
        (
            |job| {
                job.objective.kind = Objective::Mixed;
                job.optimiser.validation = Some(ValidationScore::Bound);
            },
            "matched throughout",
        ),
        (
            |job| {
                job.objective.pairing = Pairing::Optimal;
                job.optimiser.validation = Some(ValidationScore::Bound);
            },
            "independent pairs",
        ),
        (
            |job| {
                job.model.base = "mixture:3".into();
                job.optimiser.validation = Some(ValidationScore::Bound);
            },
            "latents of a normal",
        ),
        (
            |job| {
                job.model.base = "mixture:3".into();
                job.model.preconditioning = Some(Preconditioning::Gaussian);
            },
            "at a mixture's",
        ),
        (
            |job| {
                job.data.standardise = false;
                job.model.preconditioning = Some(Preconditioning::Gaussian);
            },
            "standardised columns only",
        ),
        (
            |job| {
                job.model.family = "nice".parse().unwrap();
                job.model.preconditioning = Some(Preconditioning::Gaussian);
            },
            "`model.preconditioning` has no meaning for nice",
        ),
    ];
    for (change, sentence) in cases {
        let error = fit(&plain().with(change), &data, &mut ()).unwrap_err();
        assert!(error.to_string().contains(sentence) && error.hint().is_some(), "`{error}` lacks `{sentence}`");
    }
}

#[test]
fn a_gaussian_beside_images_has_the_deviation_of_their_pixels() {
    let digits = toy("digits");
    for net in [Net::Mlp, Net::Convolution] {
        let job = Job::default().with(|job| {
            job.model.net = Some(net);
            job.model.preconditioning = Some(Preconditioning::Gaussian);
        });
        let architecture = job.clone().resolve_for(&digits).unwrap().architecture(digits.dim, 0).unwrap();
        let deviation = architecture.velocity().unwrap().gaussian().unwrap().deviation;
        assert_eq!(deviation, 1.0, "{}", net.name());
        let refused = job.with(|job| job.data.spread = Some(2.0)).resolve_for(&digits).unwrap_err();
        assert!(refused.to_string().contains("`data.spread` has no meaning for images"), "{refused}");
    }
}

#[test]
fn images_in_optimal_pairs_are_validated_by_the_likelihood() {
    let digits = toy("digits");
    for (pairing, validation) in [(Pairing::Independent, Some(ValidationScore::Bound)), (Pairing::Optimal, None)] {
        let job = Job::default().with(|job| job.objective.pairing = pairing).resolve_for(&digits).unwrap();
        assert_eq!(job.optimiser.validation, validation, "{}", pairing.name());
    }
}
