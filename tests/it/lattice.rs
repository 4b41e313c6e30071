//! The laws of probes on lattices of pixels: exact where pixels do not couple, unbiased everywhere, with the variance
//! of the couplings within a lattice alone.

use cnflow::continuous::{SolverSpec, TraceSpec};
use cnflow::model::{Architecture, FlowSpec, Model};
use cnflow::rows::digits;
use cnflow::train::{Job, fit};
use cnflow::velocity::{Image, ImageShape, ImageSpec, Noise, Precision, Trace, Velocity, VelocitySpec};

use crate::common::velocity as laws;
use crate::common::velocity::{Points, around, bits, both, numbers, tangent};
use crate::velocity_images::small_images;

fn image(spec: &ImageSpec) -> Image<f64> {
    let theta: Vec<f64> = numbers::<f64>(spec.n_params(), 7).into_iter().map(|w| 0.8 * w).collect();
    Image::new(spec, &theta).unwrap()
}

fn lattice(shape: ImageShape, spacing: usize, draws: usize) -> Trace {
    Trace::Lattice { shape, spacing, draws }
}

/// Mean over the rows of a divergence, of each lane.
fn means(div: &[f64], rows: usize) -> Vec<f64> {
    div.chunks_exact(rows).map(|row| row.iter().sum::<f64>() / rows as f64).collect()
}

#[test]
fn it_is_exact_where_no_two_pixels_couple() {
    let samples = [0, 1, 2, 3, 4];
    for (i, spec) in small_images().into_iter().enumerate() {
        let (velocity, shape) = (image(&spec), spec.net.shape);
        let p = Points::new(&velocity, 5);
        let exact = both(&velocity, &p, Trace::Exact, &samples).1;
        for spacing in 1..=3 {
            let trace = lattice(shape, spacing, 2);
            let found = means(&both(&velocity, &p, trace, &samples).1, trace.rows());
            let off = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // The last of the nets changes each number by itself; and a lattice as wide as a grey image has one pixel.
            let alone = i == 2 || (shape.channels == 1 && spacing >= shape.height.max(shape.width));
            assert_eq!(off < 1e-12, alone, "{spec:?}, spacing {spacing}: {off}");
        }
    }
}

#[test]
fn a_lattice_of_every_pixel_has_the_bits_of_random_signs() {
    for spec in small_images() {
        let velocity = image(&spec);
        let p = Points::new(&velocity, 5);
        let signs = Trace::Hutchinson { probes: 3, noise: Noise::Rademacher };
        let [a, b] = [signs, lattice(spec.net.shape, 1, 3)].map(|t| both(&velocity, &p, t, &[0, 1, 2, 3, 4]).1);
        assert_eq!(bits(&a), bits(&b), "{spec:?}");
    }
}

/// The Jacobian of a lane's velocity, `[d, d]` by rows.
fn jacobian(velocity: &dyn Velocity<f64>, p: &Points<f64>) -> Vec<f64> {
    let d = p.dim;
    let columns: Vec<Vec<f64>> =
        (0..d).map(|j| tangent(velocity, p, &[0], &(0..d).map(|i| f64::from(i == j)).collect::<Vec<_>>())).collect();
    (0..d * d).map(|ij| columns[ij % d][ij / d]).collect()
}

#[test]
fn it_is_unbiased_with_the_variance_of_the_couplings_within_a_lattice() {
    let n = 20_000;
    for spec in small_images() {
        let (velocity, shape) = (image(&spec), spec.net.shape);
        let one = Points::new(&velocity, 1);
        let j = jacobian(&velocity, &one);
        let d = one.dim;
        let exact: f64 = (0..d).map(|i| j[i * d + i]).sum();
        // The same point under many keys.
        let mut p = Points::new(&velocity, n);
        (p.x, p.t, p.condition) = (one.x.repeat(n), one.t.repeat(n), one.condition.repeat(n));
        let class = |i: usize, spacing: usize| {
            let pixel = i / shape.channels;
            (pixel / shape.width % spacing, pixel % shape.width % spacing)
        };
        for spacing in 1..=2 {
            let trace = lattice(shape, spacing, 1);
            let mut found = Vec::new();
            for from in (0..n).step_by(50) {
                let samples: Vec<usize> = (from..from + 50).collect();
                found.extend(means(&both(&velocity, &p, trace, &samples).1, trace.rows()));
            }
            let pairs = (0..d).flat_map(|a| (0..a).map(move |b| (a, b)));
            let within = pairs.filter(|(a, b)| class(*a, spacing) == class(*b, spacing));
            let variance: f64 = within.map(|(a, b)| (j[a * d + b] + j[b * d + a]).powi(2)).sum();
            let mean = found.iter().sum::<f64>() / n as f64;
            let spread = found.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
            // Five standard errors of the mean; and of the variance, whose fourth moment is at most some ten squares.
            let slack = 5.0 * (variance / n as f64).sqrt();
            assert!((mean - exact).abs() <= slack + 1e-12, "{spec:?} {spacing}: {mean} or {exact} ± {slack}");
            let slack = 5.0 * 3.0 * variance / (n as f64).sqrt();
            assert!((spread - variance).abs() <= slack + 1e-20, "{spec:?} {spacing}: {spread} or {variance}");
        }
    }
}

#[test]
fn lanes_and_pull_backs_are_those_of_any_other_trace() {
    for spec in small_images() {
        let traces = [1, 2].map(|spacing| lattice(spec.net.shape, spacing, 2));
        for spec in [VelocitySpec::Image(spec.clone()), around(Default::default(), 2.0, VelocitySpec::Image(spec))] {
            let theta: Vec<f64> = numbers::<f64>(spec.n_params(), 7).into_iter().map(|w| 0.8 * w).collect();
            let with = |theta: &[f64]| spec.bind_here::<f64>(theta).unwrap();
            laws::check_lanes_by(&format!("{spec:?}"), &*with(&theta), &traces);
            laws::check_pull_back_by(&format!("{spec:?}"), &theta, &with, &traces);
        }
    }
}

/// A model of the digits after so many steps.
fn model(steps: usize) -> Model {
    let job = Job::default().with(|job| {
        job.data.source = "digits".into();
        job.optimiser.steps = Some(steps);
        job.optimiser.validations = 0;
    });
    let data = job.dataset(None).unwrap();
    fit(&job, &data, &mut ()).unwrap().model
}

/// log p of the first `n` digits with its standard errors over the draws of a trace.
fn scored(model: &Model, trace: &str, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut spec = model.spec.clone();
    spec.solver.trace = trace.parse().unwrap();
    let x: Vec<f64> = digits::images().unwrap()[..64 * n].iter().map(|v| f64::from(*v)).collect();
    let scored = spec.bind(&model.theta, Precision::F32).unwrap().log_prob(&x, &[]).unwrap();
    assert!(scored.cost.failures.is_empty());
    (scored.log_prob, scored.cost.logdet_se)
}

#[test]
fn four_lattices_leave_less_error_than_four_random_probes_and_their_spread_tells_it() {
    let (model, n) = (model(150), 64);
    let exact = scored(&model, "exact", n).0;
    let rms = |v: &[f64]| (v.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / n as f64).sqrt();
    let (random, lattice) = (rms(&scored(&model, "hutchinson:4", n).0), rms(&scored(&model, "lattice:2", n).0));
    println!("4 passes: {random:.3} nats by random signs, {lattice:.3} on lattices");
    assert!(lattice < 0.7 * random, "{lattice} or {random}");
    assert!(scored(&model, "lattice:2", n).1.iter().all(|se| se.is_nan()), "a single draw has no spread");
    let (found, se) = scored(&model, "lattice:2:8", n);
    let squares = found.iter().zip(&exact).zip(&se).map(|((a, b), se)| ((a - b) / se).powi(2));
    // t with 7 degrees of freedom: a mean square of 7/5 with a standard error of 0.4 over 64 images.
    let ratio = squares.sum::<f64>() / n as f64;
    assert!((0.6..2.8).contains(&ratio), "{ratio}");
    // Every pixel by itself: as exact as f32 and the solver.
    assert!(rms(&scored(&model, "lattice:8", n).0) < 0.02);
}

#[test]
fn what_has_no_shape_has_no_lattice() {
    let solver = SolverSpec { trace: "lattice".parse().unwrap(), ..SolverSpec::default() };
    assert_eq!(solver.trace, TraceSpec::Lattice { spacing: 2, draws: 1 });
    let job = Job::default().resolve(2).unwrap();
    let plain = FlowSpec { solver, ..FlowSpec::bare(job.architecture(2, 0).unwrap()) };
    let Architecture::Velocity(velocity) = &plain.architecture else { panic!("a table has a velocity") };
    let error = plain.bind(&velocity.init(&mut cnflow::rng::stream(1, 0)), Precision::F32).unwrap_err();
    assert!(error.to_string().contains("needs a net on images") && error.hint().is_some(), "{error}");
    for (text, back) in [("lattice", "lattice:2"), ("lattice:3", "lattice:3"), ("lattice:4:2", "lattice:4:2")] {
        assert_eq!(text.parse::<TraceSpec>().unwrap().to_string(), back);
    }
    for text in ["lattice:0", "lattice:2:0", "lattice:", "lattice2", "lattice:2:3:4", "lattice:x"] {
        assert!(text.parse::<TraceSpec>().unwrap_err().contains("expected lattice:K"), "{text}");
    }
}
