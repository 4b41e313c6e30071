//! Laws of training under a condition: whatever is minimised, however latents and rows are paired and joined, the model
//! has the conditional density of the data, which is known in closed form.

use crate::common::watch::First;
use cnflow::rng::stream;
use cnflow::rows::{Context, Dataset, Rows, Source};
use cnflow::train::{
    CONDITION_WEIGHT, Conditions, Job, Objective, Pairing, Path, fit, pair, pair_given, resume, score,
};
use cnflow::transform::StandardNormal;
use cnflow::velocity::Precision;
use rand::Rng as _;
use rand_distr::{Distribution as _, StandardNormal as Draw};

const TEST_ROWS: usize = 4000;

/// The centre of each class, and its deviation.
const CLASSES: [(f64, f64); 3] = [(0.0, 1.0), (3.0, 0.5), (-2.0, 0.8)];

fn log_normal(x: f64, centre: f64, std: f64) -> f64 {
    let z = (x - centre) / std;
    -0.5 * z * z - std.ln() - 0.5 * std::f64::consts::TAU.ln()
}

/// What the rows are conditioned on.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// One of [`CLASSES`].
    Class,
    /// A number c: the first column is 1.5 c + 0.5 ε, and all but determined by it.
    Line,
    /// A number c: the first column is sin 3c + 0.4 ε.
    Wave,
}

impl Kind {
    /// A condition, and the centre and the deviation of the first column under it.
    fn draw(self, rng: &mut cnflow::Rng) -> f64 {
        match self {
            Self::Class => rng.random_range(0..CLASSES.len()) as f64,
            Self::Line | Self::Wave => Draw.sample(rng),
        }
    }

    fn law(self, c: f64) -> (f64, f64) {
        match self {
            Self::Class => CLASSES[c as usize],
            Self::Line => (1.5 * c, 0.5),
            Self::Wave => ((3.0 * c).sin(), 0.4),
        }
    }
}

/// Rows of `d` columns whose first has the centre and the deviation that go with the condition, and the condition.
fn rows(kind: Kind, n: usize, d: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut rng = stream(seed, 0);
    let (mut x, mut c) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let given = kind.draw(&mut rng);
        let (centre, std) = kind.law(given);
        let mut normal = || -> f64 { Draw.sample(&mut rng) };
        x.push(centre + std * normal());
        x.extend((1..d).map(|_| normal()));
        c.push(given);
    }
    (x, c)
}

fn truth(kind: Kind, x: &[f64], c: f64) -> f64 {
    let (centre, std) = kind.law(c);
    log_normal(x[0], centre, std) + x[1..].iter().map(|x| log_normal(*x, 0.0, 1.0)).sum::<f64>()
}

fn table(kind: Kind, d: usize) -> Dataset {
    let [train, valid, test] = [(8000, 1), (500, 2), (TEST_ROWS, 3)].map(|(n, seed)| {
        let (x, c) = rows(kind, n, d, seed);
        Rows::under(x, c)
    });
    let context = Context { dim: 1, columns: vec!["c".into()], ..Context::default() };
    let (name, train) = ("classes".into(), Source::Rows(train));
    Dataset {
        name,
        dim: d,
        shape: None,
        columns: None,
        train,
        valid,
        test,
        context: Some(context),
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    }
}

fn job(objective: Objective, pairing: Pairing, path: Path) -> Job {
    let likelihood = objective == Objective::Likelihood;
    Job::default()
        .with(|job| {
            job.objective.kind = objective;
            job.objective.pairing = pairing;
            job.objective.path = Some(path);
            job.model.hidden = Some(vec![32, 32]);
            job.optimiser.batch = Some(256);
            job.objective.likelihood_batch = Some(128);
            job.objective.likelihood_share = 0.05;
            job.objective.likelihood_tol = Some(1e-3);
            job.optimiser.steps = Some(if likelihood { 250 } else { 1500 });
            job.optimiser.validations = 0;
            job.optimiser.keep_best = false;
            job.optimiser.ema = 0.99;
        })
        .applicable()
}

/// log p_true(x | c) − log p(x | c) on average over fresh rows, and its standard error.
fn excess(kind: Kind, job: &Job, data: &Dataset) -> (f64, f64) {
    let fitted = fit(job, data, &mut ()).unwrap();
    let flow = fitted.model.bind(Precision::F64).unwrap();
    let d = flow.dim();
    let log_prob = flow.log_prob(&data.test.points(), &data.test.context).unwrap().log_prob;
    let points = data.test.points();
    let differences: Vec<f64> = points
        .chunks_exact(d)
        .zip(&data.test.context)
        .zip(&log_prob)
        .map(|((x, c), log)| truth(kind, x, *c) - log)
        .collect();
    cnflow::train::mean_and_se(&differences)
}

/// What a net of this size is off by after so few steps: the largest excess seen was 0.010 nats, and 0.052 on the wave
/// without pairs. Pairs across the conditions cost 0.3 to 0.6 nats.
const UNDERTRAINED: f64 = 0.04;

#[test]
fn every_objective_pairing_and_path_reaches_the_conditional_density() {
    let mut wrong = Vec::new();
    for (kind, d) in [(Kind::Class, 1), (Kind::Class, 2), (Kind::Line, 1), (Kind::Wave, 2)] {
        let data = table(kind, d);
        for objective in Objective::ALL {
            for pairing in Pairing::ALL {
                for path in Path::ALL {
                    let likelihood = objective == Objective::Likelihood;
                    if likelihood && (pairing != Pairing::Independent || path != Path::Straight) {
                        continue;
                    }
                    // A mixed run begins as the matching that is here by itself: each pairing and each path once.
                    let straight = path == Path::Straight;
                    if objective == Objective::Mixed && (pairing == Pairing::Independent) != straight {
                        continue;
                    }
                    // 250 steps of likelihood are too few for a wave: they leave 0.7 nats.
                    if likelihood && matches!(kind, Kind::Wave) {
                        continue;
                    }
                    let (excess, se) = excess(kind, &job(objective, pairing, path), &data);
                    let case = format!("{kind:?}, d = {d}, {}, {}, {}", objective.name(), pairing.name(), path.name());
                    println!("{case}: excess {excess:.4} ± {se:.4}");
                    // No density is better than the truth: four standard errors do not happen by chance.
                    if excess > UNDERTRAINED + 4.0 * se || excess < -4.0 * se {
                        wrong.push(format!("{case}: {excess:.4} ± {se:.4}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_velocity_that_begins_at_a_mixture_reaches_the_conditional_density() {
    let data = table(Kind::Class, 1);
    for pairing in Pairing::ALL {
        let job = job(Objective::Matching, pairing, Path::Straight).with(|job| job.model.base = "mixture:3".into());
        let (excess, se) = excess(Kind::Class, &job, &data);
        println!("{}: excess {excess:.4} ± {se:.4}", pairing.name());
        // To carry three components to one takes longer to learn: 0.10 nats are left after 1500 steps, 0.05 after 6000.
        // With latents from the component that a row belongs to, the latents of a class are one component; a sample
        // that starts from another is lost, and the model is off by about ln 3 = 1.1 nats.
        assert!(excess < 0.25 && excess > -4.0 * se, "{}: {excess} ± {se}", pairing.name());
    }
}

fn square(x: &[f64], z: &[f64]) -> f64 {
    x.iter().zip(z).map(|(x, z)| (x - z).powi(2)).sum()
}

#[test]
fn latents_paired_within_classes_are_those_of_the_class_and_cost_less() {
    for d in [1, 2, 3] {
        let (x, c) = rows(Kind::Class, 6000, d, 4);
        let drawn = StandardNormal::new(d).draw(6000, &mut stream(4, 1));
        let mut z = drawn.clone();
        for ((x, z), c) in x.chunks(256 * d).zip(z.chunks_mut(256 * d)).zip(c.chunks(256)) {
            pair_given(x, z, Conditions { rows: c, weights: &[0.0] }, d, 100);
        }
        assert!(square(&x, &z) < 0.8 * square(&x, &drawn), "d = {d}");
        for class in 0..CLASSES.len() {
            let latents = |z: &[f64]| -> Vec<f64> {
                let of_class = z.chunks_exact(d).zip(&c).filter(|(_, c)| **c == class as f64);
                of_class.map(|(row, _)| row[0]).collect()
            };
            // Permuted among themselves: the very same numbers, in another order.
            let (mut before, mut after) = (latents(&drawn), latents(&z));
            before.sort_by(f64::total_cmp);
            after.sort_by(f64::total_cmp);
            assert_eq!(before, after, "d = {d}");
        }
        // With one class for all it is the pairing without a condition.
        let (mut one, mut other) = (drawn.clone(), drawn.clone());
        pair(&x, &mut one, d, 100);
        pair_given(&x, &mut other, Conditions { rows: &[1.0; 2 * 6000], weights: &[0.0, 0.0] }, d, 100);
        assert_eq!(one, other, "d = {d}");
    }
}

#[test]
fn latents_paired_by_numbers_do_not_follow_them_and_cost_less() {
    for (kind, least) in [(Kind::Line, 0.95), (Kind::Wave, 0.8)] {
        let n = 40 * 256;
        let (x, c) = rows(kind, n, 1, 6);
        let drawn = StandardNormal::new(1).draw(n, &mut stream(6, 1));
        // What is left of the correlation of z, and of z², with c, sin 3c and their like: of independent numbers each
        // is 1/√n = 0.01, and eight of them exceed 0.045 in one case of ten thousand.
        let follows = |z: &[f64]| -> f64 {
            let features: [fn(f64) -> f64; 4] = [|c| c, |c| c * c, |c| (3.0 * c).sin(), |c| (3.0 * c).cos()];
            let correlation = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| {
                let mean = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
                let (am, bm) = (mean(a), mean(b));
                let (aa, bb) = (mean(&|i| (a(i) - am).powi(2)), mean(&|i| (b(i) - bm).powi(2)));
                mean(&|i| (a(i) - am) * (b(i) - bm)) / (aa * bb).sqrt()
            };
            let all = features
                .iter()
                .flat_map(|f| [correlation(&|i| z[i], &|i| f(c[i])), correlation(&|i| z[i] * z[i], &|i| f(c[i]))]);
            all.map(f64::abs).fold(0.0, f64::max)
        };
        let paired = |weight: f64| {
            let mut z = drawn.clone();
            for ((x, z), c) in x.chunks(256).zip(z.chunks_mut(256)).zip(c.chunks(256)) {
                pair_given(x, z, Conditions { rows: c, weights: &[weight] }, 1, 256);
            }
            z
        };
        let z = paired(CONDITION_WEIGHT);
        assert!(follows(&z) < 0.045, "{kind:?}: {}", follows(&z));
        assert!(square(&x, &z) < least * square(&x, &drawn), "{kind:?}");
        // The test sees what a weight that is too small does.
        assert!(follows(&paired(1.0)) > 0.2, "{kind:?}: {}", follows(&paired(1.0)));
        // A number of few values joins rows as a class does.
        let few: Vec<f64> = c[..1000].iter().map(|c| c.signum()).collect();
        let (mut one, mut other) = (drawn[..1000].to_vec(), drawn[..1000].to_vec());
        pair_given(&x[..1000], &mut one, Conditions { rows: &few, weights: &[CONDITION_WEIGHT] }, 1, 1000);
        pair_given(&x[..1000], &mut other, Conditions { rows: &few, weights: &[0.0] }, 1, 1000);
        assert!((square(&x[..1000], &one) / square(&x[..1000], &other) - 1.0).abs() < 1e-2, "{kind:?}");
    }
}

#[test]
fn a_resumed_run_pairs_as_one_that_was_not_broken_off() {
    for kind in [Kind::Class, Kind::Line] {
        let data = table(kind, 2);
        let job = job(Objective::Mixed, Pairing::Optimal, Path::Vp).with(|job| {
            job.optimiser.steps = Some(40);
            job.output.checkpoint = "15".into();
        });
        let mut first = First(None);
        let whole = fit(&job, &data, &mut first).unwrap();
        let again = resume(first.0.unwrap(), &data, &mut ()).unwrap();
        assert_eq!(whole.model.theta, again.model.theta);
        let score = score(&again.model.bind(Precision::F32).unwrap(), &data.test, None).unwrap();
        assert!(score.failed.is_empty());
    }
}
