//! Few rows in a tight mode: mixtures find them, the choice between models looks for them, `cnf check` notices where
//! they are lost.

use cnflow::check::{Check, HeldOut, Subject, Verdict, run};
use cnflow::fit::EmOptions;
use cnflow::model::Model;
use cnflow::rng::stream;
use cnflow::rows::{Dataset, Rows, Source};
use cnflow::train::{Family, Job, fit};
use cnflow::transform::{Mixture, StandardNormal};
use cnflow::velocity::Precision;

/// The rows of a bulk, one in a thousand of which lies in a mode instead.
struct Rare {
    name: &'static str,
    dim: usize,
    bulk: fn(&[f64]) -> Vec<f64>,
    mode: Vec<f64>,
    width: f64,
}

const SHARE: usize = 1000;

fn every() -> Vec<Rare> {
    let normal = |z: &[f64]| z.to_vec();
    let ring = |z: &[f64]| {
        let angle = z[1].atan2(z[0]);
        vec![3.0 * angle.cos() + 0.1 * z[0], 3.0 * angle.sin() + 0.1 * z[1]]
    };
    let exponential = |z: &[f64]| z.iter().map(|z| z.exp()).collect();
    vec![
        Rare { name: "far from a normal", dim: 2, bulk: normal, mode: vec![8.0, -6.0], width: 0.1 },
        Rare { name: "in the tail of a normal", dim: 2, bulk: normal, mode: vec![2.5, 2.5], width: 0.02 },
        Rare { name: "in a ring", dim: 2, bulk: ring, mode: vec![0.0, 0.0], width: 0.05 },
        Rare { name: "beside lognormal columns", dim: 2, bulk: exponential, mode: vec![-3.0, -3.0], width: 0.05 },
        Rare { name: "in one column", dim: 1, bulk: normal, mode: vec![7.0], width: 0.05 },
        Rare { name: "in five columns", dim: 5, bulk: normal, mode: vec![4.0; 5], width: 0.2 },
    ]
}

impl Rare {
    fn rows(&self, n: usize, seed: u64) -> Vec<f64> {
        let z = StandardNormal::new(self.dim).draw(n, &mut stream(seed, 3));
        let place = |(i, z): (usize, &[f64])| match i % SHARE {
            0 => z.iter().zip(&self.mode).map(|(z, m)| m + self.width * z).collect(),
            _ => (self.bulk)(z),
        };
        z.chunks_exact(self.dim).enumerate().flat_map(place).collect()
    }

    /// log of the mode's own density in its middle.
    fn log_prob(&self) -> f64 {
        -(SHARE as f64).ln() - self.dim as f64 * (0.5 * std::f64::consts::TAU.ln() + self.width.ln())
    }
}

fn at(model: &Model, x: &[f64]) -> f64 {
    model.bind(Precision::F64).unwrap().log_prob(x, &[]).unwrap().log_prob[0]
}

#[test]
fn a_mode_of_one_row_in_a_thousand_is_found_by_the_mixture() {
    for rare in every() {
        let (train, valid) = (rare.rows(24_000, 1), rare.rows(4000, 2));
        let options = EmOptions::default();
        let chosen = Mixture::choose(&train, &valid, rare.dim, &options, &mut stream(3, 3), &mut || false).unwrap();
        let found = chosen.mixture.log_prob_rows(&rare.mode)[0];
        // 24 rows: the logarithm of their number is known to 0.2, of the determinant to √(2 d / 24); a prior of 0.02 to
        // 2 rows widens it further. A lost mode is off by five nats or more.
        let most = 0.9 + 2.0 * (2.0 * rare.dim as f64 / 24.0).sqrt();
        let truth = rare.log_prob();
        assert!((found - truth).abs() < most, "{}: {found} for {truth}; {:?}", rare.name, chosen.table);
        // And it is drawn: 100 of 100 000, give or take the error of 24 rows and a component's neighbours.
        let samples = chosen.mixture.draw(100_000, &mut stream(3, 4));
        let near = |row: &&[f64]| row.iter().zip(&rare.mode).all(|(x, m)| (x - m).abs() < 4.0 * rare.width);
        let count = samples.chunks_exact(rare.dim).filter(near).count();
        let others = train.chunks_exact(rare.dim).filter(near).count() as f64 * 100_000.0 / 24_000.0;
        assert!((0.6..1.7).contains(&(count as f64 / others)), "{}: {count} samples for {others}", rare.name);
    }
}

fn table(rare: &Rare) -> Dataset {
    let train = Source::Rows(rare.rows(24_000, 1).into());
    let (valid, test) = (rare.rows(4000, 2).into(), rare.rows(4000, 5).into());
    Dataset {
        name: "rare".into(),
        dim: rare.dim,
        shape: None,
        columns: None,
        train,
        valid,
        test,
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    }
}

#[test]
fn check_notices_a_lost_mode_and_passes_a_model_that_has_it() {
    let rare = &every()[0];
    let data = table(rare);
    let train = data.training_rows().unwrap().points().into_owned();
    let line = |model: Model, trained_on: Vec<f64>| -> Check {
        let held_out = HeldOut::Rows(data.test.clone(), "test".into());
        let subject = Subject {
            model,
            precision: Precision::F32,
            n: 200,
            seed: 0,
            condition: Vec::new(),
            held_out,
            conditional: Rows::default(),
            trained_on,
        };
        let lines = run(&subject, &mut |_| {}).unwrap();
        let named = |name: &str| lines.iter().find(|line| line.name == name).unwrap().clone();
        // The older line does not see it.
        assert_eq!(named("latents of data").verdict, Verdict::Pass);
        named("coverage")
    };
    let job = Job::default().with(|job| {
        job.optimiser.steps = Some(60);
        job.model.hidden = Some(vec![16, 16]);
        job.optimiser.batch = Some(256);
    });
    let lost =
        fit(&job.clone().with(|job| job.model.family = Family::Gaussian).applicable(), &data, &mut ()).unwrap().model;
    let result = line(lost.clone(), train.clone());
    assert_eq!(result.verdict, Verdict::Fail, "{}", result.words);
    // Held-out rows alone are four in the mode: too few for a verdict, and no false alarm.
    let result = line(lost, Vec::new());
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.words);
    // What `cnf train` makes of the table has it: the mixture replaces the flow.
    let fitted = fit(&job, &data, &mut ()).unwrap();
    assert!(fitted.replaced_by_baseline && fitted.mixture_seconds.is_some());
    let (found, truth) = (at(&fitted.model, &rare.mode), rare.log_prob());
    assert!((found - truth).abs() < 1.8, "{found} for {truth}");
    let result = line(fitted.model, train.clone());
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.words);
}

#[test]
fn a_column_that_counts_a_rare_event_is_fitted() {
    // Of 4000 rows 32 have another place in the first column and any number but 0 in the second.
    let z = StandardNormal::new(3).draw(4000, &mut stream(2, 4));
    let row = |(i, z): (usize, &[f64])| match i % 125 {
        7 => [1000.0 + 10.0 * z[0], 5.0 + z[1], z[2]],
        _ => [z[0], 0.0, z[2]],
    };
    let x: Vec<f64> = z.chunks_exact(3).enumerate().flat_map(row).collect();
    for components in [1, 2, 6] {
        let options = EmOptions { components, ..EmOptions::default() };
        let mixture = Mixture::fit(&x, 3, &options, &mut stream(2, 5), &mut || false).unwrap();
        assert!(mixture.log_prob_rows(&x).iter().all(|l| l.is_finite()), "{components}");
    }
}
