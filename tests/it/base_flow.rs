//! A velocity that begins at a discrete flow: trained in two parts, to the same bits however often it is interrupted.

use std::ops::ControlFlow;

use cnflow::model::{Architecture, BaseFlow, FlowSpec, Model};
use cnflow::rng::stream;
use cnflow::rows::{Context, DataOptions, Dataset, Memory, Rows, Source, resolve};
use cnflow::train::{
    Checkpoint, Family, Job, Preconditioning, Progress, TrainResult, ValidationScore, Watch, fit, resume, score,
};
use cnflow::velocity::Precision;
use rand::Rng as _;
use rand_distr::{Distribution as _, StandardNormal};

/// Two columns that bend, the second by a number and by a class where there are conditions.
fn table(conditional: bool) -> Dataset {
    let rows = |n: usize, seed: u64| {
        let mut rng = stream(seed, 0);
        let (mut x, mut c) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let (class, number) = (f64::from(rng.random_range(0..2u8)), rng.random_range(1.0..3.0));
            let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
            let (first, noise) = (normal(), normal());
            let bend = if conditional { (2.0 * class - 1.0) * number } else { 2.0 };
            x.extend([first, bend * first * first + 0.2 * noise]);
            c.extend([class, number]);
        }
        if conditional { Rows::under(x, c) } else { Rows::new(x) }
    };
    let [train, valid, test] = [rows(2000, 1), rows(400, 2), rows(1000, 3)];
    let context = Context { dim: 2, columns: vec!["class".into(), "number".into()], words: Vec::new() };
    Dataset {
        name: "bent".into(),
        dim: 2,
        shape: None,
        columns: None,
        train: Source::Rows(train),
        valid,
        test,
        context: conditional.then_some(context),
        places: None,
        words: Vec::new(),
        notes: Vec::new(),
    }
}

fn job(base: &str, steps: usize) -> Job {
    Job::default().with(|job| {
        job.model.base = base.into();
        job.model.hidden = Some(vec![16, 16]);
        job.optimiser.batch = Some(256);
        job.optimiser.steps = Some(steps);
        job.optimiser.validations = 3;
        job.optimiser.validation_rows = 200;
    })
}

/// The names of the discrete flows.
fn kinds() -> Vec<&'static str> {
    Family::ALL.into_iter().filter(|family| family.discrete().is_some()).map(Family::name).collect()
}

/// The discrete flow at which a model begins, as a model of its own.
fn base(model: &Model) -> Model {
    let BaseFlow { layers, theta } = model.spec.base_flow.clone().unwrap();
    let architecture = Architecture::Discrete(layers);
    let spec = FlowSpec { base_flow: None, architecture, ..model.spec.clone() };
    Model { spec, theta: theta.to_vec(), provenance: serde_json::Map::new() }
}

fn log_prob(model: &Model, rows: &Rows) -> Vec<f64> {
    model.bind(Precision::F64).unwrap().log_prob(&rows.points(), &rows.context).unwrap().log_prob
}

#[test]
fn a_velocity_at_rest_has_the_density_of_its_base() {
    for (conditional, kind) in [false, true].into_iter().flat_map(|c| kinds().into_iter().map(move |kind| (c, kind))) {
        let data = table(conditional);
        // A step that moves nothing.
        let still = job(kind, 1).with(|job| (job.model.base_share, job.optimiser.lr) = (0.99, Some(1e-30)));
        let fitted = fit(&still, &data, &mut ()).unwrap();
        assert!(fitted.base_seconds.is_some() && fitted.model.spec.architecture.as_velocity().is_some(), "{kind}");
        let (all, begun) = (log_prob(&fitted.model, &data.test), log_prob(&base(&fitted.model), &data.test));
        // Two solves at 1e-5, the log-density a hundred times as coarse.
        let worst = all.iter().zip(&begun).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 2e-3, "{kind}: {worst}");
    }
}

#[test]
fn a_velocity_improves_on_every_base() {
    for (conditional, kind) in [false, true].into_iter().flat_map(|c| kinds().into_iter().map(move |kind| (c, kind))) {
        let data = table(conditional);
        // A base that has only begun to learn.
        let job = job(kind, 400).with(|job| job.model.base_share = 0.02);
        let fitted = fit(&job, &data, &mut ()).unwrap();
        let nll = |model: &Model| score(&model.bind(Precision::F32).unwrap(), &data.test, None).unwrap().nll;
        let (all, begun) = (nll(&fitted.model), nll(&base(&fitted.model)));
        assert!(all < begun - 0.1, "{kind}: {all} after {begun}");
    }
}

#[test]
fn both_parts_have_the_same_bits_on_any_number_of_threads() {
    let data = table(true);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit(&job("spline", 30), &data, &mut ()).unwrap().model)
    };
    let one = on(1);
    for threads in [2, 3] {
        let other = on(threads);
        assert_eq!((&other.spec, &other.theta), (&one.spec, &one.theta), "{threads} threads");
    }
}

#[test]
fn a_toy_begins_at_a_flow_too() {
    let data = resolve("moons", &DataOptions { held_out: 500, ..DataOptions::default() }, 0).unwrap();
    let fitted = fit(&job("realnvp", 40), &data, &mut ()).unwrap();
    assert!(fitted.model.spec.base_flow.is_some() && fitted.steps == 40);
}

/// Ends the run at its call of this number, and keeps the last checkpoint.
struct Stop {
    after: usize,
    calls: usize,
    kept: Option<Checkpoint>,
}

impl Watch for Stop {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        self.calls += 1;
        if self.calls == self.after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.kept = Some(checkpoint.clone());
        Ok(())
    }
}

#[test]
fn a_run_that_is_stopped_in_either_part_goes_on_to_the_same_bits() {
    let data = table(true);
    // Without held-out scores no part ends early.
    let job = job("spline", 20).with(|job| (job.model.base_share, job.optimiser.validations) = (0.995, 0));
    let mut calls = Stop { after: usize::MAX, calls: 0, kept: None };
    let whole = fit(&job, &data, &mut calls).unwrap();
    let of_base = calls.calls - 20;
    assert!(of_base > 2, "{of_base} steps of the base");
    let folder = tempfile::tempdir().unwrap();
    for after in [1, of_base - 1, of_base, of_base + 1, of_base + 10] {
        let mut watch = Stop { after, calls: 0, kept: None };
        let stopped = fit(&job, &data, &mut watch).unwrap();
        // The last step of the base is not one of the run.
        assert_eq!(stopped.stopped, after != of_base, "after {after} of {of_base} + 20");
        if !stopped.stopped {
            continue;
        }
        let is_base = stopped.model.spec.architecture.as_discrete().is_some();
        assert_eq!(is_base, after < of_base, "after {after}");
        let path = folder.path().join(format!("{after}.safetensors"));
        watch.kept.unwrap().save(&path).unwrap();
        let checkpoint = Checkpoint::load(&path).unwrap();
        // What goes on is the whole run.
        assert_eq!(checkpoint.job().model.family, Family::Cnf, "after {after}");
        let TrainResult { model, steps, .. } = resume(checkpoint, &data, &mut ()).unwrap();
        assert_eq!((steps, &model.spec, &model.theta), (20, &whole.model.spec, &whole.model.theta), "after {after}");
    }
}

/// Rows of `d` columns that `of` makes of as many numbers from 0 to 1 and as many normal ones.
fn rows(n: usize, d: usize, of: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Dataset {
    let mut rng = stream(7, 0);
    let mut x = Vec::with_capacity(n * d);
    for _ in 0..n {
        let uniform: Vec<f64> = (0..d).map(|_| rng.random_range(0.0..1.0)).collect();
        let normal: Vec<f64> = (0..d).map(|_| StandardNormal.sample(&mut rng)).collect();
        x.extend(of(&uniform, &normal));
    }
    let memory = Memory { name: "rows".into(), x: x.into(), dim: d, ..Memory::default() };
    memory.dataset(&Default::default(), 0, None).unwrap()
}

/// Narrow Gaussians in five columns: a mixture by its nature.
fn clusters() -> Dataset {
    rows(4000, 5, |u, z| {
        let k = (12.0 * u[0]).floor();
        (0..5).map(|j| (1.7 * k * (j + 1) as f64).sin() * 4.0 + 0.05 * z[j]).collect()
    })
}

fn timed(seconds: f64) -> Job {
    Job::default().with(|job| job.optimiser.time = Some(seconds))
}

#[test]
fn a_velocity_begins_at_a_mixture_where_one_is_ahead_of_the_spline() {
    let data = clusters();
    let mut watch = Notes::default();
    // As the command has it: with all that was left out filled in.
    let job = timed(4.0).resolve_for(&data).unwrap();
    assert_eq!(job.model.base, "best");
    let fitted = fit(&job, &data, &mut watch).unwrap();
    assert_eq!(fitted.job.model.base, "mixture");
    let spec = &fitted.model.spec;
    assert!(spec.base.is_some() && spec.base_flow.is_none() && spec.architecture.as_velocity().is_some());
    assert!(fitted.base_seconds.unwrap() < 4.0 && fitted.mixture_seconds.is_some() && !fitted.replaced_by_baseline);
    assert_eq!(watch.0.iter().filter(|words| words.contains("a mixture, which was ahead of the spline")).count(), 1);
    // The entropy: ln 12, and five columns of deviation 0.05.
    let truth = 12f64.ln() + 5.0 * (0.5 * (1.0 + (2.0 * std::f64::consts::PI).ln()) + 0.05f64.ln());
    let nll = score(&fitted.model.bind(Precision::F32).unwrap(), &data.test, None).unwrap().nll;
    assert!(nll < truth + 0.5, "{nll} for {truth}");
    // Of uniform columns a spline has the edges, and a mixture has not.
    let squares = rows(4000, 6, |u, _| u.to_vec());
    let fitted = fit(&timed(4.0), &squares, &mut ()).unwrap();
    assert!(fitted.model.spec.base.is_none() && fitted.model.spec.base_flow.is_some());
    assert_eq!(fitted.job.model.base, "spline");
    // Steps are no time, but may be told to choose.
    let steps = |base: &str| Job::default().with(|job| (job.optimiser.steps, job.model.base) = (Some(30), base.into()));
    let [auto, best] = ["auto", "best"].map(|base| fit(&steps(base), &data, &mut ()).unwrap().model);
    assert!(auto.spec.base_flow.is_some() && best.spec.base.is_some());
    let again = fit(&steps("best"), &data, &mut ()).unwrap().model;
    assert_eq!((&again.spec, &again.theta), (&best.spec, &best.theta));
    // What is set for the spline is no hindrance to the mixture.
    for change in [
        |job: &mut Job| job.model.base_share = 0.5,
        |job: &mut Job| job.optimiser.validation = Some(ValidationScore::Bound),
    ] {
        assert!(fit(&steps("best").with(change), &data, &mut ()).unwrap().model.spec.base.is_some());
    }
    // Not for another base, nor where an option is set that a velocity at a mixture lacks.
    for job in [
        timed(0.5).with(|job| job.model.base = "spline".into()),
        timed(0.5).with(|job| job.model.preconditioning = Some(Preconditioning::Gaussian)),
    ] {
        assert!(fit(&job, &data, &mut ()).unwrap().model.spec.base_flow.is_some());
    }
}

#[test]
fn a_run_that_is_stopped_before_the_comparison_goes_on_to_it() {
    let data = clusters();
    let mut watch = Stop { after: 3, calls: 0, kept: None };
    assert!(fit(&timed(4.0), &data, &mut watch).unwrap().stopped);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    watch.kept.unwrap().save(&path).unwrap();
    let fitted = resume(Checkpoint::load(&path).unwrap(), &data, &mut ()).unwrap();
    assert!(fitted.model.spec.base.is_some() && fitted.model.spec.base_flow.is_none());
    // So does one that is stopped behind it.
    let mut watch = Stop { after: usize::MAX, calls: 0, kept: None };
    let mut at_mixture = AtMixture { stop: &mut watch, seen: false };
    assert!(fit(&timed(4.0), &data, &mut at_mixture).unwrap().stopped);
    watch.kept.unwrap().save(&path).unwrap();
    let fitted = resume(Checkpoint::load(&path).unwrap(), &data, &mut ()).unwrap();
    assert!(fitted.model.spec.base.is_some() && fitted.model.spec.base_flow.is_none() && !fitted.stopped);
}

#[test]
fn a_run_that_compares_goes_on_to_the_same_bits_wherever_it_is_stopped() {
    // A mixture is not ahead where one Gaussian is the truth.
    let data = rows(2000, 6, |_, z| z.to_vec());
    let job = job("best", 40).with(|job| job.model.base_share = 0.995);
    let mut calls = Stop { after: usize::MAX, calls: 0, kept: None };
    let whole = fit(&job, &data, &mut calls).unwrap();
    let of_base = calls.calls - 40;
    assert!(whole.model.spec.base_flow.is_some() && of_base > 5, "{of_base} steps of the base");
    // Before the comparison, just behind it, and late.
    for after in [1, of_base / 3 + 2, of_base - 1] {
        let mut watch = Stop { after, calls: 0, kept: None };
        assert!(fit(&job, &data, &mut watch).unwrap().stopped);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        watch.kept.unwrap().save(&path).unwrap();
        let mut on = Stop { after: usize::MAX, calls: 0, kept: None };
        let TrainResult { model, .. } = resume(Checkpoint::load(&path).unwrap(), &data, &mut on).unwrap();
        assert_eq!((&model.spec, &model.theta), (&whole.model.spec, &whole.model.theta), "after {after} of {of_base}");
    }
}

/// What was remarked.
#[derive(Default)]
struct Notes(Vec<String>);

impl Watch for Notes {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn note(&mut self, words: &str) {
        self.0.push(words.into());
    }
}

/// Ends the run at the first step of the velocity at a mixture.
struct AtMixture<'a> {
    stop: &'a mut Stop,
    seen: bool,
}

impl Watch for AtMixture<'_> {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        if self.seen { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn note(&mut self, words: &str) {
        self.seen |= words.contains("a mixture");
    }

    fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
        self.stop.keep(checkpoint)
    }
}

#[test]
fn a_base_of_no_meaning_is_refused() {
    let data = table(false);
    let refused = |job: Job| {
        let error = fit(&job, &data, &mut ()).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let share = |base: &str, share: f64| job(base, 5).with(|job| job.model.base_share = share);
    assert!(refused(share("normal", 0.3)).contains("`model.base_share` has no meaning for the base normal"));
    for part in [0.0, 1.0, f64::NAN] {
        assert!(refused(share("spline", part)).contains("a share of"));
    }
    assert!(refused(job("splines", 5)).contains("unknown `model.base` `splines`"));
    let images = cnflow::rows::resolve("digits", &DataOptions::default(), 0).unwrap();
    let error = fit(&Job::default().with(|job| job.model.base = "glow".into()), &images, &mut ()).unwrap_err();
    assert!(error.to_string().contains("a velocity of images cannot begin at a discrete flow"), "{error}");
}
