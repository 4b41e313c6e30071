//! One step of an explicit method on a tile of lanes, each at its own time with its own length, and its matrix.

use cnflow_solvers::lanes::stride_for;
use cnflow_solvers::{At, Lanes, LanesMut, Tableau};

use super::matrix::Lu;
use crate::error::Failure;
use crate::velocity::{Evaluator, Scalar};

/// The determinant of a step's matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    /// ln|det D|.
    pub log_abs: f64,
    /// 1 or −1; 0 or NaN where D is singular or not finite.
    pub sign: f64,
}

/// A step F(y) and its matrix D = ∂F/∂y, with the scratch of one thread.
///
/// Matrices are column after column: row `c d + r` of a tile is the entry in row r and column c.
pub(super) struct StepMap<'a, T> {
    pub evaluator: Box<dyn Evaluator<T> + 'a>,
    tableau: &'static Tableau,
    /// Stages whose slope reaches the end of the step.
    live: Vec<bool>,
    pub d: usize,
    pub stride: usize,
    width: usize,
    t: Vec<f64>,
    pub h: Vec<f64>,
    pub samples: Vec<usize>,
    /// `[d, stride]`.
    start: Vec<f64>,
    end: Vec<f64>,
    /// D, `[d d, stride]`.
    matrix: Vec<f64>,
    /// kᵢ and Kᵢ, stage after stage.
    k: Vec<T>,
    tangents: Vec<T>,
    /// Yᵢ, Eᵢ and the times of a stage.
    pub state: Vec<T>,
    pub directions: Vec<T>,
    pub stage_t: Vec<f64>,
    sum: Vec<f64>,
    pub lu: Lu,
}

impl<'a, T: Scalar> StepMap<'a, T> {
    /// For up to `width` lanes, at least one.
    pub fn new(evaluator: Box<dyn Evaluator<T> + 'a>, tableau: &'static Tableau, width: usize) -> Self {
        let (d, width) = (evaluator.dim(), width.max(1));
        let (stride, stages) = (stride_for(width), tableau.stages());
        let mut live = vec![false; stages];
        for i in (0..stages).rev() {
            live[i] = tableau.b[i] != 0.0 || (i + 1..stages).any(|j| live[j] && tableau.a[j][i] != 0.0);
        }
        let (wide, narrow) = (|rows: usize| vec![0.0; rows * stride], |rows: usize| vec![T::ZERO; rows * stride]);
        Self {
            evaluator,
            tableau,
            live,
            d,
            stride,
            width,
            t: wide(1),
            h: wide(1),
            samples: vec![0; stride],
            start: wide(d),
            end: wide(d),
            matrix: wide(d * d),
            k: narrow(stages * d),
            tangents: narrow(stages * d * d),
            state: narrow(d),
            directions: narrow(d * d),
            stage_t: wide(1),
            sum: wide(1),
            lu: Lu::new(d),
        }
    }

    /// The most lanes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of stages of a step.
    pub fn stages(&self) -> usize {
        self.live.len()
    }

    /// Whether the slope of stage `i` reaches the end of the step.
    pub fn live(&self, i: usize) -> bool {
        self.live[i]
    }

    pub fn tableau(&self) -> &'static Tableau {
        self.tableau
    }

    /// Evaluations of the velocity in a step.
    pub fn evaluations(&self) -> u32 {
        self.live.iter().filter(|live| **live).count() as u32
    }

    /// Puts row `sample` of the batch into lane `l`: at `y` (`[d]`) and time t, with a step of length h.
    pub fn set(&mut self, l: usize, (t, h): (f64, f64), sample: usize, y: &[f64]) {
        (self.t[l], self.h[l], self.samples[l]) = (t, h, sample);
        y.iter().enumerate().for_each(|(r, y)| self.start[r * self.stride + l] = *y);
    }

    /// The time at which lane `l` began its step.
    pub fn time(&self, l: usize) -> f64 {
        self.t[l]
    }

    /// Lane `l` of F(y), `[d]`.
    pub fn end_of(&self, l: usize, y: &mut [f64]) {
        y.iter_mut().enumerate().for_each(|(r, y)| *y = self.end[r * self.stride + l]);
    }

    /// Whether F(y) is finite in lane `l`.
    pub fn finite(&self, l: usize) -> bool {
        (0..self.d).all(|r| self.end[r * self.stride + l].is_finite())
    }

    /// Why F(y) is not finite there.
    pub fn not_finite(&self, l: usize) -> Failure {
        let speed = (0..self.d).map(|r| self.k[r * self.stride + l].to_f64().powi(2)).sum::<f64>().sqrt();
        cnflow_solvers::Failure::NonFinite { t: self.t[l], h: self.h[l].abs(), speed }.into()
    }

    /// `self.lu` ← the factors of lane `l` of D.
    pub fn factor(&mut self, l: usize) -> Judged {
        let Self { lu, matrix, d, stride, .. } = self;
        let (log_abs, sign) = lu.factor(|r, c| matrix[(c * *d + r) * *stride + l]);
        Judged { log_abs, sign }
    }

    /// Takes the step in the first `n` lanes; D too where `with_matrix`.
    pub fn run(&mut self, n: usize, with_matrix: bool) {
        let (d, stride) = (self.d, self.stride);
        for i in 0..self.stages() {
            if !self.live[i] {
                continue;
            }
            self.load_stage(i, n, with_matrix);
            let at = At::new(&self.stage_t[..n], &self.samples[..n]);
            let state = Lanes::new(&self.state, d, n, stride);
            let k = LanesMut::new(&mut self.k[i * d * stride..], d, n, stride);
            if with_matrix {
                let directions = Lanes::new(&self.directions, d * d, n, stride);
                let tangents = LanesMut::new(&mut self.tangents[i * d * d * stride..], d * d, n, stride);
                self.evaluator.value_and_tangents(at, state, directions, k, tangents);
            } else {
                self.evaluator.value(at, state, k);
            }
        }
        let b = self.tableau.b;
        for r in 0..d {
            weighted(&mut self.sum[..n], b, &self.k, d * stride, r * stride);
            for l in 0..n {
                self.end[r * stride + l] = self.start[r * stride + l] + self.h[l] * self.sum[l];
            }
        }
        for row in 0..if with_matrix { d * d } else { 0 } {
            weighted(&mut self.sum[..n], b, &self.tangents, d * d * stride, row * stride);
            for l in 0..n {
                self.matrix[row * stride + l] = unit(row, d) + self.h[l] * self.sum[l];
            }
        }
    }

    /// Yᵢ and, where wanted, Eᵢ of the first `n` lanes, from the slopes and tangents of the stages before.
    pub fn load_stage(&mut self, i: usize, n: usize, with_matrix: bool) {
        let (d, stride, a) = (self.d, self.stride, self.tableau.a[i]);
        for l in 0..n {
            self.stage_t[l] = self.t[l] + self.tableau.c[i] * self.h[l];
        }
        for r in 0..d {
            weighted(&mut self.sum[..n], a, &self.k, d * stride, r * stride);
            for l in 0..n {
                self.state[r * stride + l] = T::of(self.start[r * stride + l] + self.h[l] * self.sum[l]);
            }
        }
        for row in 0..if with_matrix { d * d } else { 0 } {
            weighted(&mut self.sum[..n], a, &self.tangents, d * d * stride, row * stride);
            for l in 0..n {
                self.directions[row * stride + l] = T::of(unit(row, d) + self.h[l] * self.sum[l]);
            }
        }
    }
}

/// The unit matrix, by the row of its tile.
fn unit(row: usize, d: usize) -> f64 {
    if row / d == row % d { 1.0 } else { 0.0 }
}

/// `sum` ← Σ wⱼ kⱼ, where the lanes of stage j begin at `j size + from`.
fn weighted<T: Scalar>(sum: &mut [f64], weights: &[f64], k: &[T], size: usize, from: usize) {
    sum.fill(0.0);
    for (j, w) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
        let row = &k[j * size + from..][..sum.len()];
        sum.iter_mut().zip(row).for_each(|(sum, k)| *sum += w * k.to_f64());
    }
}
