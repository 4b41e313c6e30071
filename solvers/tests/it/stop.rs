//! An observer stops a solve at the boundary of a step: every trajectory reports the time it reached, and those that
//! had arrived keep their result.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cnflow_solvers::{
    At, Failure, Jvp, Lanes, LanesMut, Method, Observer, Options, Progress, Report, SaveAt, Solution, Step, StopWhen,
    VectorField, solve, solve_here,
};

use crate::common::on_threads;

/// y' = −ω y with a rate ω for each trajectory, so that they arrive one after the other.
struct Decays;

impl Decays {
    fn rate(sample: usize) -> f64 {
        1.0 + 0.5 * sample as f64
    }
}

impl VectorField<f64> for Decays {
    fn dim(&self) -> usize {
        1
    }
    fn eval(&mut self, at: At<'_>, y: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        for l in 0..y.lanes() {
            out.row_mut(0)[l] = -Self::rate(at.sample[l]) * y.row(0)[l];
        }
    }
    fn tangents(&mut self) -> Option<&mut dyn Jvp<f64>> {
        Some(self)
    }
}

impl Jvp<f64> for Decays {
    fn jvp(&mut self, at: At<'_>, _y: Lanes<'_, f64>, dy: Lanes<'_, f64>, mut out: LanesMut<'_, f64>) {
        for l in 0..dy.lanes() {
            out.row_mut(0)[l] = -Self::rate(at.sample[l]) * dy.row(0)[l];
        }
    }
}

/// Counts the steps of all threads, raises the flag after `most`, and keeps where each trajectory stood last.
struct After<'a> {
    seen: &'a AtomicUsize,
    most: usize,
    flag: &'a AtomicBool,
    last: Vec<(usize, f64, f64)>,
    failed: Vec<(usize, Failure)>,
    finished: usize,
}

impl<'a> After<'a> {
    fn new(most: usize, seen: &'a AtomicUsize, flag: &'a AtomicBool) -> Self {
        Self { seen, most, flag, last: Vec::new(), failed: Vec::new(), finished: 0 }
    }
}

impl Observer<f64> for After<'_> {
    fn accepted(&mut self, step: &dyn Step<f64>) {
        assert!(self.finished == 0);
        let mut y = [0.0];
        step.end(&mut y);
        self.last.retain(|(sample, ..)| *sample != step.sample());
        self.last.push((step.sample(), step.t() + step.h(), y[0]));
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 >= self.most {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
    fn failed(&mut self, sample: usize, failure: &Failure) {
        self.failed.push((sample, *failure));
    }
    fn finish(&mut self) {
        self.finished += 1;
    }
}

const N: usize = 90;

fn starts() -> Vec<f64> {
    (0..N).map(|i| 1.0 + 0.01 * i as f64).collect()
}

fn options(method: Method, lanes: usize) -> Options {
    let steps = if method.adaptive() { None } else { Some(50) };
    Options { method, steps, lanes, rtol: 1e-6, atol: 1e-6, ..Options::default() }
}

fn bits(y: f64, report: &Report) -> (u64, u64, u32, u32) {
    (y.to_bits(), report.t.to_bits(), report.accepted, report.rejected)
}

/// Every trajectory has arrived, with the bits of a solve without a stop, or reports where it was stopped.
fn check(name: &str, solution: &Solution<f64>, whole: &Solution<f64>, observers: &[&After<'_>]) {
    let y0 = starts();
    let mut stopped = 0;
    for (sample, report) in solution.reports.iter().enumerate() {
        let y = solution.y[sample];
        let last = observers.iter().flat_map(|o| &o.last).find(|(of, ..)| *of == sample);
        let failed: Vec<_> = observers.iter().flat_map(|o| &o.failed).filter(|(of, _)| *of == sample).collect();
        match report.status {
            Ok(()) => {
                assert_eq!(bits(y, report), bits(whole.y[sample], &whole.reports[sample]), "{name}, row {sample}");
                assert!(failed.is_empty(), "{name}, row {sample}");
            }
            Err(failure @ Failure::Stopped { t }) => {
                stopped += 1;
                assert_eq!(failed, [&(sample, failure)], "{name}, row {sample}");
                // The state is that of the last step that the observer saw; the start where there was none.
                let (at, state) = last.map_or((0.0, y0[sample]), |(_, t, y)| (*t, *y));
                assert!((at - t).abs() < 1e-12 && t == report.t && t < 2.0, "{name}, row {sample}: {at} {t}");
                assert_eq!(state.to_bits(), y.to_bits(), "{name}, row {sample}");
                assert_eq!(last.is_some(), report.accepted > 0, "{name}, row {sample}");
            }
            Err(other) => panic!("{name}, row {sample}: {other}"),
        }
    }
    assert!(stopped > 0 && solution.stopped() && solution.summary().failed == stopped, "{name}: {stopped}");
    assert!(observers.iter().all(|o| o.finished == 1), "{name}");
}

#[test]
fn a_stopped_solve_ends_at_the_boundary_of_a_step() {
    let y0 = starts();
    for method in Method::all() {
        let name = method.name();
        for lanes in [1, 16, 64] {
            let options = options(method, lanes);
            let whole = solve_here(Decays, (), &y0, (0.0, 2.0), &options).unwrap();
            assert!(!whole.stopped());
            let all = whole.reports.iter().map(|r| r.accepted as usize).sum::<usize>();
            for most in [1, all / 3] {
                let (seen, flag) = (AtomicUsize::new(0), AtomicBool::new(false));
                let mut after = After::new(most, &seen, &flag);
                let observer = (&mut after, StopWhen(&flag));
                let solution = solve_here(Decays, observer, &y0, (0.0, 2.0), &options).unwrap();
                check(name, &solution, &whole, &[&after]);
                // All lanes of a tile end their steps together; none begins another.
                let taken = seen.load(Ordering::Relaxed);
                assert!(taken < most + lanes, "{name}, {lanes} lanes: {taken} steps, {most} allowed");
            }
        }
    }
}

/// Holds a thread at its first step until the flag is raised.
struct Hold<'a>(&'a AtomicBool);

impl Observer<f64> for Hold<'_> {
    fn accepted(&mut self, _step: &dyn Step<f64>) {
        while !self.0.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn one_thread_stops_them_all() {
    let y0 = starts();
    for method in Method::all() {
        let options = options(method, 16);
        let whole = solve_here(Decays, (), &y0, (0.0, 2.0), &options).unwrap();
        for threads in [2, 3] {
            // The first thread stops after one step. The others wait for that, and never stop by themselves.
            let (seen, flag, first) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(true));
            let worker = || {
                let stops = first.swap(false, Ordering::Relaxed);
                let most = if stops { 1 } else { usize::MAX };
                let stop = stops.then_some(StopWhen(&flag));
                let hold = (!stops).then_some(Hold(&flag));
                (Decays, (After::new(most, &seen, &flag), (stop, hold)))
            };
            let (solution, observers) = on_threads(threads, || solve(worker, &y0, (0.0, 2.0), &options)).unwrap();
            let observers: Vec<_> = observers.iter().map(|(after, _)| after).collect();
            check(method.name(), &solution, &whole, &observers);
        }
    }
}

#[test]
fn a_solve_that_is_stopped_before_it_begins_evaluates_nothing() {
    struct Untouched;
    impl VectorField<f64> for Untouched {
        fn dim(&self) -> usize {
            1
        }
        fn eval(&mut self, _at: At<'_>, _y: Lanes<'_, f64>, _out: LanesMut<'_, f64>) {
            panic!("the field was evaluated");
        }
        fn tangents(&mut self) -> Option<&mut dyn Jvp<f64>> {
            Some(self)
        }
    }
    impl Jvp<f64> for Untouched {
        fn jvp(&mut self, _at: At<'_>, _y: Lanes<'_, f64>, _dy: Lanes<'_, f64>, _out: LanesMut<'_, f64>) {
            panic!("the field was evaluated");
        }
    }
    let (y0, flag) = (starts(), AtomicBool::new(true));
    for method in Method::all() {
        for threads in [1, 3] {
            let arrived = AtomicUsize::new(0);
            let worker = || (Untouched, (StopWhen(&flag), (Progress(&arrived), SaveAt::new(&[1.0], 1))));
            let run = || solve(worker, &y0, (0.5, 2.0), &options(method, 16)).unwrap();
            let (solution, observers) = on_threads(threads, run);
            assert_eq!(solution.y, y0, "{method}");
            for report in &solution.reports {
                assert_eq!(report.status, Err(Failure::Stopped { t: 0.5 }), "{method}");
                assert_eq!((report.nfe, report.accepted, report.t), (0, 0, 0.5), "{method}");
            }
            // A progress bar comes to its end, and what was to be saved is missing.
            assert_eq!(arrived.load(Ordering::Relaxed), N, "{method}");
            let saved: Vec<SaveAt<f64>> = observers.into_iter().map(|(_, (_, saved))| saved).collect();
            assert!(SaveAt::collect(&saved, N, 0.5, &y0).iter().all(|y| y.is_nan()), "{method}");
        }
    }
}
