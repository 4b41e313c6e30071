//! A whole solve as one node of candle's graph.
//!
//! Forward: (x `[n, d]`, θ) → `[n, d + 1 + p]`: the points at the end of their paths, the log-determinant, and the
//! integrals of the p penalties asked for, which add up along the path whatever its direction in time.
//! Backward: the exact gradient of what was computed, from the tapes that the forward pass left here. Rows
//! are taken in fixed chunks and the chunks' gradients added along a fixed tree, so that the bits do not
//! depend on the number of threads.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Shape, Tensor, WithDType};
use cnf_solvers::gradient::{Integrand, chunks, pull_back, tree_sum};
use cnf_solvers::{Failure, Method, Observer, Options, Quadrature, Report, Solution, Tableau, Tape, solve_here};
use rayon::prelude::*;

use super::transport::{keys, with_zeros};
use super::{Cost, SolverSpec, VelocitySpec};
use crate::velocity::fields::{Coupled, Divergence, Motion};
use crate::velocity::{Batch, Penalties, Scalar, Trace, Velocity};

/// Rows of a chunk. Small enough to feed several threads from a batch of some hundreds, large enough that
/// lanes are refilled.
const CHUNK: usize = 128;

/// The solve, and after it the tapes.
pub(super) struct SolveOp {
    pub velocity: VelocitySpec,
    pub solver: SolverSpec,
    pub tableau: &'static Tableau,
    pub trace: Trace,
    pub penalties: Penalties,
    pub span: (f64, f64),
    /// `[n, c]`, or empty.
    pub condition: Vec<f64>,
    /// Where a net of candle layers computes.
    pub device: Device,
    pub saved: Mutex<Option<Box<dyn Any + Send>>>,
    /// What the forward pass took.
    pub cost: Arc<Mutex<Cost>>,
}

/// What became of a chunk.
struct Chunk<T> {
    /// `[rows, d + 1 + p]`.
    out: Vec<T>,
    tape: Tape<T>,
    cost: Cost,
}

/// The tapes of a batch, chunk by chunk, and what made them.
struct Saved<T> {
    velocity: Box<dyn Velocity<T>>,
    condition: Vec<T>,
    keys: Vec<u64>,
    tapes: Vec<(Range<usize>, Tape<T>)>,
}

fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [T]> {
    let data = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&data[from..to]),
        None => candle_core::bail!("a solve needs contiguous arrays"),
    }
}

fn wrap(error: crate::Error) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}

impl SolveOp {
    fn probes(&self) -> usize {
        match self.trace {
            Trace::Exact => 1,
            Trace::Hutchinson { probes, .. } => probes,
        }
    }

    fn batch<'a, T>(&self, condition: &'a [T], keys: &'a [u64], rows: &Range<usize>) -> Batch<'a, T> {
        let c = self.velocity.condition_dim();
        let condition = &condition[rows.start * c..rows.end * c];
        Batch { condition, keys: &keys[rows.clone()], trace: self.trace, lanes: self.solver.lanes }
    }

    /// Numbers of a row of the result: point, log-determinant, penalties.
    fn width(&self) -> usize {
        self.velocity.dim() + 1 + self.penalties.count()
    }

    /// A penalty is integrated over |dt|, a solve over dt.
    fn direction(&self) -> f64 {
        (self.span.1 - self.span.0).signum()
    }

    fn forward<T: Scalar + WithDType>(&self, x: &[T], theta: &[T]) -> crate::Result<Vec<T>> {
        let d = self.velocity.dim();
        let n = x.len() / d;
        let velocity = self.velocity.bind(theta, &self.device)?;
        let condition: Vec<T> = self.condition.iter().map(|c| T::of(*c)).collect();
        let keys = keys(x, d, self.solver.probe_seed);
        let ranges: Vec<_> = chunks(n, CHUNK).collect();
        let parts: Vec<_> = ranges
            .into_par_iter()
            .map(|rows| {
                let batch = self.batch(&condition, &keys, &rows);
                Ok((rows.clone(), self.chunk(&*velocity, &x[rows.start * d..rows.end * d], batch)?))
            })
            .collect::<crate::Result<_>>()?;
        let mut out = Vec::with_capacity(n * self.width());
        let mut tapes = Vec::new();
        let mut cost = Cost::default();
        for (rows, chunk) in parts {
            out.extend(chunk.out);
            cost.append(rows.start, chunk.cost);
            tapes.push((rows, chunk.tape));
        }
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner) = cost;
        let saved = Saved { velocity, condition, keys, tapes };
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(saved));
        Ok(out)
    }

    fn chunk<T: Scalar>(&self, velocity: &dyn Velocity<T>, x: &[T], batch: Batch<'_, T>) -> crate::Result<Chunk<T>> {
        let (d, k, width) = (self.velocity.dim(), self.probes(), self.width());
        let coupled = self.solver.coupled();
        let (tail, free) = if coupled { (k, self.penalties.count()) } else { (0, 0) };
        let options = Options { free, ..self.solver.options(self.tableau.into(), tail, velocity.time_rate()) };
        let mut tape = Tape::new(self.tableau, d + tail + free);
        let mut out = vec![T::ZERO; x.len() / d * width];
        // The integrals of a row, from start to end: one a probe, then the penalties.
        let direction = self.direction();
        let put = |row: &mut [T], integrals: &[f64]| {
            let (logdets, penalties) = integrals.split_at(k);
            row[d] = T::of(logdets.iter().sum::<f64>() / k as f64);
            for (slot, integral) in row[d + 1..].iter_mut().zip(penalties) {
                *slot = T::of(direction * integral);
            }
        };
        let mut traces = vec![0; x.len() / d];
        // Rows whose path arrived but whose integral is not finite.
        let mut unsound = Vec::new();
        let Solution { y, reports, .. } = if coupled {
            let start = with_zeros(x, d, tail + free);
            let field = Coupled(velocity.evaluator(batch), self.penalties);
            let solution = solve_here(field, &mut tape, &start, self.span, &options)?;
            let states = solution.y.chunks_exact(d + tail + free);
            for ((row, state), (traces, report)) in
                out.chunks_exact_mut(width).zip(states).zip(traces.iter_mut().zip(&solution.reports))
            {
                let integrals: Vec<f64> = state[d..].iter().map(|integral| integral.wide()).collect();
                put(row, &integrals);
                *traces = report.nfe;
            }
            solution
        } else {
            let g = Divergence::new(velocity.evaluator(batch), options.lanes).with(self.penalties);
            let rule = options.method.rule();
            let mut quadrature = Quadrature::new(g, rule, None, self.tableau.dense_degree(), options.lanes);
            let both = (&mut tape, &mut quadrature);
            let solution = solve_here(Motion(velocity.evaluator(batch)), both, x, self.span, &options)?;
            for integral in quadrature.into_integrals() {
                let row = &mut out[integral.sample * width..][..width];
                put(row, &integral.values);
                // Asked of what is kept: an integral may leave the range of f32 when it is rounded.
                if !row[d..].iter().all(|value| value.is_finite()) {
                    unsound.push(integral.sample);
                }
                traces[integral.sample] = integral.evals;
            }
            solution
        };
        let (from, to) = self.span;
        let integrand = Failure::Integrand { from, to };
        unsound.sort_unstable();
        // The gradient leaves these rows out as it does those whose path failed: zero times NaN is NaN.
        unsound.iter().for_each(|sample| Observer::<T>::failed(&mut tape, *sample, &integrand));
        for ((row, state), report) in out.chunks_exact_mut(width).zip(y.chunks_exact(d + tail + free)).zip(&reports) {
            row[..d].copy_from_slice(&state[..d]);
            if report.status.is_err() {
                row.fill(T::of(f64::NAN));
            }
        }
        unsound.iter().for_each(|sample| out[sample * width..][..width].fill(T::of(f64::NAN)));
        let failed = |(row, report): (usize, &Report)| report.status.err().map(|failure| (row, failure.into()));
        let unsound = unsound.iter().map(|sample| (*sample, integrand.into()));
        let cost = Cost {
            nfe: reports.iter().map(|report| report.nfe).collect(),
            traces,
            failures: reports.iter().enumerate().filter_map(failed).chain(unsound).collect(),
            stiff: reports.iter().filter(|report| report.stiffness.stiff()).count(),
            ..Cost::default()
        };
        Ok(Chunk { out, tape, cost })
    }

    fn backward<T: Scalar + WithDType>(&self, bar: &[T]) -> crate::Result<(Vec<T>, Vec<T>)> {
        let guard = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(saved) = guard.as_ref().and_then(|saved| saved.downcast_ref::<Saved<T>>()) else {
            return Err(crate::Error::invalid("a solve was pulled back before it was run", ""));
        };
        let (d, k, width) = (self.velocity.dim(), self.probes(), self.width());
        let (rule, lanes) = (Method::from(self.tableau).rule(), self.solver.lanes);
        let riding = if self.solver.coupled() { k + self.penalties.count() } else { 0 };
        let direction = T::of(self.direction());
        // The derivative by the integrals of a row; its log-determinant is the mean over probes.
        let integrals = |row: &[T]| -> Vec<T> {
            let logdets = std::iter::repeat_n(T::of(row[d].wide() / k as f64), k);
            logdets.chain(row[d + 1..].iter().map(|penalty| direction * *penalty)).collect()
        };
        let part = |(rows, tape): &(Range<usize>, Tape<T>)| {
            let batch = self.batch(&saved.condition, &saved.keys, rows);
            let mut g_theta = vec![T::ZERO; saved.velocity.grad_len()];
            let bar = bar[rows.start * width..rows.end * width].chunks_exact(width);
            let start_bar = if riding > 0 {
                let end_bar: Vec<T> = bar.flat_map(|row| [&row[..d], &integrals(row)[..]].concat()).collect();
                let mut field = Coupled(saved.velocity.evaluator(batch), self.penalties);
                pull_back(tape, &mut field, None, &end_bar, lanes, &mut g_theta)
            } else {
                let end_bar: Vec<T> = bar.clone().flat_map(|row| row[..d].to_vec()).collect();
                let bar: Vec<T> = bar.flat_map(integrals).collect();
                let mut field = Motion(saved.velocity.evaluator(batch));
                let mut g = Divergence::new(saved.velocity.evaluator(batch), lanes).with(self.penalties);
                let integrand = Integrand { g: &mut g, rule, bar: &bar };
                pull_back(tape, &mut field, Some(integrand), &end_bar, lanes, &mut g_theta)
            };
            let gx: Vec<T> = start_bar.chunks_exact(d + riding).flat_map(|row| row[..d].to_vec()).collect();
            (gx, g_theta)
        };
        let parts: Vec<_> = saved.tapes.par_iter().map(part).collect();
        let (gx, g_theta): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let mut g_theta = tree_sum(g_theta);
        saved.velocity.fold_gradient(&mut g_theta);
        g_theta.truncate(self.velocity.n_params());
        Ok((gx.concat(), g_theta))
    }
}

impl CustomOp2 for SolveOp {
    fn name(&self) -> &'static str {
        "solve"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        theta: &CpuStorage,
        theta_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = Shape::from((x_layout.dims()[0], self.width()));
        let out = match x {
            CpuStorage::F64(_) => {
                CpuStorage::F64(self.forward::<f64>(slice(x, x_layout)?, slice(theta, theta_layout)?).map_err(wrap)?)
            }
            _ => CpuStorage::F32(self.forward::<f32>(slice(x, x_layout)?, slice(theta, theta_layout)?).map_err(wrap)?),
        };
        Ok((out, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        theta: &Tensor,
        _res: &Tensor,
        bar: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let bar = bar.flatten_all()?;
        let device = x.device();
        let (gx, g_theta) = match x.dtype() {
            DType::F64 => {
                let (gx, g) = self.backward(&bar.to_vec1::<f64>()?).map_err(wrap)?;
                (Tensor::from_vec(gx, x.shape(), device)?, Tensor::from_vec(g, theta.shape(), device)?)
            }
            _ => {
                let (gx, g) = self.backward(&bar.to_vec1::<f32>()?).map_err(wrap)?;
                (Tensor::from_vec(gx, x.shape(), device)?, Tensor::from_vec(g, theta.shape(), device)?)
            }
        };
        Ok((Some(gx), Some(g_theta)))
    }
}
