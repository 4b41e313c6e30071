//! `cnf export` and `cnf import` of velocities of images: what PyTorch reads, and what it wrote.
#![cfg(feature = "cli")]

use std::f64::consts::PI;
use std::path::Path;
use std::process::Command;

use cnflow::continuous::SolverSpec;
use cnflow::io::safetensors::{ModelFile, NamedTensor, Values};
use cnflow::model::{FlowSpec, Model};
use cnflow::velocity::{
    Activation, GaussianPath, ImageNetSpec, ImageOp, ImageShape, ImageSpec, Path as Way, Trace, VelocitySpec,
};
use serde_json::{Map, json};

use crate::common::command::{cnf, json as run};
use crate::common::velocity::{Points, around, both, numbers};
use crate::velocity_images::small_images;

/// Nets of every operation and the recipe's, alone and within the velocities of Gaussians.
fn velocities() -> Vec<VelocitySpec> {
    let recipe = ImageSpec::recipe(ImageShape { height: 5, width: 6, channels: 2 }, 3, ImageNetSpec::CHANNELS);
    let mut all: Vec<VelocitySpec> = small_images().into_iter().map(VelocitySpec::Image).collect();
    all.push(around(Way::Vp, 0.7, all[0].clone()));
    all.push(around(Way::Straight, 1.0, VelocitySpec::Image(recipe)));
    all
}

fn model(velocity: &VelocitySpec) -> Model {
    let theta = numbers::<f32>(velocity.n_params(), 7);
    Model { spec: FlowSpec::plain(velocity.clone(), SolverSpec::default()), theta, provenance: Map::new() }
}

fn bits(model: &Model) -> Vec<u32> {
    model.theta.iter().map(|w| w.to_bits()).collect()
}

fn load(at: &Path, name: &str) -> Model {
    Model::load(&at.join(name)).unwrap()
}

#[test]
fn an_exported_velocity_of_images_that_is_imported_is_the_same_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for velocity in velocities() {
        model(&velocity).save(&at.join("m.safetensors")).unwrap();
        run(at, "export m.safetensors -o w.safetensors");
        run(at, "import w.safetensors -o back.safetensors");
        let (one, two) = (load(at, "m.safetensors"), load(at, "back.safetensors"));
        assert_eq!(bits(&one), bits(&two), "{velocity:?}");
        assert_eq!(one.spec, two.spec);
        assert_eq!(two.provenance["imported_from"], json!("w.safetensors"));
    }
}

#[test]
fn a_trained_model_of_images_goes_out_and_in_with_its_pixels_conditions_and_solver() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "train --data digits --condition digit --steps 10 --batch 64 --out trained --quiet");
    let facts = run(at, "export trained -o w.safetensors");
    assert_eq!(facts["left_out"], json!([]));
    let back = facts["back"].as_str().unwrap().strip_prefix("cnf ").unwrap().to_owned();
    assert_eq!(run(at, &back)["pixels"], json!(true));
    let (one, two) = (load(at, "trained/model.safetensors"), load(at, "model.safetensors"));
    assert_eq!(bits(&one), bits(&two));
    assert_eq!(one.spec, two.spec);
    // Scores of the training are not those of weights that may have changed.
    assert_eq!(two.provenance.keys().collect::<Vec<_>>(), ["precision", "imported_from"]);
    for name in ["trained", "model.safetensors"] {
        run(at, &format!("sample {name} -n 20 --given digit=3 -o {}.npy", name.len()));
    }
    let read = |name: usize| std::fs::read(at.join(format!("{name}.npy"))).unwrap();
    assert_eq!(read("trained".len()), read("model.safetensors".len()));
}

/// σ.
fn activate(activation: Option<Activation>, a: f64) -> f64 {
    match activation {
        None => a,
        Some(Activation::Tanh) => a.tanh(),
        Some(Activation::Silu) => a / (1.0 + (-a).exp()),
        Some(Activation::Softplus) => a.exp().ln_1p(),
        Some(other) => panic!("{other}"),
    }
}

/// Planes `[channel][y][x]`, as PyTorch has them.
#[derive(Clone)]
struct Planes {
    shape: ImageShape,
    numbers: Vec<f64>,
}

impl Planes {
    fn of(shape: ImageShape, mut number: impl FnMut(usize, usize, usize) -> f64) -> Self {
        let mut numbers = Vec::new();
        for c in 0..shape.channels {
            for y in 0..shape.height {
                numbers.extend((0..shape.width).map(|x| number(c, y, x)));
            }
        }
        Self { shape, numbers }
    }

    /// Zero outside.
    fn at(&self, c: usize, y: usize, x: usize) -> f64 {
        let ImageShape { height, width, .. } = self.shape;
        if y < height && x < width { self.numbers[(c * height + y) * width + x] } else { 0.0 }
    }
}

/// The tensors of an exported file.
struct Weights(ModelFile);

impl Weights {
    fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let tensor = self.0.tensor(name).unwrap_or_else(|| panic!("{name}"));
        (tensor.shape.clone(), tensor.values.to_f64().into_owned())
    }

    /// W e + b.
    fn linear(&self, name: &str, e: &[f64]) -> Vec<f64> {
        let ((shape, weight), (_, bias)) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        assert_eq!(shape, [bias.len(), e.len()]);
        let row = |(w, b): (&[f64], &f64)| w.iter().zip(e).map(|(w, e)| w * e).sum::<f64>() + b;
        weight.chunks_exact(e.len()).zip(&bias).map(row).collect()
    }

    /// The cross-correlation that PyTorch calls a convolution, weights `[out, in, ky, kx]`, zeros around.
    fn conv(&self, name: &str, x: &Planes) -> Planes {
        let ((shape, weight), (_, bias)) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let &[out, inputs, k, _] = &shape[..] else { panic!("{shape:?}") };
        assert_eq!(inputs, x.shape.channels);
        // Beyond the left and the upper edge y + ky − k/2 wraps around to a number beyond the right and the lower one.
        let place = |y: usize, ky: usize| (y + ky).wrapping_sub(k / 2);
        Planes::of(ImageShape { channels: out, ..x.shape }, |o, y, column| {
            let mut sum = bias[o];
            for i in 0..inputs {
                for ky in 0..k {
                    for kx in 0..k {
                        sum += weight[((o * inputs + i) * k + ky) * k + kx] * x.at(i, place(y, ky), place(column, kx));
                    }
                }
            }
            sum
        })
    }

    /// What the net of `spec` computes of an image `[channel][y][x]`.
    fn net(&self, spec: &ImageSpec, x: Planes, t: f64, condition: &[f64]) -> Planes {
        let late = (1.0 - t + 1e-3).ln() / 1e-3_f64.ln();
        let angles = [t, late].into_iter().flat_map(|u| (1..=spec.frequencies).map(move |k| PI * k as f64 * u));
        let mut e: Vec<f64> = angles.flat_map(|angle| [angle.sin(), angle.cos()]).chain(condition.to_vec()).collect();
        for layer in (0..).take_while(|layer| self.0.tensor(&format!("embedding.{layer}.bias")).is_some()) {
            if layer > 0 {
                e.iter_mut().for_each(|e| *e = activate(Some(spec.net.embedding.as_ref().unwrap().activation), *e));
            }
            e = self.linear(&format!("embedding.{layer}"), &e);
        }
        // Without an embedding nothing is modulated, and nobody reads the features.
        let mut modulations = if spec.net.embedding.is_some() { e } else { Vec::new() }.into_iter();
        let mut planes = vec![x.clone()];
        let mut x = x;
        for (index, op) in spec.net.ops.iter().enumerate() {
            let channels = x.shape.channels;
            x = match *op {
                ImageOp::Conv { .. } => self.conv(&format!("ops.{index}"), &x),
                ImageOp::SpaceToDepth { factor: f } => {
                    let (height, width) = (x.shape.height.div_ceil(f), x.shape.width.div_ceil(f));
                    Planes::of(ImageShape { height, width, channels: channels * f * f }, |k, y, column| {
                        let (square, c) = (k / channels, k % channels);
                        x.at(c, y * f + square / f, column * f + square % f)
                    })
                }
                ImageOp::DepthToSpace { factor: f, height, width } => {
                    let channels = channels / (f * f);
                    Planes::of(ImageShape { height, width, channels }, |c, y, column| {
                        x.at(((y % f) * f + column % f) * channels + c, y / f, column / f)
                    })
                }
                ImageOp::Modulate { scale, .. } => {
                    let mut take = || modulations.by_ref().take(channels).collect::<Vec<f64>>();
                    let scales = if scale { take() } else { vec![0.0; channels] };
                    let shifts = take();
                    Planes::of(x.shape, |c, y, column| x.at(c, y, column) * (1.0 + scales[c]) + shifts[c])
                }
                ImageOp::Bound { at } => {
                    let at = f64::from(at);
                    Planes::of(x.shape, |c, y, column| at * (x.at(c, y, column) / at).tanh())
                }
                ImageOp::Add { plane, .. } => {
                    Planes::of(x.shape, |c, y, column| x.at(c, y, column) + planes[plane].at(c, y, column))
                }
                _ => x,
            };
            x.numbers.iter_mut().for_each(|a| *a = activate(op.activation(), *a));
            planes.push(x.clone());
        }
        assert_eq!(modulations.next(), None);
        x
    }
}

/// The velocity by plain loops over the exported tensors, of a row `[y][x][channel]`.
fn by_loops(weights: &Weights, velocity: &VelocitySpec, x: &[f64], t: f64, condition: &[f64]) -> Vec<f64> {
    let VelocitySpec::Image(spec) = velocity.net() else { panic!("{velocity:?}") };
    let ImageShape { height, width, channels } = spec.shape();
    let scales = |gaussian: GaussianPath| {
        let (signal, noise, signal_dot, noise_dot) = gaussian.path.at(t);
        let s = gaussian.deviation;
        let variance = (s * signal).powi(2) + noise * noise;
        let b = s * (signal_dot * noise - signal * noise_dot).abs() / variance.sqrt();
        ((s * s * signal * signal_dot + noise * noise_dot) / variance, b, 1.0 / variance.sqrt())
    };
    let (a, b, c) = velocity.gaussian().map_or((0.0, 1.0, 1.0), scales);
    let planes = Planes::of(spec.shape(), |k, y, column| c * x[(y * width + column) * channels + k]);
    let v = weights.net(spec, planes, t, condition);
    let places = (0..height * width * channels).map(|i| (i / channels / width, i / channels % width, i % channels));
    places.zip(x).map(|((y, column, k), x)| a * x + b * v.at(k, y, column)).collect()
}

/// v of the model's own weights, in f64.
fn own(
    velocity: &VelocitySpec,
    points: impl FnOnce(&dyn cnflow::velocity::Velocity<f64>) -> Points<f64>,
) -> (Points<f64>, Vec<f64>) {
    let theta: Vec<f64> = model(velocity).theta.iter().map(|w| f64::from(*w)).collect();
    let bound = velocity.bind_here::<f64>(&theta).unwrap();
    let points = points(&*bound);
    let samples: Vec<usize> = (0..points.n).collect();
    let (v, _) =
        both(&*bound, &points, Trace::Hutchinson { probes: 1, noise: cnflow::velocity::Noise::Rademacher }, &samples);
    (points, v)
}

#[test]
fn the_exported_tensors_are_convolutions_of_pytorch_that_give_the_velocity() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for velocity in velocities() {
        model(&velocity).save(&at.join("m.safetensors")).unwrap();
        run(at, "export m.safetensors -o w.safetensors");
        let weights = Weights(ModelFile::read(&at.join("w.safetensors")).unwrap());
        let (p, v) = own(&velocity, |bound| Points::new(bound, 5));
        let c = velocity.condition_dim();
        for (i, expected) in v.chunks_exact(p.dim).enumerate() {
            let (x, condition) = (&p.x[i * p.dim..][..p.dim], &p.condition[i * c..][..c]);
            let found = by_loops(&weights, &velocity, x, p.t[i], condition);
            let size = expected.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
            // Sums of a few hundred products in another order, a dozen one after the other.
            let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12 * size);
            assert!(close, "{velocity:?}: {found:?} or {expected:?}");
        }
    }
}

/// What python3 prints of the example, where it has torch and safetensors.
fn by_python(at: &Path, weights: &str) -> Option<Vec<f64>> {
    let there = Command::new("python3").args(["-c", "import torch, safetensors"]).output();
    there.ok().filter(|out| out.status.success())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/image_net_in_torch.py");
    let out = Command::new("python3").arg(&script).arg(weights).current_dir(at).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let words = String::from_utf8(out.stdout).unwrap();
    Some(words.split_whitespace().map(|word| word.parse().unwrap()).collect())
}

#[test]
fn the_example_in_python_computes_the_velocity() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for velocity in velocities() {
        model(&velocity).save(&at.join("m.safetensors")).unwrap();
        run(at, "export m.safetensors -o w.safetensors");
        let Some(found) = by_python(at, "w.safetensors") else {
            eprintln!("skipped: python3 has no torch");
            return;
        };
        // The example's own point.
        let (_, expected) = own(&velocity, |bound| {
            let mut condition = vec![0.0; bound.condition_dim()];
            condition.iter_mut().take(1).for_each(|first| *first = 1.0);
            let x = (0..bound.dim()).map(|i| (i as f64).cos()).collect();
            Points { n: 1, dim: bound.dim(), x, t: vec![0.3], condition, keys: vec![0] }
        });
        let close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-10 * (1.0 + b.abs()));
        assert!(found.len() == expected.len() && close, "{velocity:?}: {found:?} or {expected:?}");
    }
}

#[test]
fn a_state_dict_without_a_description_goes_in_by_options() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let usual = ImageNetSpec::CHANNELS;
    let recipe = |c, channels| {
        VelocitySpec::Image(ImageSpec::recipe(ImageShape { height: 5, width: 6, channels: 2 }, c, channels))
    };
    for (velocity, options) in [
        (around(Way::Straight, 1.0, recipe(3, [4, 3, 3])), "--condition-dim 3 --hidden 4,3"),
        (around(Way::Vp, 0.5, recipe(0, usual)), "--path vp --deviation 0.5"),
        (recipe(0, usual), "--preconditioning none"),
    ] {
        let one = model(&velocity);
        one.save(&at.join("m.safetensors")).unwrap();
        run(at, "export m.safetensors -o w.safetensors");
        // As a compiled module within another names them, in f64, with a standardisation beside them.
        let mut file = ModelFile::read(&at.join("w.safetensors")).unwrap();
        file.metadata.clear();
        for tensor in &mut file.tensors {
            tensor.name = format!("model._orig_mod.{}", tensor.name);
            tensor.values = Values::F64(tensor.values.to_f64().into_owned());
        }
        for (name, value) in [("standardise.mean", 127.5), ("standardise.std", 60.0)] {
            let values = Values::F64(vec![value; 60]);
            file.tensors.push(NamedTensor { name: name.into(), shape: vec![60], values });
        }
        file.tensors.reverse();
        file.write(&at.join("w.safetensors")).unwrap();
        run(at, &format!("import w.safetensors --image 5x6x2 {options} -o back.safetensors"));
        let two = load(at, "back.safetensors");
        assert_eq!(two.spec.architecture, one.spec.architecture, "{options}");
        assert_eq!(bits(&one), bits(&two), "{options}");
        assert_eq!(two.spec.standardise.unwrap().mean, vec![127.5; 60]);
    }
}

#[test]
fn what_does_not_fit_is_one_sentence_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let recipe = ImageSpec::recipe(ImageShape { height: 5, width: 6, channels: 2 }, 3, ImageNetSpec::CHANNELS);
    model(&VelocitySpec::Image(recipe)).save(&at.join("m.safetensors")).unwrap();
    run(at, "export m.safetensors -o w.safetensors");
    let full = ModelFile::read(&at.join("w.safetensors")).unwrap();
    let write = |name: &str, change: &dyn Fn(&mut ModelFile)| {
        let mut file = full.clone();
        change(&mut file);
        file.write(&at.join(name)).unwrap();
    };
    let reshape = |file: &mut ModelFile, name: &str, shape: &[usize]| {
        let tensor = file.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
        let values = Values::F32(vec![0.5; shape.iter().product()]);
        (tensor.shape, tensor.values) = (shape.to_vec(), values);
    };
    write("bare.safetensors", &|file| file.metadata.clear());
    write("renamed.safetensors", &|file| {
        file.metadata.clear();
        file.tensors.iter_mut().for_each(|tensor| tensor.name = tensor.name.replace("ops.1.", "stem."));
    });
    write("last.safetensors", &|file| reshape(file, "ops.1.weight", &[16, 3, 3, 2]));
    write("more.safetensors", &|file| {
        file.tensors.push(NamedTensor { name: "ops.1.gain".into(), shape: vec![1], values: Values::F32(vec![1.0]) });
    });
    write("morebare.safetensors", &|file| {
        file.metadata.clear();
        file.tensors.push(NamedTensor { name: "gain".into(), shape: vec![1], values: Values::F32(vec![1.0]) });
    });
    write("broken.safetensors", &|file| drop(file.metadata.insert("flow".into(), "{}".into())));
    write("future.safetensors", &|file| drop(file.metadata.insert("flow".into(), "{\"format\": 99}".into())));
    let hint = "save the state dict of a module with the names and shapes that `cnf export` writes";
    for (words, code, problem, way_out) in [
        ("bare.safetensors", 1, "the activation of its layers is unknown", "--image"),
        ("bare.safetensors --activation silu", 1, "are not layers of one nn.Sequential", "nn.Sequential"),
        ("bare.safetensors --image 5x6x2", 1, "takes 23 numbers beside the image", "give --condition-dim 3"),
        ("bare.safetensors --image 5x6x2 --condition-dim 4", 1, "a condition of 4 are 24", "give --condition-dim 3"),
        ("bare.safetensors --image 5x6 --condition-dim 3", 1, "expected [16, 1, 3, 3], which are [out, in", hint),
        ("bare.safetensors --image 5", 2, "`5` is not the size of an image", "such as 28x28"),
        ("bare.safetensors --image 0x6 --condition-dim 3", 1, "the image", ""),
        ("bare.safetensors --image 9999999999x9999999999", 1, "the image", ""),
        ("bare.safetensors --image 5x6x2 --activation silu", 2, "cannot be used with", "--help"),
        (
            "bare.safetensors --activation silu --deviation 2",
            1,
            "--deviation was given without --image",
            "leave it out",
        ),
        ("w.safetensors --path vp", 1, "--path was given without --image", "leave it out"),
        ("bare.safetensors --image 5x6x2 --condition-dim 3 --deviation 0", 1, "deviation 0", "above 0"),
        ("bare.safetensors --image 5x6x2 --preconditioning none --path vp", 1, "--path has no meaning", "leave out"),
        ("bare.safetensors --image 5x6x2 --preconditioning all", 2, "unknown preconditioning `all`", "gaussian"),
        ("renamed.safetensors --image 5x6x2 --condition-dim 3", 1, "`ops.1.weight` [16, 2, 3, 3] is missing", hint),
        ("morebare.safetensors --image 5x6x2 --condition-dim 3", 1, "`gain` is not part of the net", hint),
        ("last.safetensors", 1, "`ops.1.weight` has the shape [16, 3, 3, 2], expected [16, 2, 3, 3]", hint),
        ("more.safetensors", 1, "`ops.1.gain`", ""),
        ("broken.safetensors", 1, "its description of the flow is broken", ""),
        ("future.safetensors", 1, "format is 99", "newer version"),
        ("w.safetensors --image 5x6x2", 1, "its metadata describe its net", "leave out --image"),
        ("w.safetensors --activation silu", 1, "--activation was given", "leave out --activation"),
    ] {
        let out = cnf(at, &format!("import {words} -o o.safetensors"));
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{words}: {said}");
        let lines: Vec<&str> = said.lines().collect();
        let hints = said.lines().filter(|line| line.starts_with("hint: ")).collect::<Vec<_>>();
        assert!(lines[0].starts_with("error: ") && said.contains(problem), "{words}: {said}");
        assert!(hints.len() == 1 && hints[0].contains(way_out), "{words}: {said}");
        assert!(!at.join("o.safetensors").exists(), "{words}");
    }
}

#[test]
fn the_guide_quotes_the_example_in_python() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(root.join("examples/image_net_in_torch.py")).unwrap();
    let page = std::fs::read_to_string(root.join("docs/guide/images.md")).unwrap();
    let (_, code) = script.split_once("\nimport ").unwrap();
    let (code, _) = code.split_once("\n\n\nif __name__").unwrap();
    let block = format!("```python\nimport {code}\n```");
    assert!(page.contains(&block), "copy the example to the page:\n{block}");
}
