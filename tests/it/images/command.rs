//! The command on images: trained, scored in bits per dimension, sampled as u8, and what does not fit refused.
#![cfg(feature = "cli")]

use std::path::Path;

use cnflow::io::{Dialect, Layout, Reader};
use cnflow::model::Model;
use cnflow::rows::digits;
use cnflow::train::{Job, Net, fit, resume};
use cnflow::velocity::{ImageSpec, Precision, VelocitySpec};
use image::ColorType;

use crate::common::command::{bytes, cnf, folder, has, json};
use crate::common::pictures::{idx, npy_u8, png};
use crate::common::watch::First;

/// A run of a few steps on the digits in `run`, and the digits as files.
fn trained(at: &Path, options: &str) {
    json(at, &format!("train --data digits --steps 40 --batch 64 --out run {options}"));
    let images = digits::images().unwrap();
    std::fs::write(at.join("x.npy"), npy_u8(&[1797, 8, 8], &images, false)).unwrap();
    std::fs::write(at.join("few.npy"), npy_u8(&[40, 8, 8], &images[..40 * 64], false)).unwrap();
}

/// Dtype, shape and bytes of an array.
fn read(path: &Path) -> (Option<cnflow::ImageShape>, Vec<f64>) {
    let mut reader = Reader::open_with(path, &Dialect::default(), Layout::Auto).unwrap();
    (reader.shape(), reader.next_block(100_000).unwrap().unwrap().data)
}

#[test]
fn a_flow_of_digits_is_trained_scored_inverted_and_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained(at, "");
    let run = json(at, "info run");
    assert_eq!(run["pixels"]["shape"], serde_json::json!({ "height": 8, "width": 8, "channels": 1 }));
    assert_eq!(run["pixels"]["counts"].as_array().unwrap().len(), 17);
    for picture in ["samples.png", "nearest.png", "latents.png", "interpolation.png", "training.png"] {
        assert!(at.join("run").join(picture).is_file(), "{picture}");
    }

    let scored = json(at, "density run few.npy -o logp.npy");
    has(&scored, "bits_per_dim bits_per_dim_se bits_per_dim_terms dequantise mean_log_prob");
    let number = |key: &str| scored[key].as_f64().unwrap();
    let unit = 64.0 * std::f64::consts::LN_2;
    assert!((number("bits_per_dim") + number("mean_log_prob") / unit).abs() < 1e-12);
    assert!((number("bits_per_dim_se") - number("se") / unit).abs() < 1e-12);
    let terms: f64 = ["log_prob_y", "log_dy_dv", "minus_log_noise"]
        .map(|t| scored["bits_per_dim_terms"][t].as_f64().unwrap())
        .iter()
        .sum();
    assert!((terms - number("mean_log_prob")).abs() < 1e-9, "{terms}");
    // Below what each pixel's level costs with all 17 alike, and not a wonder.
    assert!((1.0..17f64.log2()).contains(&number("bits_per_dim")), "{scored}");
    // Alone and in blocks an image has the same bits; more draws of the noise give a tighter bound.
    json(at, "density run few.npy -o again.npy --block 7 --threads 1");
    assert_eq!(bytes(at, "logp.npy"), bytes(at, "again.npy"));
    json(at, "density run few.npy -o other.npy --seed 1");
    assert_ne!(bytes(at, "logp.npy"), bytes(at, "other.npy"));
    let tighter = json(at, "density run few.npy --dequantise 5");
    assert!(tighter["bits_per_dim"].as_f64().unwrap() < number("bits_per_dim"), "{tighter}");
    // The library gives the same numbers.
    let model = Model::load(&at.join("run/model.safetensors")).unwrap().bind(Precision::F32).unwrap();
    let x: Vec<f64> = digits::images().unwrap()[..40 * 64].iter().map(|v| f64::from(*v)).collect();
    let own = model.log_prob(&x, &[]).unwrap().log_prob;
    assert_eq!(own, read(&at.join("logp.npy")).1);

    // There and back: no grey level is another.
    let there = json(at, "invert few.npy --model run -o z.npy --plot z.png --precision f64 --rtol 1e-9 --atol 1e-9");
    assert_eq!((there["round_trip_max"].as_f64(), there["returned"].as_u64()), (Some(0.0), Some(40)));
    json(at, "sample run --latent z.npy -o back.npy --precision f64 --rtol 1e-9 --atol 1e-9");
    assert_eq!(read(&at.join("back.npy")), (Some(digits::SHAPE), x));
    json(at, "sample run -n 30 -o s.npy --plot s.png");
    let (shape, samples) = read(&at.join("s.npy"));
    assert!(shape == Some(digits::SHAPE) && samples.len() == 30 * 64);
    assert!(samples.iter().all(|v| *v <= 16.0) && samples.iter().any(|v| *v > 0.0));
    assert!(bytes(at, "s.npy").starts_with(b"\x93NUMPY") && bytes(at, "s.npy").len() == 128 + 30 * 64);

    // The pictures are drawn again from the folder, to the same bytes.
    let before = bytes(at, "run/samples.png");
    json(at, "plot run");
    assert_eq!(before, bytes(at, "run/samples.png"));
}

#[test]
fn a_class_is_given_and_threads_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained(at, "--condition digit --threads 1");
    json(at, "train --data digits --steps 40 --batch 64 --out two --condition digit --threads 2");
    let theta = |run: &str| Model::load(&at.join(run).join("model.safetensors")).unwrap().theta;
    assert_eq!(theta("run"), theta("two"));
    json(at, "sample run -n 10 --given digit=3 -o threes.npy --plot threes.png");
    let labels = digits::labels().unwrap();
    std::fs::write(
        at.join("labels-idx1-ubyte"),
        idx(&[40], &labels[..40].iter().map(|v| *v as u8).collect::<Vec<_>>()),
    )
    .unwrap();
    let scored = json(at, "density run few.npy --condition labels-idx1-ubyte");
    assert!(scored["bits_per_dim"].as_f64().unwrap().is_finite());
    // An IDX file with its labels trains the same as the built-in set with the same split.
    let images = digits::images().unwrap();
    let all: Vec<u8> = labels.iter().map(|v| *v as u8).collect();
    std::fs::write(at.join("t-images-idx3-ubyte"), idx(&[1797, 8, 8], &images)).unwrap();
    std::fs::write(at.join("t-labels-idx1-ubyte"), idx(&[1797], &all)).unwrap();
    let split = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits8x8_split.npy");
    std::fs::copy(split, at.join("split.npy")).unwrap();
    json(
        at,
        "train --data t-images-idx3-ubyte --condition t-labels-idx1-ubyte --split split.npy --steps 40 --batch 64 --out idx",
    );
    assert_eq!(theta("run"), theta("idx"));
}

#[test]
fn a_run_on_images_goes_on_to_the_same_bits() {
    let mlp = Some((Net::Mlp, vec![16, 16]));
    let narrow = Some((Net::Convolution, vec![8, 8]));
    for (family, net, condition) in [
        ("cnf", None, vec!["digit".to_owned()]),
        ("cnf", mlp.clone(), vec![]),
        ("cnf", mlp, vec!["digit".to_owned()]),
        ("glow", narrow.clone(), vec!["digit".to_owned()]),
        ("realnvp", narrow, vec![]),
    ] {
        let job = Job::default().with(|job| {
            (job.data.source, job.data.condition) = ("digits".into(), condition);
            (job.model.net, job.model.hidden) = net.unzip();
            job.model.family = family.parse().unwrap();
            job.model.depth = (family != "cnf").then_some(1);
            (job.optimiser.steps, job.optimiser.batch) = (Some(60), Some(32));
            job.output.checkpoint = "25".into();
        });
        let data = job.dataset(None).unwrap();
        let mut first = First::default();
        let whole = fit(&job, &data, &mut first).unwrap();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = one.install(|| fit(&job, &data, &mut First::default()).unwrap());
        assert_eq!(alone.model.theta, whole.model.theta, "{family}");
        let checkpoint = first.0.unwrap();
        assert_eq!(checkpoint.steps(), 25);
        let on = resume(checkpoint, &data, &mut First::default()).unwrap();
        assert_eq!((on.model.theta, on.model.spec), (whole.model.theta, whole.model.spec), "{family}");
        // The rows are bytes, and stay so.
        assert_eq!(data.training_rows().unwrap().x.bytes().map(<[u8]>::len), Some(data.n_train().unwrap() * 64));
    }
}

#[test]
fn every_family_is_trained_on_images() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained(at, "");
    for (out, options) in [
        ("gaussian", "--model gaussian"),
        ("realnvp", "--model realnvp --steps 20 --depth 2 --hidden 16"),
        (
            "mlp",
            "--net mlp --objective likelihood --hidden 16,16 --steps 3 --batch 32 --pixel-map logit:0.05 --pixel-noise \
             uniform",
        ),
        ("convolution", "--objective likelihood --steps 2 --batch 16 --hidden 8,12,20"),
    ] {
        let facts = json(at, &format!("train --data digits {options} --out {out}"));
        let (model, bits) = (out, facts["bits_per_dim"].as_f64().unwrap());
        assert!((0.5..12.0).contains(&bits), "{model}: {bits}");
        let scored = json(at, &format!("density {model} few.npy"));
        assert!(scored["bits_per_dim"].as_f64().unwrap() < 12.0);
        json(at, &format!("sample {model} -n 5 -o s.npy"));
    }
    let net = |run: &str| Model::load(&at.join(run).join("model.safetensors")).unwrap().spec.architecture;
    let channels = |run: &str| net(run).as_velocity().unwrap().net().clone();
    let VelocitySpec::Image(wide) = channels("convolution") else { panic!("no image") };
    let shape = wide.shape();
    assert_eq!(wide, ImageSpec::recipe(shape, 0, [8, 12, 20]));
    // A run goes on from the weights of another, with its map.
    json(at, "train --data digits --init run --steps 3 --out on");
    let spec = |run: &str| Model::load(&at.join(run).join("model.safetensors")).unwrap().spec;
    assert_eq!(spec("on").pixels, spec("run").pixels);
}

#[test]
fn images_that_do_not_fit_are_refused_with_both_sizes() {
    let folder = folder();
    let at = folder.path();
    trained(at, "");
    let images = digits::images().unwrap();
    let bright: Vec<u8> = (0..640).map(|i| if i % 64 == i / 64 { 200 } else { 3 }).collect();
    let noise: Vec<u8> = (0..640).map(|i| (i * 37 % 251) as u8).collect();
    std::fs::write(at.join("noise.npy"), npy_u8(&[10, 64], &noise, false)).unwrap();
    std::fs::write(at.join("flat.npy"), npy_u8(&[10, 64], &images[..640], false)).unwrap();
    std::fs::write(at.join("small.npy"), npy_u8(&[40, 4, 4], &images[..640], false)).unwrap();
    std::fs::write(at.join("colour.npy"), npy_u8(&[3, 8, 8, 3], &images[..576], false)).unwrap();
    std::fs::write(at.join("bright.npy"), npy_u8(&[10, 8, 8], &bright, false)).unwrap();
    std::fs::write(at.join("labels.npy"), npy_u8(&[39], &[1; 39], false)).unwrap();
    std::fs::create_dir(at.join("pngs")).unwrap();
    png(&at.join("pngs/a.png"), (8, 9), ColorType::L8, &[0; 72]);
    for (words, part) in [
        ("density run flat.npy", "holds no images, the model was trained on images of 8 × 8"),
        ("density run small.npy", "images of 4 × 4, the model was trained on images of 8 × 8"),
        ("density run colour.npy", "images of 8 × 8 × 3, the model was trained on images of 8 × 8"),
        ("density run pngs", "images of 8 × 9, the model was trained on images of 8 × 8"),
        ("invert small.npy --model run", "images of 4 × 4, the model was trained on images of 8 × 8"),
        ("density m.safetensors small.npy", "images of 4 × 4, the model was trained on rows that are not images"),
        ("sample run --latent x.npy -o o.npy", "holds images of 8 × 8, not latents"),
        ("sample run -o o.npy --with-density d.npy", "only the density of its own noise"),
        ("density m.safetensors x.npy --dequantise 3", "the model has no whole numbers"),
        ("train --data x.npy --condition labels.npy --steps 1", "it holds 39 rows, but `x.npy` has 1797"),
        ("train --data x.npy --condition x.npy --steps 1", "it holds images, not conditions"),
        ("train --data x.npy --condition 0 --steps 1", "images have no columns to condition on"),
        ("train --data x.npy --column 0:positive --steps 1", "pixels are whole numbers"),
        ("train --data small.npy --init run --steps 1", "expected 16"),
        (
            "train --data bright.npy --init run --steps 1 --split 0.6,0.2",
            "has the grey levels 0 to 16, the data have 200",
        ),
        (
            "train --data noise.npy --init run --steps 1 --split 0.6,0.2",
            "was trained on images of 8 × 8, the data are rows",
        ),
        ("train --data digits --steps 1 --pixel-map square", "unknown pixel map `square`"),
        ("train --data digits --steps 1 --no-standardise", "has no meaning for images"),
        ("train --data digits --steps 1 --hidden 8,8,8,8", "channels at 3 sizes of an image, and 4 are given"),
        ("train --data x.npy --steps 1 --activation tanh", "--activation has no meaning for the net convolution"),
        ("train --data noise.npy --steps 1 --net convolution", "the net convolution is for images"),
        ("train --data colour.npy --steps 1 --layout wide", "unknown layout `wide`"),
    ] {
        let out = cnf(at, words);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && err.contains(part) && err.contains("hint: "), "`cnf {words}`: {err}");
    }
    // Levels that the model does not have are outside its support.
    let facts = json(at, "density run bright.npy");
    assert_eq!((facts["outside"].as_u64(), facts["failed"].as_u64()), (Some(10), Some(0)));
}
