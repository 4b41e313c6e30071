//! Laws of training under a condition: whatever is minimised, however latents and rows are paired and joined, the model has
//! the conditional density of the data, which is known in closed form.

use candle_core::DType;
use cnf::data::{Dataset, Given as Told, Source};
use cnf::flow::{Bijection as _, StandardNormal};
use cnf::rng::stream;
use cnf::train::{
    Checkpoint, Job, Objective, Pairing, Path, Progress, Watch, fit, pair, pair_within, resume, score_given,
};
use rand::Rng as _;
use rand_distr::{Distribution as _, StandardNormal as Draw};

const TEST_ROWS: usize = 4000;

/// The centre of each class, and its deviation.
const CLASSES: [(f64, f64); 3] = [(0.0, 1.0), (3.0, 0.5), (-2.0, 0.8)];

fn log_normal(x: f64, centre: f64, std: f64) -> f64 {
    let z = (x - centre) / std;
    -0.5 * z * z - std.ln() - 0.5 * std::f64::consts::TAU.ln()
}

/// Rows of `d` columns whose first has the class's centre and deviation, and the class.
fn rows(n: usize, d: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let mut rng = stream(seed, 0);
    let (mut x, mut c) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let class = rng.random_range(0..CLASSES.len());
        let (centre, std) = CLASSES[class];
        let mut normal = || -> f64 { Draw.sample(&mut rng) };
        x.push(centre + std * normal());
        x.extend((1..d).map(|_| normal()));
        c.push(class as f64);
    }
    (x, c)
}

fn truth(x: &[f64], class: f64) -> f64 {
    let (centre, std) = CLASSES[class as usize];
    log_normal(x[0], centre, std) + x[1..].iter().map(|x| log_normal(*x, 0.0, 1.0)).sum::<f64>()
}

fn table(d: usize) -> Dataset {
    let [(train, a), (valid, b), (test, c)] = [rows(8000, d, 1), rows(500, d, 2), rows(TEST_ROWS, d, 3)];
    let given = Told { dim: 1, columns: vec!["class".into()], train: a, valid: b, test: c };
    let (name, train) = ("classes".into(), Source::Rows(train));
    Dataset { name, dim: d, columns: None, train, valid, test, given: Some(given) }
}

fn job(objective: Objective, pairing: Pairing, path: Path) -> Job {
    let likelihood = objective == Objective::Likelihood;
    Job {
        objective,
        pairing,
        path,
        hidden: Some(vec![32, 32]),
        batch: Some(256),
        likelihood_batch: Some(128),
        likelihood_share: 0.05,
        likelihood_tol: Some(1e-3),
        steps: Some(if likelihood { 250 } else { 1500 }),
        validations: 0,
        keep_best: false,
        ema: 0.99,
        ..Job::default()
    }
}

/// log p_true(x | c) − log p(x | c) on average over fresh rows, and its standard error.
fn excess(job: &Job, data: &Dataset) -> (f64, f64) {
    let given = data.given.as_ref().unwrap();
    let fitted = fit(job, data, &mut ()).unwrap();
    let flow = fitted.model.flow(DType::F64).unwrap();
    let d = flow.map.dim();
    let log_prob = {
        let n = data.test.len() / d;
        let tensor =
            |v: &[f64], cols| candle_core::Tensor::from_slice(v, (n, cols), &candle_core::Device::Cpu).unwrap();
        let (_, log, _) = flow.encode(&tensor(&data.test, d), Some(&tensor(&given.test, 1))).unwrap();
        log.to_vec1::<f64>().unwrap()
    };
    let differences: Vec<f64> =
        data.test.chunks_exact(d).zip(&given.test).zip(&log_prob).map(|((x, c), log)| truth(x, *c) - log).collect();
    cnf::train::mean_and_se(&differences)
}

/// What a net of this size is off by after so few steps: the largest excess seen was 0.010 nats. Pairs across the classes
/// cost 0.3 to 0.6 nats.
const UNDERTRAINED: f64 = 0.04;

#[test]
fn every_objective_pairing_and_path_reaches_the_conditional_density() {
    let mut wrong = Vec::new();
    for d in [1, 2] {
        let data = table(d);
        for objective in Objective::ALL {
            for pairing in Pairing::ALL {
                for path in Path::ALL {
                    let likelihood = objective == Objective::Likelihood;
                    if likelihood && (pairing != Pairing::Independent || path != Path::Straight) {
                        continue;
                    }
                    let (excess, se) = excess(&job(objective, pairing, path), &data);
                    let case = format!("d = {d}, {}, {}, {}", objective.name(), pairing.name(), path.name());
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
    let data = table(1);
    for pairing in Pairing::ALL {
        let job = Job { base: "mixture:3".into(), ..job(Objective::Matching, pairing, Path::Straight) };
        let (excess, se) = excess(&job, &data);
        println!("{}: excess {excess:.4} ± {se:.4}", pairing.name());
        // To carry three components to one takes longer to learn: 0.10 nats are left after 1500 steps, 0.05 after 6000. With
        // latents from the component that a row belongs to, the latents of a class are one component; a sample that starts
        // from another is lost, and the model is off by about ln 3 = 1.1 nats.
        assert!(excess < 0.25 && excess > -4.0 * se, "{}: {excess} ± {se}", pairing.name());
    }
}

#[test]
fn paired_latents_are_standard_normal_given_each_class_and_cost_less() {
    let square = |x: &[f64], z: &[f64]| x.iter().zip(z).map(|(x, z)| (x - z).powi(2)).sum::<f64>();
    for d in [1, 2, 3] {
        let (x, c) = rows(6000, d, 4);
        let drawn = StandardNormal::new(d).draw(6000, &mut stream(4, 1));
        let mut z = drawn.clone();
        for ((x, z), c) in x.chunks(256 * d).zip(z.chunks_mut(256 * d)).zip(c.chunks(256)) {
            pair_within(x, z, c, d, 100);
        }
        assert!(square(&x, &z) < 0.8 * square(&x, &drawn), "d = {d}");
        for class in 0..CLASSES.len() {
            let latents = |z: &[f64]| -> Vec<f64> {
                let of_class = z.chunks_exact(d).zip(&c).filter(|(_, c)| **c == class as f64);
                of_class.map(|(row, _)| row[0]).collect()
            };
            // The latents of a class are permuted among themselves: the very same numbers, in another order.
            let (mut before, mut after) = (latents(&drawn), latents(&z));
            before.sort_by(f64::total_cmp);
            after.sort_by(f64::total_cmp);
            assert_eq!(before, after, "d = {d}");
        }
        // With one class for all it is the pairing without a condition.
        let (mut one, mut other) = (drawn.clone(), drawn.clone());
        pair(&x, &mut one, d, 100);
        pair_within(&x, &mut other, &vec![1.0; 2 * 6000], d, 100);
        assert_eq!(one, other, "d = {d}");
    }
}

#[test]
fn optimal_pairs_are_refused_where_no_two_rows_share_a_condition() {
    let mut data = table(2);
    let mut given = data.given.clone().unwrap();
    let mut rng = stream(5, 0);
    for set in [&mut given.train, &mut given.valid, &mut given.test] {
        set.iter_mut().for_each(|c| *c += rng.random::<f64>());
    }
    data.given = Some(given);
    let refused = fit(&job(Objective::Matching, Pairing::Optimal, Path::Straight), &data, &mut ()).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("8000 different conditions") && refused.hint().unwrap().contains("independent"), "{text}");
    // A number of few values serves as a class does.
    let mut data = table(2);
    let given = data.given.as_mut().unwrap();
    for set in [&mut given.train, &mut given.valid, &mut given.test] {
        set.iter_mut().for_each(|c| *c = 0.25 + 0.5 * *c);
    }
    let short = Job { steps: Some(5), ..job(Objective::Matching, Pairing::Optimal, Path::Straight) };
    fit(&short, &data, &mut ()).unwrap();
}

/// Keeps the first checkpoint.
struct First(Option<Checkpoint>);

impl Watch for First {
    fn see(&mut self, _progress: &Progress<'_>) -> std::ops::ControlFlow<()> {
        std::ops::ControlFlow::Continue(())
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnf::Result<()> {
        self.0.get_or_insert_with(|| checkpoint.clone());
        Ok(())
    }
}

#[test]
fn a_resumed_run_pairs_as_one_that_was_not_broken_off() {
    let data = table(2);
    let job = Job { steps: Some(40), checkpoint: "15".into(), ..job(Objective::Mixed, Pairing::Optimal, Path::Vp) };
    let mut first = First(None);
    let whole = fit(&job, &data, &mut first).unwrap();
    let again = resume(first.0.unwrap(), &data, &mut ()).unwrap();
    assert_eq!(whole.model.theta, again.model.theta);
    let given = data.given.as_ref().unwrap();
    let score = score_given(&again.model.flow(DType::F32).unwrap(), &data.test, &given.test, None).unwrap();
    assert!(score.failed.is_empty());
}
