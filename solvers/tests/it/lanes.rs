//! A trajectory's result is the same bits alone, in any batch, at any tile width, on any number of threads.

use crate::common::on_threads;
use crate::problems::Field;
use cnflow_solvers::save::SaveAt;
use cnflow_solvers::{Method, Options, Real, Report, Solution, methods, solve, solve_here};

/// A driven Van der Pol oscillator: its cost depends on its start, so lanes come and go at different times.
fn oscillator(t: f64, y: &[f64], d: &mut [f64]) {
    d[0] = y[1];
    d[1] = 3.0 * (1.0 - y[0] * y[0]) * y[1] - y[0] + t.sin();
}

/// 150 starts on a spiral; every eleventh one cannot be integrated.
fn starts<T: Real>() -> Vec<T> {
    (0..150)
        .flat_map(|i| {
            let r = 0.02 * f64::from(i);
            let x = if i % 11 == 5 { f64::NAN } else { r * f64::from(i).cos() };
            [T::of(x), T::of(r * f64::from(i).sin())]
        })
        .collect()
}

const TIMES: [f64; 3] = [0.4, 1.7, 2.0];

/// All that a solve reports of each trajectory, as bits.
fn outcome<T: Real>(y: &[T], saved: &[T], reports: &[Report]) -> Vec<Vec<u64>> {
    let n = reports.len();
    let bits = |v: &T| v.to_f64().to_bits();
    (0..n)
        .map(|i| {
            let r = &reports[i];
            let counts = [r.nfe.into(), r.accepted.into(), r.rejected.into(), r.t.to_bits(), r.status.is_ok().into()];
            let states = (0..TIMES.len()).flat_map(|k| &saved[(k * n + i) * 2..(k * n + i + 1) * 2]).map(bits);
            counts.into_iter().chain(y[2 * i..2 * i + 2].iter().map(bits)).chain(states).collect()
        })
        .collect()
}

fn batch<T: Real>(y0: &[T], options: &Options, threads: usize) -> Vec<Vec<u64>> {
    let worker = || (Field::new(2, oscillator), SaveAt::<T>::new(&TIMES, 2));
    let (solution, observers) = on_threads(threads, || solve(worker, y0, (0.0, 2.0), options)).unwrap();
    let saved = SaveAt::collect(&observers, y0.len() / 2, 0.0, y0);
    outcome(&solution.y, &saved, &solution.reports)
}

fn alone<T: Real>(y0: &[T], options: &Options) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    for start in y0.chunks_exact(2) {
        let mut saved = SaveAt::<T>::new(&TIMES, 2);
        let Solution { y, reports, .. } =
            solve_here(Field::new(2, oscillator), &mut saved, start, (0.0, 2.0), options).unwrap();
        let saved = SaveAt::collect(&[saved], 1, 0.0, start);
        all.extend(outcome(&y, &saved, &reports));
    }
    all
}

fn check<T: Real>() {
    let y0 = starts::<T>();
    for method in methods::ALL {
        for steps in [Some(13), None].into_iter().filter(|s| s.is_some() || method.adaptive()) {
            let options = |lanes| Options {
                method: Method::Explicit(method),
                steps,
                lanes,
                rtol: 1e-4,
                atol: 1e-4,
                ..Options::default()
            };
            let each = alone(&y0, &options(1));
            for (lanes, threads) in [(1, 1), (3, 1), (16, 2), (33, 1), (64, 3), (64, 1), (200, 1), (7, 3), (150, 2)] {
                let all = batch(&y0, &options(lanes), threads);
                let differs = all.iter().zip(&each).position(|(a, b)| a != b);
                assert_eq!(differs, None, "{}, {lanes} lanes, {threads} threads, steps {steps:?}", method.name);
            }
            // In another order, and in other company.
            let turned: Vec<T> = y0.chunks_exact(2).rev().flatten().copied().collect();
            let mut all = batch(&turned, &options(64), 2);
            all.reverse();
            assert!(all == each, "{}: a turned batch, steps {steps:?}", method.name);
            assert!(batch(&y0[60..100], &options(64), 1) == each[30..50], "{}: a part, steps {steps:?}", method.name);
        }
    }
}

#[test]
fn a_lane_is_the_same_bits_in_any_batch_tile_and_thread_in_f64() {
    check::<f64>();
}

#[test]
fn a_lane_is_the_same_bits_in_any_batch_tile_and_thread_in_f32() {
    check::<f32>();
}
