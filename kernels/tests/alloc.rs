//! No call of a net allocates: a counting allocator, in a test binary of its own.

// An allocator is unsafe by nature.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use cnflow_kernels::{Activation, ImageNet, ImageNetSpec, ImageShape, Keep, Net, NetSpec, OpSpec};
use cnflow_solvers::{Lanes, LanesMut};

struct Counting;

thread_local! {
    /// Of this thread alone: the test harness allocates in its own while a test runs.
    static COUNT: Cell<usize> = const { Cell::new(0) };
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
fn calls_and_new_parameters_do_not_allocate() {
    let (lanes, stride) = (21, 32);
    for end in [None, Some(Activation::Tanh)] {
        let hidden = OpSpec::Dense { outputs: 17, activation: Some(Activation::Silu) };
        let last = OpSpec::Dense { outputs: 3, activation: end };
        let spec = NetSpec { inputs: 5, active: 3, ops: vec![hidden, last] };
        let theta = vec![0.1; spec.n_params()];
        let mut net = Net::<f64>::new(&spec, &theta).unwrap();
        let (x, bar) = (vec![0.5; 5 * stride], vec![1.0; 3 * stride]);
        let (mut out, mut g) = (vec![0.0; 3 * stride], theta.clone());
        let before = COUNT.get();
        net.set_params(&theta).unwrap();
        assert_eq!(COUNT.get(), before, "set_params");
        let mut evaluator = net.evaluator(lanes);
        let before = COUNT.get();
        let view = |data| Lanes::new(data, 3, lanes, stride);
        let keep = Keep::Second;
        evaluator.forward(Lanes::new(&x, 5, lanes, stride), LanesMut::new(&mut out, 3, lanes, stride), keep);
        evaluator.tangent(view(&bar), LanesMut::new(&mut out, 3, lanes, stride));
        evaluator.pull_back_tangent(view(&bar), LanesMut::new(&mut out, 3, lanes, stride), &mut g);
        evaluator.pull_back(Some(view(&bar)), LanesMut::new(&mut out, 3, lanes, stride), &mut g);
        assert_eq!(COUNT.get(), before, "{end:?}");
    }
    images();
}

fn images() {
    let (lanes, stride, pixels) = (21, 32, 15);
    let spec = ImageNetSpec::recipe(ImageShape { height: 5, width: 3, channels: 1 }, 2, ImageNetSpec::CHANNELS);
    let theta = vec![0.1; spec.n_params()];
    let mut net = ImageNet::<f32>::new(&spec, &theta).unwrap();
    let (x, mut out, mut g) = (vec![0.5; pixels * stride], vec![0.0; pixels * stride], theta.clone());
    let mut evaluator = net.evaluator(lanes);
    let view = |rows| Lanes::new(&x[..rows * stride], rows, lanes, stride);
    let before = COUNT.get();
    evaluator.forward(view(pixels), view(2), LanesMut::new(&mut out, pixels, lanes, stride), Keep::Second);
    evaluator.tangent(view(pixels), LanesMut::new(&mut out, pixels, lanes, stride));
    evaluator.pull_back_tangent(view(pixels), LanesMut::new(&mut out, pixels, lanes, stride), &mut g);
    evaluator.pull_back(Some(view(pixels)), LanesMut::new(&mut out, pixels, lanes, stride), &mut g);
    net.set_params(&theta).unwrap();
    assert_eq!(COUNT.get(), before, "an image's net");
}
