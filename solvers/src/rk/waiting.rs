//! Trajectories on their way into the tile: their first slope and their first step, a tile at a time.

use std::collections::VecDeque;

use super::{Lane, norm};
use crate::control::History;
use crate::error::Failure;
use crate::field::{At, VectorField};
use crate::initial;
use crate::lanes::{Lanes, LanesMut, stride_for};
use crate::observe::Observer;
use crate::real::Real;
use crate::report::Report;
use crate::tableau::Tableau;
use crate::work::Work;

/// Trajectories that are ready to start.
#[derive(Default)]
pub(super) struct Waiting<T> {
    pub(super) ready: VecDeque<Lane>,
    /// No trajectory is left to fetch.
    pub(super) exhausted: bool,
    pub(super) y: Vec<T>,
    pub(super) k: Vec<T>,
    /// The start of one trajectory.
    start: Vec<T>,
    probe: Vec<T>,
    k_probe: Vec<T>,
}

impl<T: Real> Waiting<T> {
    /// Fetches up to a tile of trajectories; evaluates their first slope and chooses their first step.
    pub(super) fn prepare(
        &mut self,
        field: &mut dyn VectorField<T>,
        tableau: &Tableau,
        work: &mut Work<'_, T>,
        observer: &mut dyn Observer<T>,
    ) {
        let (options, (t0, t1)) = (work.options, work.span);
        let (dim, stride) = (work.dim, stride_for(options.lanes));
        for buffer in [&mut self.y, &mut self.k, &mut self.probe, &mut self.k_probe] {
            buffer.resize(dim * stride, T::ZERO);
        }
        let mut samples = Vec::with_capacity(options.lanes);
        while samples.len() < options.lanes {
            let Some(sample) = (work.next)() else {
                self.exhausted = true;
                break;
            };
            (work.start)(sample, &mut self.start);
            if t0 == t1 {
                (work.deliver)(sample, &self.start, &Report::new(t0));
                continue;
            }
            for (r, value) in self.start.iter().enumerate() {
                self.y[r * stride + samples.len()] = *value;
            }
            samples.push(sample);
        }
        let n = samples.len();
        if n == 0 {
            return;
        }
        let times = vec![t0; n];
        let at = At::new(&times, &samples);
        let view = |data| Lanes::new(data, dim, n, stride);
        field.eval(at, view(&self.y), LanesMut::new(&mut self.k, dim, n, stride));
        let mut nfe = 1;
        let mut first = vec![0.0; n];
        if options.steps.is_none() {
            match options.first_step {
                Some(h) => first.fill(h.min(options.max_step)),
                None => {
                    let scale = initial::Scale::new(options, tableau, dim);
                    for (l, h) in first.iter_mut().enumerate() {
                        *h = scale.explore(&self.y, &self.k, l, stride, (t1 - t0).abs());
                        for r in 0..dim {
                            let i = r * stride + l;
                            self.probe[i] = self.y[i] + T::of(h.copysign(t1 - t0)) * self.k[i];
                        }
                    }
                    let times: Vec<f64> = first.iter().map(|h| t0 + h.copysign(t1 - t0)).collect();
                    field.eval(
                        At::new(&times, &samples),
                        view(&self.probe),
                        LanesMut::new(&mut self.k_probe, dim, n, stride),
                    );
                    nfe += 1;
                    for (l, h) in first.iter_mut().enumerate() {
                        *h = scale
                            .choose(&self.y, &self.k, &self.k_probe, l, stride, *h)
                            .min(options.max_step)
                            .min((t1 - t0).abs());
                    }
                }
            }
        }
        for h in &mut first {
            *h = h.max(options.min_step).min((t1 - t0).abs());
        }
        for (l, sample) in samples.into_iter().enumerate() {
            let report = Report { nfe, ..Report::new(t0) };
            let finite = |data: &[T]| (0..dim).all(|r| data[r * stride + l].is_finite());
            if !finite(&self.y) || !finite(&self.k) {
                let speed = norm(&self.k, l, dim, stride);
                let failure = Failure::NonFinite { t: t0, h: 0.0, speed };
                let start = work.start(sample);
                work.fail(sample, &start, report, failure, observer);
                continue;
            }
            let history = History::default();
            let lane = Lane { sample, slot: l, h: first[l], step: 0, history, retry: false, report, done: false };
            self.ready.push_back(lane);
        }
    }

    /// Ends every trajectory that is ready where it starts: the solve was stopped.
    pub(super) fn abandon(&mut self, work: &mut Work<'_, T>, observer: &mut dyn Observer<T>) {
        let t = work.span.0;
        for lane in self.ready.drain(..) {
            let start = work.start(lane.sample);
            work.fail(lane.sample, &start, lane.report, Failure::Stopped { t }, observer);
        }
    }
}
