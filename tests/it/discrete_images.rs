//! What discrete flows of images add to the laws of all discrete flows: levels, start, options, the command.

use std::path::Path;

use cnflow::continuous::End;
use cnflow::discrete::{Discrete, DiscreteSpec, ImagePlan, Kind, LayerSpec, Part, Plan};
use cnflow::model::{Architecture, FlowSpec, Model};
use cnflow::rng::stream;
use cnflow::rows::{DataOptions, resolve};
use cnflow::train::{Family, Job, Net};
use cnflow::velocity::Precision;

use crate::common::command::{cnf, json};
use crate::common::discrete::{bent, draws, every_discrete_of_images, shape};
use crate::common::maps::{forward, inverse};

fn family(kind: Kind) -> Job {
    Job::default().with(|job| job.model.family = Family::Discrete(kind))
}

/// Whether the plane at `level` has the number in row `y`, column `x` of grey images: squares are split between their
/// upper and their lower pixels.
fn kept(level: usize, y: usize) -> bool {
    (1..level).all(|l| y >> (l - 1) & 1 == 0)
}

#[test]
fn a_layer_moves_what_it_changes_on_the_plane_of_its_level_and_nothing_else() {
    let (image, n) = (shape(8, 8, 1), 3);
    for kind in Kind::ALL {
        let plan = Plan { depth: 2, hidden: vec![6], ..Plan::of_images(kind, image) };
        let plan = Plan { image: Some(ImagePlan { shape: image, levels: 3 }), ..plan };
        let spec = plan.spec(&mut stream(1, 0)).unwrap();
        let flow = Discrete::new(spec.clone(), &bent(&spec, 2), Precision::F64).unwrap();
        let paths = flow.paths(&draws(n, 64, 3), End::Latent, &[]).unwrap();
        for (l, layer) in spec.layers.iter().enumerate() {
            let [before, after] = [l, l + 1].map(|l| &paths.states[l * n * 64..][..n * 64]);
            for i in 0..n * 64 {
                let (y, x) = (i % 64 / 8, i % 8);
                let moves = match layer {
                    LayerSpec::Diagonal { level: None, .. } => true,
                    LayerSpec::Diagonal { level: Some(level), .. } | LayerSpec::Linear { level: Some(level), .. } => {
                        kept(*level, y)
                    }
                    LayerSpec::ImageCoupling { level, change, .. } => {
                        // Within the squares of the plane, whose channels are [dy][dx].
                        let (dy, dx) = (y >> (level - 1) & 1, x >> (level - 1) & 1);
                        let changed = match change {
                            Part::First => dy == 0,
                            Part::Second => dy == 1,
                            Part::Even if *level == 1 => (dy + dx) % 2 == 0,
                            Part::Odd if *level == 1 => (dy + dx) % 2 == 1,
                            other => panic!("{other:?} at level {level}"),
                        };
                        changed && kept(*level, y)
                    }
                    other => panic!("{other:?}"),
                };
                // A spline is the identity for one number in a million.
                assert_eq!(before[i] != after[i], moves, "{} layer {l} {layer:?}, number {i}", kind.name());
            }
        }
    }
}

#[test]
fn levels_end_where_the_next_begins() {
    let ends = |levels: usize, kind: Kind| {
        let image = shape(8, 8, 1);
        let plan = Plan { depth: 2, image: Some(ImagePlan { shape: image, levels }), ..Plan::of_images(kind, image) };
        let spec = plan.spec(&mut stream(1, 0)).unwrap();
        assert_eq!(ImagePlan::of(&spec), Some((plan.image.unwrap(), 2)));
        (spec.level_ends(), spec.layers.len())
    };
    // Two steps of three layers a level, and a coupling that splits off.
    assert_eq!(ends(3, Kind::Glow), (vec![6, 13, 20], 20));
    assert_eq!(ends(1, Kind::Glow), (vec![6], 6));
    // A scale next to the latent, two couplings a level, one that splits off, and two checkerboards.
    assert_eq!(ends(2, Kind::Nice), (vec![3, 8], 8));
    let rows = Plan::usual(Kind::Glow, 3).spec(&mut stream(1, 0)).unwrap();
    assert_eq!((rows.level_ends(), ImagePlan::of(&rows)), (vec![24], None));
    for (name, spec) in every_discrete_of_images() {
        let (plan, _) = ImagePlan::of(&spec).unwrap();
        assert_eq!(spec.level_ends().len(), plan.levels, "{name}");
    }
}

#[test]
fn scratch_that_held_rows_of_nan_gives_the_next_rows_the_same_bits() {
    for (name, spec) in every_discrete_of_images() {
        let flow = Discrete::new(spec.clone(), &bent(&spec, 2), Precision::F32).unwrap();
        let (n, d) = (20, spec.dim);
        let given = draws(n, spec.condition_dim, 4);
        let (y_bar, logdet_bar) = (draws(n, d, 5), draws(n, 1, 6));
        let run = |x: &[f64]| {
            let z = inverse(&flow, x, &given);
            (z.y, z.logdet, flow.pull_back(End::Data, x, &given, &y_bar, &logdet_bar).unwrap())
        };
        let x = draws(n, d, 3);
        let first = run(&x);
        assert!(run(&vec![f64::NAN; n * d]).0.iter().all(|z| z.is_nan()), "{name}");
        assert_eq!(run(&x), first, "{name}");
    }
}

#[test]
fn activation_norms_survive_channels_and_borders_that_are_constant() {
    let (image, n) = (shape(6, 6, 3), 40);
    let spec =
        Plan { depth: 2, hidden: vec![6], ..Plan::of_images(Kind::Glow, image) }.spec(&mut stream(1, 0)).unwrap();
    let mut x: Vec<f64> = draws(n, 108, 5).iter().map(|x| 3.0 * x + 2.0).collect();
    for (i, x) in x.iter_mut().enumerate() {
        let (y, column, channel) = (i % 108 / 18, i % 18 / 3, i % 3);
        // A border, and of each square the first pixel's green: channel 1 of the twelve.
        if y == 0 || column == 5 || (channel == 1 && y % 2 == 0 && column % 2 == 0) {
            *x = -0.7;
        }
    }
    let theta = Discrete::started(&spec, &spec.init(&mut stream(2, 0)), &x, &[]).unwrap();
    let theta: Vec<f64> = theta.into_iter().map(f64::from).collect();
    assert!(theta.iter().all(|w| w.is_finite() && w.abs() < 20.0));
    let layers = spec.layers.len();
    let flow = Discrete::new(spec.clone(), &theta, Precision::F64).unwrap();
    // The last layer is the first norm that data meet.
    let paths = flow.paths(&x, End::Data, &[]).unwrap();
    let normed = &paths.states[(layers - 1) * n * 108..][..n * 108];
    for channel in 0..12 {
        let (dy, dx, c) = (channel / 6, channel / 3 % 2, channel % 3);
        let own = |i: &usize| i % 108 / 18 % 2 == dy && i % 18 / 3 % 2 == dx && i % 3 == c;
        let numbers: Vec<f64> = (0..n * 108).filter(own).map(|i| normed[i]).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let square = numbers.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        // Shifts and scales are f32.
        assert!(mean.abs() < 1e-5, "channel {channel}: {mean}");
        let expected = if channel == 1 { 0.0 } else { 1.0 };
        assert!((square - expected).abs() < 1e-4, "channel {channel}: {square}");
    }
    let z = inverse(&flow, &x, &[]);
    assert!(z.y.iter().chain(&z.logdet).all(|v| v.is_finite()));
}

#[test]
fn plans_of_images_that_make_no_sense_are_refused_with_their_numbers() {
    let refuse = |plan: Plan, part: &str| {
        let refused = plan.spec(&mut stream(1, 0)).unwrap_err();
        assert!(refused.to_string().contains(part) && refused.hint().is_some(), "{refused}");
    };
    let usual = |image| Plan::of_images(Kind::Glow, image);
    let levels = |image, levels| Plan { image: Some(ImagePlan { shape: image, levels }), ..usual(image) };
    refuse(levels(shape(28, 28, 1), 3), "3 levels of 28 × 28");
    refuse(levels(shape(28, 28, 1), 0), "0 levels");
    refuse(levels(shape(5, 7, 3), 2), "2 levels of 5 × 7 × 3");
    refuse(Plan { hidden: vec![0], ..usual(shape(4, 4, 1)) }, "0 units");
    refuse(Plan { hidden: vec![1 << 17], ..usual(shape(4, 4, 1)) }, "131072 units");
    refuse(Plan { most: 0.0, ..usual(shape(4, 4, 1)) }, "log-scales");
    refuse(Plan { dim: 15, ..usual(shape(4, 4, 1)) }, "15 columns is not one of 4 × 4");

    let good = usual(shape(4, 4, 1)).spec(&mut stream(1, 0)).unwrap();
    let change = |change: &dyn Fn(&mut DiscreteSpec), part: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let text = bad.validate().unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    let at = |bad: &mut DiscreteSpec, to: usize| {
        for layer in &mut bad.layers {
            match layer {
                LayerSpec::ImageCoupling { level, .. } => *level = to,
                LayerSpec::Diagonal { level, .. } | LayerSpec::Linear { level, .. } => *level = Some(to),
                LayerSpec::Coupling { .. } | LayerSpec::Tails { .. } => {}
            }
        }
    };
    change(&|bad| bad.layers.push(LayerSpec::Tails { columns: vec![None; 3] }), "maps for 3 columns");
    change(&|bad| at(bad, 3), "4 × 4 have no level 3");
    change(&|bad| at(bad, usize::MAX), "have no level");
    change(&|bad| at(bad, 1), "permutation");
    change(&|bad| bad.image = None, "rows that are not images");
    change(&|bad| bad.image = Some(shape(4, 5, 1)), "16 columns is not one of 4 × 5");
    change(&|bad| bad.image = Some(shape(0, 4, 4)), "16 columns is not one of 0 × 4");
    // 2⁶⁰ + 1 times 16 is 16 again, in 64 bits.
    change(&|bad| bad.image = Some(shape(16, (1 << 60) + 1, 1)), "16 columns is not one of 16 × 1152921504606846977");
    let mut pixel = usual(shape(1, 1, 1)).spec(&mut stream(1, 0)).unwrap();
    if let LayerSpec::ImageCoupling { change, .. } = &mut pixel.layers[0] {
        *change = Part::Odd;
    }
    assert!(pixel.validate().unwrap_err().to_string().contains("the part odd"), "{pixel:?}");
}

#[test]
fn a_model_file_has_the_layers_of_images_in_few_words_and_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for (name, spec) in every_discrete_of_images() {
        let theta: Vec<f32> = bent(&spec, 3).into_iter().map(|w| w as f32).collect();
        let whole = FlowSpec::bare(Architecture::Discrete(spec.clone()));
        let model = Model { spec: whole, theta, provenance: serde_json::Map::new() };
        let path = folder.path().join("model.safetensors");
        model.save(&path).unwrap();
        let again = Model::load(&path).unwrap();
        assert_eq!((&again.spec, &again.theta), (&model.spec, &model.theta), "{name}");
        let card = serde_json::to_string(&spec).unwrap();
        assert!(card.len() < 350 * spec.layers.len(), "{name}: {card}");
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(text.contains(r#"\"format\":4"#), "{name}");
        let other = card.replacen("\"level\"", "\"depth\"", 1);
        assert!(serde_json::from_str::<DiscreteSpec>(&other).is_err(), "{other}");
    }
}

#[test]
fn what_a_discrete_flow_of_images_leaves_out_is_the_recipe() {
    let digits = resolve("digits", &DataOptions::default(), 0).unwrap();
    for kind in Kind::ALL {
        let job = family(kind).resolve_for(&digits).unwrap();
        assert_eq!(job.model.net, Some(Net::Convolution));
        assert_eq!((job.model.levels, job.model.depth), (Some(2), Some(8)));
        assert_eq!((job.optimiser.batch, job.optimiser.warm_up), (Some(32), Some(100)));
        let flat = family(kind).with(|job| job.model.net = Some(Net::Mlp)).resolve_for(&digits).unwrap();
        assert_eq!((flat.model.levels, flat.optimiser.batch, flat.model.hidden), (None, Some(512), Some(vec![64, 64])));
        // What is written is read again.
        let again = Job::from_toml(&job.to_toml().unwrap()).unwrap();
        assert_eq!(again.resolve_for(&digits).unwrap(), job);
        // A run that was made before there were such nets saw an image as a row.
        let old =
            job.to_toml().unwrap().lines().filter(|line| !line.starts_with("net =")).collect::<Vec<_>>().join("\n");
        assert_eq!(Job::of_run(&old).unwrap().model.net, Some(Net::Mlp));
        assert_eq!(Job::from_toml(&old).unwrap().model.net, None);
    }
    let refused = |change: &dyn Fn(&mut Job), part: &str| {
        let refused = family(Kind::RealNvp).with(|job| change(job)).resolve_for(&digits).unwrap_err();
        assert!(refused.to_string().contains(part) && refused.hint().is_some(), "{refused}");
    };
    refused(&|job| job.model.mask = cnflow::discrete::Mask::Parity, "`model.mask` has no meaning for the net conv");
    refused(&|job| job.model.net = Some(Net::ConcatSquash), "concatsquash has no meaning");
    refused(&|job| (job.model.net, job.model.levels) = (Some(Net::Mlp), Some(2)), "`model.levels` has no meaning");
    refused(&|job| job.model.levels = Some(4), "4 levels of 8 × 8");
    let rows = family(Kind::Glow).with(|job| job.model.net = Some(Net::Convolution)).resolve(2).unwrap_err();
    assert!(rows.to_string().contains("the rows of the data are not images"), "{rows}");
}

/// The weights of a run.
fn weights(at: &Path, run: &str) -> Vec<f32> {
    Model::load(&at.join(run).join("model.safetensors")).unwrap().theta
}

#[test]
fn a_glow_of_digits_is_trained_scored_inverted_sampled_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let options = "--data digits --condition digit --model glow --hidden 8,8 --depth 2 --batch 40";
    let facts = json(at, &format!("train {options} --steps 150 --out run --threads 1"));
    let bits = facts["bits_per_dim"].as_f64().unwrap();
    // Each pixel alone has 3.3 bits, uniform levels 4.09.
    assert!(bits > 1.0 && bits < 3.3, "{bits}");
    json(at, &format!("train {options} --steps 150 --out two --threads 2"));
    assert_eq!(weights(at, "run"), weights(at, "two"));
    json(at, "data digits -o digits.npy");
    let scored = json(at, "density run digits.npy --given digit=3 -o scores.npy");
    assert!(scored["bits_per_dim"].as_f64().unwrap() > bits, "{scored}");
    json(at, "invert digits.npy --given digit=3 --model run -o z.npy");
    json(at, "sample run --given digit=3 --latent z.npy -o back.npy");
    let bytes = |name: &str| std::fs::read(at.join(name)).unwrap();
    // Levels are the same exactly: a level's interval is wide against the round-off of f32 nets.
    assert_eq!(bytes("digits.npy"), bytes("back.npy"));
    json(at, "train --data digits --condition digit --init run --steps 3 --batch 40 --out on");
    assert_eq!(weights(at, "on").len(), weights(at, "run").len());
    for (words, part) in [
        ("train --data digits --condition digit --init run --steps 3 --depth 3 --out no", "--depth"),
        ("train --data digits --condition digit --init run --steps 3 --net mlp --out no", "--net"),
        ("train --data digits --model glow --levels 5 --steps 1 --out no", "5 levels of 8 × 8"),
        ("train --data digits --model glow --mask parity --steps 1 --out no", "--mask has no meaning"),
        ("train --data moons --model glow --levels 1 --steps 1 --out no", "--levels has no meaning"),
        ("train --data digits --levels 1 --steps 1 --out no", "--levels has no meaning"),
    ] {
        let out = cnf(at, words);
        let refused = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && refused.contains(part), "{words}: {refused}");
    }
}

#[test]
fn forward_and_back_are_exact_to_the_round_off_of_f64_at_full_size() {
    let plan = Plan { condition_dim: 10, ..Plan::of_images(Kind::Glow, shape(28, 28, 1)) };
    let spec = plan.spec(&mut stream(1, 0)).unwrap();
    // Nets that change scales by some tens of per cent in each of 33 couplings: a round trip amplifies what they do.
    let fresh = spec.init(&mut stream(2, 0));
    let noise = draws(fresh.len(), 1, 6);
    let theta: Vec<f64> = fresh.iter().zip(noise).map(|(w, u)| f64::from(*w) + 0.01 * u).collect();
    let flow = Discrete::new(spec.clone(), &theta, Precision::F64).unwrap();
    let (z, c) = (draws(3, 784, 4), draws(3, 10, 5));
    let x = forward(&flow, &z, &c);
    let back = inverse(&flow, &x.y, &c);
    let error = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(error(&back.y, &z) < 1e-10, "{:e}", error(&back.y, &z));
    let sum: Vec<f64> = back.logdet.iter().map(|l| -l).collect();
    assert!(error(&sum, &x.logdet) < 1e-9 * (1.0 + x.logdet[0].abs()), "{:e}", error(&sum, &x.logdet));
}
