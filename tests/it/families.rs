//! Laws over every family of models that `cnf train --model` knows: trained, saved, loaded, conditioned.
#![cfg(feature = "cli")]

use crate::common::command::{cnf, json};
use cnflow::io::{self, Array, Dtype};
use cnflow::model::Model;
use cnflow::rng::stream;
use cnflow::rows::{Context, DataOptions, Dataset, Rows, Source, resolve};
use cnflow::train::{Family, Job, fit, score};
use cnflow::transform::{Condition, ContextColumn, ContextKind, StandardNormal};
use cnflow::velocity::Precision;
use rand::Rng as _;
use rand_distr::{Distribution as _, StandardNormal as Draw};

fn toy(name: &str) -> Dataset {
    resolve(name, &DataOptions { held_out: 2000, ..DataOptions::default() }, 0).unwrap()
}

fn short(model: Family) -> Job {
    Job::default()
        .with(|job| {
            job.model.family = model;
            job.model.hidden = (!model.is_reference()).then(|| vec![24, 24]);
            job.optimiser.batch = Some(256);
            job.optimiser.steps = Some(300);
            job.optimiser.validations = 3;
            job.optimiser.validation_rows = 500;
        })
        .applicable()
}

/// Two columns whose first has its centre at −2 or 2 by the class, and its width by a number: the condition matters,
/// and p(x | c) is known.
fn conditional() -> (Dataset, impl Fn(&[f64], &[f64]) -> f64) {
    let rows = |n: usize, seed: u64| {
        let mut rng = stream(seed, 0);
        let (mut x, mut c) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let class = f64::from(rng.random_range(0..2u8));
            let width: f64 = rng.random_range(0.2..1.0);
            let mut normal = || -> f64 { Draw.sample(&mut rng) };
            x.extend([4.0 * class - 2.0 + width * normal(), 10.0 + normal()]);
            c.extend([class, 100.0 * width]);
        }
        Rows::under(x, c)
    };
    let [train, valid, test] = [rows(4000, 1), rows(500, 2), rows(1000, 3)];
    let context = Context { dim: 2, columns: vec!["class".into(), "width".into()], ..Context::default() };
    let data = Dataset {
        name: "told".into(),
        dim: 2,
        shape: None,
        columns: None,
        train: Source::Rows(train),
        valid,
        test,
        context: Some(context),
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    };
    let log_normal = |z: f64| -0.5 * z * z - 0.5 * std::f64::consts::TAU.ln();
    let truth = move |x: &[f64], c: &[f64]| {
        let width = c[1] / 100.0;
        log_normal((x[0] - 4.0 * c[0] + 2.0) / width) - width.ln() + log_normal(x[1] - 10.0)
    };
    (data, truth)
}

#[test]
fn every_family_comes_back_from_its_file_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = toy("moons");
    let x = &data.test.x.part(0..200);
    for family in Family::ALL {
        let name = family.name();
        assert_eq!(name.parse::<Family>().unwrap(), family);
        let fitted = fit(&short(family).with(|job| job.optimiser.steps = Some(5)), &data, &mut ()).unwrap();
        let path = folder.path().join(format!("{name}.safetensors"));
        fitted.model.save(&path).unwrap();
        let back = Model::load(&path).unwrap();
        assert_eq!(back.spec, fitted.model.spec, "{name}");
        assert_eq!(back.theta, fitted.model.theta, "{name}");
        for precision in [Precision::F32, Precision::F64] {
            let (one, two) = (fitted.model.bind(precision).unwrap(), back.bind(precision).unwrap());
            let (one, two) = (one.encode(x, &[]).unwrap(), two.encode(x, &[]).unwrap());
            assert_eq!((one.y, one.log_prob), (two.y, two.log_prob), "{name}");
        }
        // The job tells the family too.
        let job = Job::from_toml(&short(family).to_toml().unwrap()).unwrap();
        assert_eq!(job.model.family, family);
    }
    assert!("nicer".parse::<Family>().unwrap_err().hint().unwrap().contains("realnvp"));
}

#[test]
fn every_flow_learns_and_every_family_beats_the_gaussian_of_fixed_deviation() {
    let data = toy("8gaussians");
    let nll = |family: Family| {
        let fitted = fit(&short(family), &data, &mut ()).unwrap();
        let score = score(&fitted.model.bind(Precision::F32).unwrap(), &data.test, data.toy()).unwrap();
        assert!(score.failed.is_empty(), "{}", family.name());
        let (excess, se) = score.excess.unwrap();
        // No density is better than the truth: five standard errors do not happen by chance.
        assert!(excess > -5.0 * se, "{}: {excess} ± {se}", family.name());
        excess
    };
    let worst = nll(Family::GaussianFixed);
    // The ring of eight has a Gaussian's covariance; what is learnt in 300 steps is far below it.
    let gaussian = nll(Family::Gaussian);
    assert!(gaussian < worst);
    for family in Family::ALL
        .into_iter()
        .filter(|family| !matches!(family, Family::Gaussian | Family::GaussianShrunk | Family::GaussianFixed))
    {
        let found = nll(family);
        assert!(found < gaussian, "{}: {found} against {gaussian}", family.name());
    }
}

#[test]
fn a_condition_is_learnt_by_every_flow() {
    let (data, truth) = conditional();
    let points = data.test.points();
    let pairs = || points.chunks_exact(2).zip(data.test.context.chunks_exact(2));
    let entropy = -pairs().map(|(x, c)| truth(x, c)).sum::<f64>() / 1000.0;
    for family in Family::ALL.into_iter().filter(|family| !family.is_reference()) {
        let name = family.name();
        let fitted = fit(&short(family).with(|job| job.optimiser.steps = Some(600)), &data, &mut ()).unwrap();
        let flow = fitted.model.bind(Precision::F32).unwrap();
        let found = score(&flow, &data.test, None).unwrap();
        // Who ignores the class pays ln 2 = 0.69, who ignores the width 0.13 more.
        let excess = found.nll - entropy;
        assert!(excess < 0.35, "{name}: {excess}");
        assert!(excess > -0.1, "{name}: {excess}");

        assert_eq!((fitted.model.condition_dim(), fitted.model.spec.architecture.condition_dim()), (2, 3), "{name}");
        let c = [0.0, 30.0, 1.0, 30.0].repeat(500);
        let x = flow.sample(1000, &c, &mut stream(5, 0)).unwrap().y;
        let mean = |class: usize| x.chunks_exact(2).skip(class).step_by(2).map(|row| row[0]).sum::<f64>() / 500.0;
        assert!((mean(0) + 2.0).abs() < 0.4 && (mean(1) - 2.0).abs() < 0.4, "{name}: {} {}", mean(0), mean(1));

        // n rows with their conditions are n times one.
        let z = StandardNormal::new(2).draw(3, &mut stream(6, 0));
        let c = [0.0, 30.0, 1.0, 80.0, 0.0, 55.0];
        let all = flow.decode(&z, &c).unwrap();
        for i in 0..3 {
            let row = |x: &[f64]| x[2 * i..2 * i + 2].to_vec();
            let one = flow.decode(&row(&z), &row(&c)).unwrap();
            assert_eq!((row(&all.y), all.log_prob[i]), (one.y, one.log_prob[0]), "{name}");
        }

        let refused = flow.sample(2, &[], &mut stream(5, 0)).unwrap_err().to_string();
        assert!(refused.contains("conditional on 2 columns"), "{refused}");
        let refused = flow.sample(1, &[7.0, 30.0], &mut stream(5, 0)).unwrap_err();
        assert!(refused.to_string().contains('7') && refused.hint().unwrap().contains("0, 1"), "{refused}");

        let file = tempfile::NamedTempFile::new().unwrap();
        fitted.model.save(file.path()).unwrap();
        let back = Model::load(file.path()).unwrap();
        assert_eq!(back.spec, fitted.model.spec, "{name}");
    }
    for family in Family::ALL.into_iter().filter(|family| family.is_reference()) {
        let refused = fit(&short(family), &data, &mut ()).unwrap_err().to_string();
        assert!(refused.contains("cannot have a condition"), "{refused}");
    }
}

#[test]
fn conditions_are_encoded_as_they_look_or_as_they_are_told_to_be() {
    let classes = ContextColumn::fit(ContextKind::Auto, &[3.0, 1.0, 3.0, 8.0]).unwrap();
    assert_eq!(classes, ContextColumn::Class { classes: vec![1, 3, 8] });
    let number = ContextColumn::fit(ContextKind::Number, &[1.0, 3.0]).unwrap();
    assert_eq!(number, ContextColumn::Number { mean: 2.0, std: 1.0 });
    let condition = Condition { columns: vec![classes, number], names: Vec::new() };
    assert_eq!(condition.width(), 4);
    assert_eq!(condition.encode(&[3.0, 4.0]).unwrap(), [0.0, 1.0, 0.0, 2.0]);
    for (kind, values, sentence) in [
        (ContextKind::Auto, vec![1.0, f64::NAN], "row 1"),
        (ContextKind::Auto, vec![2.0, 2.0], "a single value"),
        (ContextKind::Number, vec![2.5, 2.5], "in all 2 rows"),
        (ContextKind::Class, vec![0.5, 2.0], "whole numbers"),
    ] {
        let refused = ContextColumn::fit(kind, &values).unwrap_err().to_string();
        assert!(refused.contains(sentence), "{refused}");
    }
}

#[test]
fn a_conditional_run_is_used_by_every_command_and_its_misuse_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (data, _) = conditional();
    let rows = data.training_rows().unwrap();
    let (x, context) = (rows.points(), &rows.context);
    let mut table = String::from("class,u,v\n");
    for (x, c) in x.chunks_exact(2).zip(context.chunks_exact(2)).take(1500) {
        table += &format!("{},{},{}\n", c[0], x[0], x[1]);
    }
    std::fs::write(at.join("t.csv"), table).unwrap();
    let labels: Vec<f64> = context.iter().step_by(2).take(1500).copied().collect();
    io::write(&at.join("labels.npy"), &Array::table(labels, 1, Dtype::F64).unwrap()).unwrap();
    io::write(&at.join("x.npy"), &Array::table(x[..3000].to_vec(), 2, Dtype::F64).unwrap()).unwrap();
    io::write(&at.join("few.npy"), &Array::table(vec![0.0; 7], 1, Dtype::F64).unwrap()).unwrap();

    for (out, words) in [
        ("a", "train --data t.csv --condition class --steps 60 --hidden 16,16 --model realnvp --out a"),
        ("b", "train --data x.npy --condition labels.npy --steps 60 --hidden 16,16 --out b"),
    ] {
        let facts = json(at, words);
        assert!(facts["nll"].as_f64().unwrap().is_finite());
        assert!(at.join(out).join("samples.png").is_file() && at.join(out).join("density.png").is_file());
        let info = json(at, &format!("info {out}"));
        assert_eq!(info["condition_dim"], 1);
        json(at, &format!("sample {out} -n 200 --given 1 -o s.npy"));
        json(at, &format!("sample {out} -n 1500 --condition labels.npy -o s.npy"));
        json(at, &format!("density {out} s.npy --given 1 -o log_p.npy"));
        json(at, &format!("density {out} --given 0 --grid 20 -o grid.npy"));
        json(at, &format!("invert s.npy --model {out} --condition labels.npy -o z.npy"));
        for (words, sentence) in [
            (format!("sample {out} -n 5 -o no.npy"), "no condition was given"),
            (format!("sample {out} -n 5 -o no.npy --given 5"), "class"),
            (format!("sample {out} -n 5 -o no.npy --given 0,1"), "--given has 2 values"),
            (format!("sample {out} -n 5 -o no.npy --given mass=1"), "no condition `mass`"),
            (format!("sample {out} -n 5 -o no.npy --given red"), "is not a finite number"),
        ] {
            let refused = cnf(at, &words);
            let err = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{words}: {err}");
            assert!(err.contains(sentence) && err.contains("hint:"), "{words}: {err}");
            assert!(!at.join("no.npy").exists());
        }
    }
    json(at, "sample a -n 20 --given class=1 -o named.npy");
    json(at, "check a --given 1 -n 200");

    // A class that only held-out rows have is reported before anything is trained.
    let rare: Vec<f64> = (0..1500).map(|i| if i == 1499 { 9.0 } else { f64::from(i % 2) }).collect();
    io::write(&at.join("rare.npy"), &Array::table(rare, 1, Dtype::F64).unwrap()).unwrap();
    let codes: Vec<f64> = (0..1500).map(|i| f64::from(u8::from(i > 1200) * 2)).collect();
    io::write(&at.join("codes.npy"), &Array::table(codes, 1, Dtype::F64).unwrap()).unwrap();
    let from = "train --init a --steps 5 --out no --data t.csv";
    json(at, "train --init a --data t.csv --condition class --steps 5 --out further");
    let config = std::fs::read_to_string(at.join("further/config.toml")).unwrap();
    // Left out, the condition is that of the model.
    json(at, "train --init a --data t.csv --steps 5 --out same");
    assert!(std::fs::read_to_string(at.join("same/config.toml")).unwrap().contains("condition = [\"class\"]"));
    assert!(config.contains("family = \"realnvp\"") && config.contains("hidden = [16, 16]"), "{config}");

    for (words, sentence) in [
        ("train --data x.npy --condition rare.npy --split codes.npy --steps 5 --out no", "the test set"),
        (&format!("{from} --condition v"), "has no column `class`"),
        (&format!("{from} --condition class --depth 3"), "depth differs from"),
        (&format!("{from} --condition class --model cnf"), "--model contradicts"),
        ("train --model realnvp --rtol 1e-3 --steps 5 --out no", "--rtol has no meaning for realnvp"),
        ("train --model realnvp --path vp --steps 5 --out no", "--path has no meaning for realnvp"),
        ("train --depth 3 --steps 5 --out no", "--depth has no meaning for cnf"),
        ("train --model gaussian --init a --data t.csv --out no", "--model contradicts"),
        ("train --data t.csv --condition mass --steps 5 --out no", "class, u, v"),
        ("train --data t.csv --condition class,class --steps 5 --out no", "twice"),
        ("train --data t.csv --condition class,u,v --steps 5 --out no", "no column is left to model"),
        ("train --data x.npy --condition few.npy --steps 5 --out no", "it holds 7 rows"),
        ("train --data x.npy --condition gone.npy --steps 5 --out no", "gone.npy"),
        ("train --data moons --condition class --steps 5 --out no", "drawn without conditions"),
        ("train --data t.csv --condition class --model gaussian --out no", "--condition has no meaning for gaussian"),
        ("train --model realnvp --objective matching --steps 5 --out no", "no velocity to match"),
        ("train --model glow --kinetic 0.1 --steps 5 --out no", "no meaning for glow"),
        ("train --model nice --base mixture --steps 5 --out no", "no meaning for nice"),
        ("train --model realnvp --depth 0 --steps 5 --out no", "0 couplings"),
        ("train --model spline --bins 1 --steps 5 --out no", "bins"),
        ("train --model gaussian-fixed --sigma 0 --out no", "deviation 0"),
    ] {
        let refused = cnf(at, words);
        let err = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_ne!(refused.status.code(), Some(0), "{words}");
        assert!(err.contains(sentence), "{words}: {err}");
        assert!(!at.join("no").exists(), "{words}");
    }
}

#[test]
fn a_discrete_run_is_resumed_to_the_same_bits_and_is_the_same_on_any_number_of_threads() {
    use cnflow::train::{Checkpoint, Progress, Watch, resume};
    struct Keep(std::path::PathBuf, usize);
    impl Watch for Keep {
        fn see(&mut self, progress: &Progress<'_>) -> std::ops::ControlFlow<()> {
            if progress.record.step >= self.1 {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        }
        fn keep(&mut self, checkpoint: &Checkpoint) -> cnflow::Result<()> {
            checkpoint.save(&self.0)
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let (rows, _) = conditional();
    for (data, family) in [(toy("moons"), "glow"), (toy("moons"), "spline"), (rows, "realnvp"), (toy("moons"), "nice")]
    {
        let job = short(family.parse().unwrap()).with(|job| job.optimiser.steps = Some(40));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit(&job, &data, &mut ()).unwrap())
        };
        let whole = on(1);
        assert_eq!(whole.model.theta, on(2).model.theta, "{family}");
        fit(&job, &data, &mut Keep(file.path().to_owned(), 17)).unwrap();
        let again = resume(Checkpoint::load(file.path()).unwrap(), &data, &mut ()).unwrap();
        assert_eq!(again.model.theta, whole.model.theta, "{family}");
        if data.context.is_some() {
            let mut other = data.clone();
            if let Source::Rows(rows) = &mut other.train {
                rows.context.reverse();
            }
            let refused = resume(Checkpoint::load(file.path()).unwrap(), &other, &mut ()).unwrap_err().to_string();
            assert!(refused.contains("no longer holds the rows"), "{refused}");
        }
    }
}

#[test]
fn every_family_is_trained_by_the_command_with_a_seed_and_its_config_repeats_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for family in Family::ALL {
        let (name, net) = (family.name(), if family.is_reference() { "" } else { "--hidden 8,8" });
        let first = json(at, &format!("train --data moons --model {name} --steps 20 {net} --seed 5 --out {name}"));
        let again = json(at, &format!("train --config {name}/config.toml --out {name}-again"));
        let other = json(at, &format!("train --config {name}/config.toml --seed 6 --out {name}-other"));
        assert_eq!(first["nll"], again["nll"], "{name}");
        assert_ne!(first["nll"], other["nll"], "{name}");
    }
}

#[test]
fn a_run_that_gave_way_to_its_mixture_is_used_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // One half as narrow as no flow of thirty steps can be.
    let mut rng = stream(4, 0);
    let mut table = String::from("u,v\n");
    for i in 0..2000 {
        let (u, v): (f64, f64) = (Draw.sample(&mut rng), Draw.sample(&mut rng));
        let (u, v) = if i % 2 == 0 { (u, v) } else { (4.0 + 0.1 * u, 0.1 * v) };
        table += &format!("{u},{v}\n");
    }
    std::fs::write(at.join("t.csv"), table).unwrap();
    let facts = json(at, "train --data t.csv --hidden 8,8 --steps 30 --out r");
    assert!(facts["replaced_by_baseline"].as_u64().unwrap() > 1 && facts["nfe_mean"] == 0.0, "{facts}");
    for picture in ["density.png", "samples.png", "training.png"] {
        assert!(at.join("r").join(picture).is_file());
    }
    let info = json(at, "info r");
    assert_eq!((&info["kind"], &info["n_params"]), (&"still".into(), &facts["n_params"]));
    assert_eq!(json(at, "check r -n 300")["passed"], true);
    json(at, "sample r -n 100 -o x.npy");
    json(at, "density r x.npy -o log_p.npy --error-bars bars.npy");
    json(at, "density r --grid 20 --plot density.png");
    json(at, "invert x.npy --model r -o z.npy");
    json(at, "plot r --out again");
    let refused = cnf(at, "trajectory r -o t.png");
    let err = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{err}");
    assert!(err.contains("a mixture of") && err.contains("hint: "), "{err}");
    // Who wants a flow gets one, and sees it move.
    json(at, "train --data t.csv --hidden 8,8 --steps 30 --base normal --out flow");
    json(at, "trajectory flow -o t.png -n 20 --grid 10");
}
