//! No call of an evaluator allocates: a counting allocator, in a test binary of its own.

// An allocator is unsafe by nature.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cnflow::velocity::{
    Activation, Batch, Cotangents, GaussianPath, Image, ImageNetSpec, ImageShape, ImageSpec, Mlp, MlpSpec, Noise, Path,
    Preconditioned, Regularisers, TimeInput, Trace, Velocity,
};
use cnflow_solvers::At;
use cnflow_solvers::lanes::{Lanes, LanesMut};

struct Counting;

thread_local! {
    /// Of this thread alone: the test harness allocates in its own while a test runs.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() -> usize {
    COUNT.get()
}

// SAFETY: hands everything to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// One test only: another one beside it would be counted, too.
#[test]
fn evaluator_calls_and_new_weights_do_not_allocate() {
    let traces = [
        Trace::Exact,
        Trace::Hutchinson { probes: 2, noise: Noise::Rademacher },
        Trace::Hutchinson { probes: 2, noise: Noise::Gaussian },
    ];
    let wide = |theta: Vec<f32>| theta.into_iter().map(f64::from).collect::<Vec<_>>();
    // Few dimensions, and so many that the Jacobian of a net with a closed trace is probed.
    let cases = [2, 18].into_iter().flat_map(|dim| (0..4).map(move |depth| (dim, depth)));
    for (dim, depth) in cases {
        let spec = MlpSpec {
            dim,
            condition_dim: 1,
            hidden: vec![20; depth],
            activation: Activation::Silu,
            time: TimeInput::Fourier { frequencies: 1 },
        };
        let theta = wide(spec.init(&mut cnflow::rng::stream(1, 0)));
        let mut mlp = Mlp::new(&spec, &theta).unwrap();
        let before = count();
        mlp.set_theta(&theta).unwrap();
        assert_eq!(count(), before, "set_theta, depth {depth}");
        traces.into_iter().for_each(|trace| calls(&format!("depth {depth}"), &mlp, trace));
        traces.into_iter().for_each(|trace| few(&format!("depth {depth}"), &mlp, trace));
    }
    let spec = ImageSpec::recipe(ImageShape { height: 4, width: 5, channels: 1 }, 1, ImageNetSpec::CHANNELS);
    let theta = wide(spec.init(&mut cnflow::rng::stream(1, 0)));
    let mut image = Image::new(&spec, &theta).unwrap();
    let before = count();
    image.set_theta(&theta).unwrap();
    assert_eq!(count(), before, "set_theta, images");
    traces.into_iter().for_each(|trace| calls("images", &image, trace));
    let gaussian = GaussianPath { path: Path::Straight, deviation: 2.0 };
    let around = Preconditioned::new(gaussian, Box::new(image));
    traces.into_iter().for_each(|trace| calls("images, preconditioned", &around, trace));
}

/// Value and divergence of so few lanes that they are computed one by one.
fn few(name: &str, velocity: &dyn Velocity<f64>, trace: Trace) {
    let (dim, lanes, stride) = (velocity.dim(), 3, 16);
    let (t, samples, keys, condition) = ([0.3; 3], [0, 1, 2], [0, 1, 2], [0.1; 3]);
    let (x, mut v, mut div) = (vec![0.5; dim * stride], vec![0.0; dim * stride], vec![0.0; 2 * stride]);
    let mut eval = velocity.evaluator(Batch { condition: &condition, keys: &keys, trace, lanes });
    let k = eval.traces();
    let before = count();
    let (at, x) = (At::new(&t, &samples), Lanes::new(&x, dim, lanes, stride));
    eval.value(at, x, LanesMut::new(&mut v, dim, lanes, stride));
    let rows = LanesMut::new(&mut div, k, lanes, stride);
    eval.value_and_divergence(at, x, LanesMut::new(&mut v, dim, lanes, stride), rows);
    assert_eq!(count(), before, "{name}, d = {dim}, {trace:?}, few lanes");
}

/// Every call of an evaluator.
fn calls(name: &str, velocity: &dyn Velocity<f64>, trace: Trace) {
    let (dim, lanes, stride) = (velocity.dim(), 21, 32);
    let (t, samples) = (vec![0.3; lanes], (0..lanes).collect::<Vec<_>>());
    let keys: Vec<u64> = (0..lanes as u64).collect();
    let condition = vec![0.1; lanes];
    let x = vec![0.5; dim * stride];
    let (mut v, mut gx, mut div) = (x.clone(), x.clone(), vec![0.0; 2 * stride]);
    let (bar, mut g) = (vec![1.0; dim * stride], vec![0.0; velocity.grad_len()]);
    let mut eval = velocity.evaluator(Batch { condition: &condition, keys: &keys, trace, lanes });
    let k = eval.traces();
    let before = count();
    let (at, x) = (At::new(&t, &samples), Lanes::new(&x, dim, lanes, stride));
    eval.value(at, x, LanesMut::new(&mut v, dim, lanes, stride));
    let rows = LanesMut::new(&mut div, k, lanes, stride);
    eval.value_and_divergence(at, x, LanesMut::new(&mut v, dim, lanes, stride), rows);
    let (mut kinetic, mut jacobian) = ([0.0; 32], [0.0; 32]);
    let squares = Regularisers {
        kinetic: Some(LanesMut::new(&mut kinetic, 1, lanes, stride)),
        jacobian: Some(LanesMut::new(&mut jacobian, 1, lanes, stride)),
    };
    let rows = LanesMut::new(&mut div, k, lanes, stride);
    eval.value_divergence_and_squares(at, x, LanesMut::new(&mut v, dim, lanes, stride), rows, squares);
    eval.tangent(at, x, x, LanesMut::new(&mut v, dim, lanes, stride));
    let (v_bar, div_bar) = (Lanes::new(&bar, dim, lanes, stride), Lanes::new(&bar, k, lanes, stride));
    eval.pull_back(at, x, Some(v_bar), Some(div_bar), LanesMut::new(&mut gx, dim, lanes, stride), &mut g);
    let one = Some(Lanes::new(&bar, 1, lanes, stride));
    let squares = Regularisers { kinetic: one, jacobian: one };
    let all = Cotangents { v: Some(v_bar), div: Some(div_bar), squares };
    eval.pull_back_all(at, x, all, LanesMut::new(&mut gx, dim, lanes, stride), &mut g);
    let (v, gx) = (LanesMut::new(&mut v, dim, lanes, stride), LanesMut::new(&mut gx, dim, lanes, stride));
    let mut itself = |from: Lanes<'_, f64>, mut to: LanesMut<'_, f64>| to.data_mut().copy_from_slice(from.data());
    eval.value_and_gradient(at, x, v, gx, &mut itself, &mut g);
    velocity.fold_gradient(&mut g);
    assert_eq!(count(), before, "{name}, d = {dim}, {trace:?}");
}
