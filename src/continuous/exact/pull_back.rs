//! The gradient of the way back: of the latent and the log-determinant by the data, the condition and θ.
//!
//! The states yₙ of a path satisfy F(yₙ) = yₙ₊₁, so that dyₙ = D⁻¹ (dyₙ₊₁ − ∂F/∂θ dθ): Newton's iteration itself is not
//! differentiated. With λ the derivative by yₙ of all that the way back computes from it, and s that by the
//! log-determinant −Σ ln det D, a step from the latent's side to the data's is
//!
//! a = λ − s ∂(ln det D)/∂yₙ,   w = D⁻ᵀ a,   θ̄ += −s ∂(ln det D)/∂θ − (∂F/∂θ)ᵀ w,   λ ← w.
//!
//! ∂(ln det D) has the cotangent D⁻ᵀ of D: it goes through the tangents of all stages, last to first, where a stage's
//! velocity gives the cotangents of its point and of its directions.

use cnflow_solvers::{At, Lanes, LanesMut};

use super::step::StepMap;
use super::{Map, Moved};
use crate::continuous::request::Request;
use crate::transform::Cost;
use crate::velocity::{Scalar, TangentCotangents, Velocity};
use crate::{Error, Result};

/// The paths of the rows of a chunk, to be pulled back.
pub(crate) struct ExactTape<'a, T> {
    map: Map<'a, T>,
    /// `[n, d]` and `[n]`.
    pub y: Vec<T>,
    pub logdet: Vec<f64>,
    pub cost: Cost,
    /// `[n, N + 1, d]`.
    path: Vec<f64>,
    arrived: Vec<bool>,
}

impl<'a, T: Scalar> ExactTape<'a, T> {
    /// Of the rows `x` (`[n, d]`) under their `condition` (`[n, c]`), on their way to the latents.
    ///
    /// # Errors
    /// As [`super::transport`]; [`Error::Invalid`] for a velocity without the gradient of its tangents.
    pub fn new(velocity: &'a dyn Velocity<T>, x: &[T], condition: &'a [T], request: &Request<'_>) -> Result<Self> {
        let map = Map::new(velocity, condition, request)?;
        let n = x.len() / velocity.dim();
        let mut steps = map.steps(map.lanes.min(n));
        if steps.evaluator.tangents_back().is_none() {
            let problem = "a net on images has no gradient of its exact log-density";
            return Err(Error::invalid(problem, "set `solver.log_density` to coupled"));
        }
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let Moved { y, logdet, cost, path } = map.chunk(&mut steps, &x, &(0..n), true)?;
        let mut arrived = vec![true; n];
        cost.failures.iter().for_each(|(row, _)| arrived[*row] = false);
        drop(steps);
        Ok(Self { map, y: y.into_iter().map(T::of).collect(), logdet, cost, path, arrived })
    }

    /// The derivatives by the rows (`[n, d]`) of a loss with the derivatives `y_bar` (`[n, d]`) by the latents and
    /// `logdet_bar` (`[n]`); `g` gains those by θ, and `sums` (`[n, c]`) those by the conditions. Rows that failed get
    /// zeros and add nothing.
    pub fn pull_back(&self, y_bar: &[T], logdet_bar: &[T], g: &mut [T], sums: Option<&mut [f64]>) -> Vec<T> {
        let map = &self.map;
        let (d, lanes) = (map.velocity.dim(), map.lanes.min(self.arrived.len()).max(1));
        let mut steps = StepMap::new(map.gathered(lanes, sums), map.tableau, lanes);
        let mut sweep = Sweep::new(&steps);
        let mut x_bar = vec![T::ZERO; y_bar.len()];
        let arrived: Vec<usize> = (0..self.arrived.len()).filter(|row| self.arrived[*row]).collect();
        for rows in arrived.chunks(lanes) {
            for (l, row) in rows.iter().enumerate() {
                sweep.s[l] = logdet_bar[*row].to_f64();
                (0..d).for_each(|r| sweep.lambda[l * d + r] = y_bar[row * d + r].to_f64());
            }
            for n in 0..if map.stays() { 0 } else { map.n_steps() } {
                for (l, row) in rows.iter().enumerate() {
                    let from = (row * map.grid.len() + n) * d;
                    steps.set(l, map.step(n), *row, &self.path[from..from + d]);
                }
                sweep.step(&mut steps, rows.len(), g);
            }
            for (l, row) in rows.iter().enumerate() {
                (0..d).for_each(|r| x_bar[row * d + r] = T::of(sweep.lambda[l * d + r]));
            }
        }
        x_bar
    }
}

/// The scratch of a pull-back.
struct Sweep<T> {
    /// λ, `[lane][d]`, and s, one a lane.
    lambda: Vec<f64>,
    s: Vec<f64>,
    /// Cotangents of kᵢ and Kᵢ, stage after stage, and of y, `[d, stride]`.
    k_bar: Vec<f64>,
    tangents_bar: Vec<f64>,
    y_bar: Vec<f64>,
    /// In the velocity's precision: what enters a pull-back, and what leaves it.
    v_bar: Vec<T>,
    dv_bar: Vec<T>,
    gx: Vec<T>,
    gdx: Vec<T>,
}

impl<T: Scalar> Sweep<T> {
    fn new(steps: &StepMap<'_, T>) -> Self {
        let (d, stride, stages) = (steps.d, steps.stride, steps.stages());
        let (wide, narrow) = (|rows: usize| vec![0.0; rows * stride], |rows: usize| vec![T::ZERO; rows * stride]);
        Self {
            lambda: wide(d),
            s: wide(1),
            k_bar: wide(stages * d),
            tangents_bar: wide(stages * d * d),
            y_bar: wide(d),
            v_bar: narrow(d),
            dv_bar: narrow(d * d),
            gx: narrow(d),
            gdx: narrow(d * d),
        }
    }

    /// Pulls λ back over the step that is set in the first `n` lanes; `g` gains its part.
    fn step(&mut self, steps: &mut StepMap<'_, T>, n: usize, g: &mut [T]) {
        let (d, stride, b) = (steps.d, steps.stride, steps.tableau().b);
        steps.run(n, true);
        self.k_bar.fill(0.0);
        self.y_bar.fill(0.0);
        let mut factors = Vec::with_capacity(n);
        let mut column = vec![0.0; d];
        for l in 0..n {
            steps.factor(l);
            for r in 0..d {
                // Column r of D⁻¹ is row r of D⁻ᵀ.
                column.fill(0.0);
                column[r] = 1.0;
                steps.lu.solve(&mut column);
                for (c, inverse) in column.iter().enumerate() {
                    let by = -self.s[l] * steps.h[l] * inverse;
                    for (i, b) in b.iter().enumerate() {
                        self.tangents_bar[(i * d * d + c * d + r) * stride + l] = b * by;
                    }
                }
            }
            factors.push(steps.lu.clone());
        }
        for i in (0..steps.stages()).rev().filter(|i| steps.live(*i)).collect::<Vec<_>>() {
            self.log_det_stage(steps, i, n, g);
        }
        for (l, factors) in factors.iter().enumerate() {
            let lambda = &mut self.lambda[l * d..(l + 1) * d];
            lambda.iter_mut().enumerate().for_each(|(r, lambda)| *lambda += self.y_bar[r * stride + l]);
            factors.solve_transposed(lambda);
            for (i, b) in b.iter().enumerate() {
                (0..d).for_each(|r| self.k_bar[(i * d + r) * stride + l] = -steps.h[l] * b * lambda[r]);
            }
        }
        for i in (0..steps.stages()).rev().filter(|i| steps.live(*i)).collect::<Vec<_>>() {
            self.value_stage(steps, i, n, g);
        }
    }

    /// Stage `i` of the pull-back of ln det D.
    fn log_det_stage(&mut self, steps: &mut StepMap<'_, T>, i: usize, n: usize, g: &mut [T]) {
        let (d, stride) = (steps.d, steps.stride);
        steps.load_stage(i, n, true);
        let of = |to: &mut [T], from: &[f64]| to.iter_mut().zip(from).for_each(|(to, from)| *to = T::of(*from));
        of(&mut self.v_bar, &self.k_bar[i * d * stride..]);
        of(&mut self.dv_bar, &self.tangents_bar[i * d * d * stride..]);
        let StepMap { evaluator, state, directions, stage_t, samples, .. } = &mut *steps;
        let Some(velocity) = evaluator.tangents_back() else { return };
        let bar = TangentCotangents {
            v: Lanes::new(&self.v_bar, d, n, stride),
            dv: Lanes::new(&self.dv_bar, d * d, n, stride),
        };
        velocity.pull_back_tangents(
            At::new(&stage_t[..n], &samples[..n]),
            Lanes::new(state, d, n, stride),
            Lanes::new(directions, d * d, n, stride),
            bar,
            (LanesMut::new(&mut self.gx, d, n, stride), LanesMut::new(&mut self.gdx, d * d, n, stride)),
            g,
        );
        let a = steps.tableau().a[i];
        for r in 0..d {
            let row = r * stride..r * stride + n;
            self.y_bar[row.clone()].iter_mut().zip(&self.gx[row]).for_each(|(sum, gx)| *sum += gx.to_f64());
        }
        spread(&mut self.k_bar, &self.gx, a, &steps.h[..n], (d, stride));
        spread(&mut self.tangents_bar, &self.gdx, a, &steps.h[..n], (d * d, stride));
    }

    /// Stage `i` of the pull-back of F, by θ and the condition: λ is known already.
    fn value_stage(&mut self, steps: &mut StepMap<'_, T>, i: usize, n: usize, g: &mut [T]) {
        let (d, stride) = (steps.d, steps.stride);
        steps.load_stage(i, n, false);
        let from = &self.k_bar[i * d * stride..];
        self.v_bar.iter_mut().zip(from).for_each(|(to, from)| *to = T::of(*from));
        let StepMap { evaluator, state, stage_t, samples, .. } = &mut *steps;
        evaluator.pull_back(
            At::new(&stage_t[..n], &samples[..n]),
            Lanes::new(state, d, n, stride),
            Some(Lanes::new(&self.v_bar, d, n, stride)),
            None,
            LanesMut::new(&mut self.gx, d, n, stride),
            g,
        );
        spread(&mut self.k_bar, &self.gx, steps.tableau().a[i], &steps.h[..n], (d, stride));
    }
}

/// The cotangents of the stages before: bar of stage j += h aⱼ x̄, on so many rows.
fn spread<T: Scalar>(bars: &mut [f64], pulled: &[T], a: &[f64], h: &[f64], (rows, stride): (usize, usize)) {
    for (j, a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
        for r in 0..rows {
            let bars = bars[(j * rows + r) * stride..][..h.len()].iter_mut();
            bars.zip(h).zip(&pulled[r * stride..]).for_each(|((bar, h), x)| *bar += h * (a * x.to_f64()));
        }
    }
}
