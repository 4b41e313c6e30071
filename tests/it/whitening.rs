//! Laws of the linear map before the couplings of a discrete flow: the first latents are uncorrelated, rows decide whether
//! it is there, and a model with it is one like others.

use cnflow::discrete::{Kind, LayerSpec};
use cnflow::model::{Architecture, Model};
use cnflow::rng::stream;
use cnflow::rows::{Context, Dataset, Memory};
use cnflow::train::{Family, Job, Whitening, fit, score};
use cnflow::transform::StandardNormal;
use cnflow::velocity::Precision;
use rand::Rng as _;

/// Two groups along a line from which the second column hardly departs, and a third column; under a condition, or not.
fn table(conditional: bool) -> Dataset {
    let z = StandardNormal::new(3).draw(3000, &mut stream(41, 0));
    let of = |z: &[f64]| {
        let a = if z[2] > 0.0 { 1.5 } else { -1.5 } + 0.2 * z[0];
        [10.0 * a, 3.0 + a + 0.05 * z[1], z[2] + 0.5 * z[0]]
    };
    let c: Vec<f64> = z.chunks_exact(3).map(|z| z[0]).collect();
    let context = conditional.then(|| (Context { columns: vec!["c".into()], dim: 1, words: Vec::new() }, c));
    let x: Vec<f64> = z.chunks_exact(3).flat_map(of).collect();
    let memory = Memory { name: "rows".into(), x: x.into(), dim: 3, context, ..Memory::default() };
    memory.dataset(&Default::default(), 0, None).unwrap()
}

fn job(kind: Kind, steps: usize, whitening: Whitening) -> Job {
    Job::default().with(|job| {
        job.model.family = Family::Discrete(kind);
        (job.model.whitening, job.optimiser.steps) = (whitening, Some(steps));
    })
}

/// Whether a model has the layer next to the data.
fn is_white(model: &Model) -> bool {
    let layers = match (&model.spec.architecture, &model.spec.base_flow) {
        (Architecture::Discrete(spec), _) => &spec.layers,
        (_, Some(base)) => &base.layers.layers,
        _ => return false,
    };
    matches!(layers.last(), Some(LayerSpec::Linear { fixed: true, .. }))
}

#[test]
fn the_first_latents_of_every_flow_are_uncorrelated() {
    for (kind, conditional) in Kind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let data = table(conditional);
        // A step that moves nothing.
        let still = job(kind, 1, Whitening::Cholesky).with(|job| job.optimiser.lr = Some(1e-30));
        let model = fit(&still, &data, &mut ()).unwrap().model;
        assert!(is_white(&model), "{}", kind.name());
        // The nets of NICE do not begin at nothing.
        let within = if kind == Kind::Nice { 0.3 } else { 1e-3 };
        let rows = data.training_rows().unwrap();
        let z = model.bind(Precision::F64).unwrap().latents(&rows.points(), &rows.context).unwrap().y;
        let n = (z.len() / 3) as f64;
        let mean = |j: usize| z.iter().skip(j).step_by(3).sum::<f64>() / n;
        for i in 0..3 {
            for j in 0..=i {
                let product = z.chunks_exact(3).map(|z| (z[i] - mean(i)) * (z[j] - mean(j))).sum::<f64>() / n;
                let expected = f64::from(u8::from(i == j));
                assert!((product - expected).abs() < within, "{} {i} {j}: {product}", kind.name());
            }
        }
    }
}

#[test]
fn columns_that_have_heavy_tails_behind_the_map_get_maps_of_their_own() {
    // The second column is the first and Cauchy's noise.
    let mut rng = stream(43, 0);
    let x = (0..4000).flat_map(|_| {
        let z: f64 = rng.sample(rand_distr::StandardNormal);
        let e: f64 = rng.sample(rand_distr::Cauchy::new(0.0, 0.01).unwrap());
        [z, z + e.clamp(-3.0, 3.0), rng.sample(rand_distr::StandardNormal)]
    });
    let memory = Memory { name: "rows".into(), x: x.collect::<Vec<f64>>().into(), dim: 3, ..Memory::default() };
    let data = memory.dataset(&Default::default(), 0, None).unwrap();
    let model = fit(&job(Kind::Spline, 2, Whitening::Cholesky), &data, &mut ()).unwrap().model;
    let Architecture::Discrete(spec) = &model.spec.architecture else { panic!("no discrete flow") };
    let [.., LayerSpec::Tails { columns }, LayerSpec::Linear { fixed: true, .. }] = &spec.layers[..] else {
        panic!("{:?}", spec.layers.len())
    };
    assert!(columns[0].is_none() && columns[1].is_some() && columns[2].is_none());
    assert!(columns[1].as_ref().unwrap().indices().iter().all(|index| *index > 0.3));
    // A file has them to the bit.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model.save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap().spec, model.spec);
}

#[test]
fn rows_that_follow_a_line_get_the_map_and_learn_faster_by_it() {
    let data = table(false);
    let nll = |model: &Model| score(&model.bind(Precision::F32).unwrap(), &data.test, None).unwrap().nll;
    let [auto, none] = [Whitening::Auto, Whitening::None]
        .map(|rule| fit(&job(Kind::Spline, 200, rule), &data, &mut ()).unwrap().model);
    assert!(is_white(&auto) && !is_white(&none));
    assert!(nll(&auto) < nll(&none) - 0.05, "{} or {}", nll(&auto), nll(&none));
    // The rule is that of splines.
    assert!(!is_white(&fit(&job(Kind::RealNvp, 2, Whitening::Auto), &data, &mut ()).unwrap().model));
}

#[test]
fn the_map_is_not_learnt_whatever_changes_the_weights() {
    let data = table(false);
    let of = |kind: Kind, steps: usize| {
        let job = job(kind, steps, Whitening::Cholesky).with(|job| job.optimiser.weight_decay = 0.5);
        let model = fit(&job, &data, &mut ()).unwrap().model;
        // Three numbers of the diagonal, and three each below and above it, at the end of θ.
        model.theta[model.theta.len() - 9..].to_vec()
    };
    for kind in Kind::ALL {
        assert_eq!(of(kind, 1), of(kind, 30), "{}", kind.name());
    }
}

#[test]
fn a_model_with_the_map_is_saved_trained_on_and_begun_at() {
    let folder = tempfile::tempdir().unwrap();
    let data = table(false);
    let first = fit(&job(Kind::Spline, 20, Whitening::Cholesky), &data, &mut ()).unwrap().model;
    let path = folder.path().join("m.safetensors");
    first.save(&path).unwrap();
    let read = Model::load(&path).unwrap();
    assert_eq!((&read.spec, &read.theta), (&first.spec, &first.theta));
    // It decides the layers of a training that starts from it, and beside it the rule has no meaning.
    let on = Job::default().with(|job| {
        job.model.init = Some(path.clone());
        job.model.family = Family::Discrete(Kind::Spline);
        job.optimiser.steps = Some(20);
    });
    let second = fit(&on, &data, &mut ()).unwrap().model;
    assert_eq!(second.spec.architecture, first.spec.architecture);
    let both = on.with(|job| job.model.whitening = Whitening::None);
    let refused = fit(&both, &data, &mut ()).unwrap_err().to_string();
    assert!(refused.contains("`model.whitening` has no meaning beside `model.init`"), "{refused}");
    // A velocity begins at it.
    let cnf = |rule| {
        Job::default().with(|job| {
            job.model.base = "spline".into();
            (job.model.whitening, job.optimiser.steps) = (rule, Some(5));
        })
    };
    let [with, without] = [Whitening::Auto, Whitening::None].map(|rule| fit(&cnf(rule), &data, &mut ()).unwrap().model);
    assert!(is_white(&with) && !is_white(&without));
    let other = cnf(Whitening::Cholesky).with(|job| job.model.base = "normal".into());
    let refused = fit(&other, &data, &mut ()).unwrap_err().to_string();
    assert!(refused.contains("`model.whitening` has no meaning for the base normal"), "{refused}");
}
