//! The laws of the velocity of images.

use crate::common::velocity as laws;
use crate::common::velocity::{Points, TRACES, bits, both, numbers, pull_back, rows, tangent, tile};
use cnflow::velocity::{
    Activation, Image, ImageNetSpec, ImageOp, ImageShape, ImageSpec, Noise, Scalar, Trace, Velocity, VelocitySpec,
    probe,
};
use cnflow_kernels::{Embedding, ImageNet, Keep};
use cnflow_solvers::lanes::{Lanes, LanesMut, stride_for};
use cnflow_solvers::{At, Real};

/// Every operation, with a condition and without, of images of a few pixels.
pub fn small_images() -> Vec<ImageSpec> {
    let conv = |kernel, channels| ImageOp::Conv { kernel, channels, activation: None };
    let modulate = |scale, activation| ImageOp::Modulate { scale, activation: Some(activation) };
    let embedding = Some(Embedding { layers: vec![3], activation: Activation::Silu });
    let (grey, colour) =
        (ImageShape { height: 3, width: 2, channels: 1 }, ImageShape { height: 1, width: 2, channels: 3 });
    let net = vec![
        conv(3, 3),
        modulate(true, Activation::Silu),
        ImageOp::SpaceToDepth { factor: 2 },
        conv(1, 4),
        modulate(false, Activation::Tanh),
        conv(3, 12),
        ImageOp::DepthToSpace { factor: 2, height: 3, width: 2 },
        ImageOp::Add { plane: 2, activation: None },
        conv(1, 1),
    ];
    let plain = vec![
        ImageOp::Bound { at: 1 },
        ImageOp::Conv { kernel: 3, channels: 4, activation: Some(Activation::Softplus) },
        conv(1, 3),
        ImageOp::Add { plane: 0, activation: None },
    ];
    let of = |shape, embedding, condition_dim, ops| ImageSpec {
        net: ImageNetSpec { shape, aux: 4 + condition_dim, embedding, ops },
        condition_dim,
        frequencies: 1,
    };
    vec![
        of(grey, embedding.clone(), 2, net),
        of(colour, None, 0, plain),
        of(grey, embedding, 0, vec![modulate(true, Activation::Tanh)]),
    ]
}

fn theta<T: Real>(spec: &ImageSpec) -> Vec<T> {
    numbers::<T>(spec.n_params(), 7).into_iter().map(|w| w * T::of(0.8)).collect()
}

fn image<T: Scalar>(spec: &ImageSpec) -> Image<T> {
    Image::new(spec, &theta(spec)).unwrap()
}

#[test]
fn tangent_and_divergence_are_derivatives_of_the_value() {
    for spec in small_images() {
        laws::check_derivatives(&format!("{spec:?}"), &image::<f64>(&spec));
    }
}

#[test]
fn the_joint_pull_back_is_the_gradient_of_value_and_divergence() {
    for spec in small_images() {
        let with = |theta: &[f64]| Box::new(Image::new(&spec, theta).unwrap()) as Box<dyn Velocity<f64>>;
        laws::check_pull_back(&format!("{spec:?}"), &theta::<f64>(&spec), &with);
    }
}

#[test]
fn n_samples_are_n_times_one() {
    for spec in small_images() {
        laws::check_lanes(&format!("{spec:?}"), &image::<f32>(&spec));
        laws::check_lanes(&format!("{spec:?}"), &image::<f64>(&spec));
    }
}

#[test]
fn the_portable_path_gives_the_same_bits() {
    fn check<T: Scalar>(spec: &ImageSpec) {
        let (fast, plain) = (image::<T>(spec), image::<T>(spec).portable());
        let p = Points::new(&fast, 19);
        let samples: Vec<usize> = (0..19).collect();
        for trace in TRACES {
            let traces = fast.evaluator(p.batch(trace, 1)).traces();
            let (v_bar, div_bar) = (numbers::<T>(19 * spec.dim(), 8), numbers::<T>(19 * traces, 9));
            let all = |m: &Image<T>| {
                let (v, div) = both(m, &p, trace, &samples);
                let (gx, g) = pull_back(m, &p, trace, &samples, Some(&v_bar), Some(&div_bar));
                [v, div, gx, g].map(|numbers| bits(&numbers))
            };
            assert_eq!(all(&fast), all(&plain), "{spec:?}");
        }
    }
    for spec in small_images() {
        check::<f32>(&spec);
        check::<f64>(&spec);
    }
}

#[test]
fn the_velocity_is_the_net_beside_features_of_time_and_the_condition() {
    for spec in small_images() {
        let velocity = image::<f64>(&spec);
        let p = Points::new(&velocity, 5);
        let samples = [0, 1, 2, 3, 4];
        let (v, _) = both(&velocity, &p, Trace::Exact, &samples);
        let net = ImageNet::new(&spec.net, &theta::<f64>(&spec)).unwrap();
        assert_eq!(velocity.multiplications(), net.multiply_adds());
        let (d, stride) = (spec.dim(), stride_for(1));
        for (l, &t) in p.t.iter().enumerate() {
            let late = (1.0 - t + 1e-3).ln() / 1e-3_f64.ln();
            let pi = std::f64::consts::PI;
            let mut aux = vec![(pi * t).sin(), (pi * t).cos(), (pi * late).sin(), (pi * late).cos()];
            aux.extend(&p.condition[l * spec.condition_dim..][..spec.condition_dim]);
            let (x, aux) = (tile(&p.x[l * d..][..d], d, &[0]), tile(&aux, aux.len(), &[0]));
            let mut y = vec![0.0; d * stride];
            net.evaluator(1).forward(
                Lanes::new(&x, d, 1, stride),
                Lanes::new(&aux, spec.net.aux, 1, stride),
                LanesMut::new(&mut y, d, 1, stride),
                Keep::Value,
            );
            for (i, y) in rows(&y, d, 1).into_iter().enumerate() {
                assert!((v[l * d + i] - y).abs() < 1e-13, "{spec:?}: {} or {y}", v[l * d + i]);
            }
        }
    }
}

#[test]
fn a_probe_sees_the_jacobian_of_the_net() {
    for spec in small_images() {
        let velocity = image::<f64>(&spec);
        let (p, d) = (Points::new(&velocity, 3), spec.dim());
        let noise = Noise::Rademacher;
        let e: Vec<f64> = (0..3 * d).map(|k| probe(p.keys[k / d], 0, k % d, noise)).collect();
        let je = tangent(&velocity, &p, &[0, 1, 2], &e);
        let (_, div) = both(&velocity, &p, Trace::Hutchinson { probes: 1, noise }, &[0, 1, 2]);
        for (l, div) in div.into_iter().enumerate() {
            let plain: f64 = (l * d..(l + 1) * d).map(|k| e[k] * je[k]).sum();
            assert!((div - plain).abs() < 1e-12, "{spec:?}: {div} or {plain}");
        }
    }
}

#[test]
fn value_and_gradient_are_those_of_value_and_pull_back() {
    for spec in small_images() {
        let velocity = image::<f32>(&spec);
        for n in [7, 16, 19] {
            let (p, d, stride) = (Points::new(&velocity, n), spec.dim(), stride_for(n));
            let samples: Vec<usize> = (0..n).collect();
            let v_bar = numbers::<f32>(n * d, 8);
            let (x, bar) = (tile(&p.x, d, &samples), tile(&v_bar, d, &samples));
            let (mut v, mut room, mut g) =
                (vec![0.0; d * stride], vec![0.0; d * stride], vec![0.0; velocity.grad_len()]);
            velocity.evaluator(p.batch(Trace::Exact, n)).value_and_gradient(
                At::new(&p.t, &samples),
                Lanes::new(&x, d, n, stride),
                LanesMut::new(&mut v, d, n, stride),
                LanesMut::new(&mut room, d, n, stride),
                &mut |_, mut to| to.data_mut().copy_from_slice(&bar),
                &mut g,
            );
            let (_, plain) = pull_back(&velocity, &p, Trace::Exact, &samples, Some(&v_bar), None);
            assert_eq!(bits(&g), bits(&plain), "{spec:?}");
            assert_eq!(bits(&rows(&v, d, n)), bits(&both(&velocity, &p, Trace::Exact, &samples).0), "{spec:?}");
        }
    }
}

#[test]
fn an_evaluator_leaves_nothing_behind_for_the_next() {
    for spec in small_images() {
        let velocity = image::<f32>(&spec);
        let p = Points::new(&velocity, 19);
        let samples: Vec<usize> = (0..19).collect();
        let (v_bar, div_bar) = (numbers::<f32>(19 * spec.dim(), 8), numbers::<f32>(19 * 2, 9));
        let all = |p: &Points<f32>, samples: &[usize]| {
            let (v, div) = both(&velocity, p, TRACES[1], samples);
            let (gx, g) = pull_back(&velocity, p, TRACES[1], samples, Some(&v_bar), Some(&div_bar));
            [v, div, gx, g].map(|numbers| bits(&numbers))
        };
        let few: Vec<usize> = (0..3).collect();
        let clean = (all(&p, &samples), all(&p, &few));
        let mut broken = Points::new(&velocity, 19);
        broken.x.fill(f32::NAN);
        all(&broken, &samples);
        assert_eq!((all(&p, &samples), all(&p, &few)), clean, "{spec:?}");
    }
}

#[test]
fn a_spec_is_saved_checked_and_named() {
    let digits = ImageSpec::recipe(ImageShape { height: 28, width: 28, channels: 1 }, 10, ImageNetSpec::CHANNELS);
    assert_eq!((digits.dim(), digits.n_params()), (784, 107_649));
    for spec in small_images().into_iter().chain([digits.clone()]) {
        let spec = VelocitySpec::Image(spec);
        spec.validate().unwrap();
        let saved = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<VelocitySpec>(&saved).unwrap(), spec);
        let names = spec.tensor_names();
        assert_eq!(names.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(), spec.n_params());
        assert_eq!(spec.init(&mut cnflow::rng::stream(1, 0)).len(), spec.n_params());
        // From ones, since some layers begin at zero: the last weight and its bias, and nothing else.
        let mut theta = vec![1.0; spec.n_params()];
        spec.rest(&mut theta);
        let last: usize = names[names.len() - 2..].iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let (others, last) = theta.split_at(theta.len() - last);
        assert!(others.iter().all(|w| *w == 1.0) && last.iter().all(|w| *w == 0.0));
    }
    let refused = |spec: ImageSpec| spec.validate().unwrap_err().to_string();
    let mut other = digits.clone();
    other.condition_dim = 3;
    assert_eq!(refused(other), "the net takes 30 numbers beside the image, time and condition have 23");
    let mut other = digits;
    other.net.ops.pop();
    assert_eq!(refused(other), "the net gives images of 28 × 28 pixels and 16 channels");
}
