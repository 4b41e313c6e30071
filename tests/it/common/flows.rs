//! Flows whose log-density is known in closed form, as velocities.
//!
//! Each is evaluated lane by lane in f64 and rounded to the state's precision. The truth takes the latent to be
//! standard normal: log p(x) = log N(z; 0, I) + log|det ∂z/∂x|, with z at t = 0 and x at t = 1.

use std::sync::Arc;

use cnflow::continuous::{BoundVelocity, Continuous, SolverSpec};
use cnflow::model::bars::{finer, probes};
use cnflow::model::{Bars, ErrorBars, Flow};
use cnflow::rng::stream;
use cnflow::velocity::{Batch, Cotangents, Evaluator, Precision, Regularisers, Trace, Velocity};
use cnflow_solvers::{At, Lanes, LanesMut, Real};
use nalgebra::DMatrix;
use rand::Rng as _;
use rand_distr::StandardNormal;

/// A velocity field with its Jacobian and the truth about where it leads.
pub trait Closed: Send + Sync {
    fn name(&self) -> String;
    fn dim(&self) -> usize;
    /// v and the Jacobian `[d, d]`, row-major, at (t, x).
    fn field(&self, t: f64, x: &[f64], v: &mut [f64], jacobian: &mut [f64]);
    /// n points at t = 1, `[n, d]`.
    fn points(&self, n: usize, rng: &mut cnflow::Rng) -> Vec<f64>;
    /// log p at t = 1.
    fn log_prob(&self, x: &[f64]) -> f64;
}

pub fn log_normal(z: &[f64]) -> f64 {
    -0.5 * z.iter().map(|z| z * z + std::f64::consts::TAU.ln()).sum::<f64>()
}

fn normals(n: usize, rng: &mut cnflow::Rng) -> Vec<f64> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

/// x' = A x: x(1) = e^A z.
pub struct Linear {
    name: &'static str,
    a: DMatrix<f64>,
    exp: DMatrix<f64>,
    back: DMatrix<f64>,
}

impl Linear {
    pub fn new(name: &'static str, d: usize, a: &[f64]) -> Self {
        let a = DMatrix::from_row_slice(d, d, a);
        Self { name, exp: a.clone().exp(), back: (-a.clone()).exp(), a }
    }
}

impl Closed for Linear {
    fn name(&self) -> String {
        self.name.into()
    }
    fn dim(&self) -> usize {
        self.a.nrows()
    }
    fn field(&self, _t: f64, x: &[f64], v: &mut [f64], jacobian: &mut [f64]) {
        let d = self.dim();
        for i in 0..d {
            v[i] = (0..d).map(|j| self.a[(i, j)] * x[j]).sum();
            (0..d).for_each(|j| jacobian[i * d + j] = self.a[(i, j)]);
        }
    }
    fn points(&self, n: usize, rng: &mut cnflow::Rng) -> Vec<f64> {
        let d = self.dim();
        let z = DMatrix::from_vec(d, n, normals(n * d, rng));
        (&self.exp * z).as_slice().to_vec()
    }
    fn log_prob(&self, x: &[f64]) -> f64 {
        let z = &self.back * DMatrix::from_column_slice(x.len(), 1, x);
        log_normal(z.as_slice()) - self.a.trace()
    }
}

/// x' = λ tanh x: sinh x(1) = e^λ sinh z.
pub struct Tanh(pub f64);

impl Closed for Tanh {
    fn name(&self) -> String {
        format!("tanh {}", self.0)
    }
    fn dim(&self) -> usize {
        1
    }
    fn field(&self, _t: f64, x: &[f64], v: &mut [f64], jacobian: &mut [f64]) {
        let tanh = x[0].tanh();
        (v[0], jacobian[0]) = (self.0 * tanh, self.0 * (1.0 - tanh * tanh));
    }
    fn points(&self, n: usize, rng: &mut cnflow::Rng) -> Vec<f64> {
        normals(n, rng).into_iter().map(|z| (self.0.exp() * z.sinh()).asinh()).collect()
    }
    fn log_prob(&self, x: &[f64]) -> f64 {
        let z = ((-self.0).exp() * x[0].sinh()).asinh();
        log_normal(&[z]) - self.0 - (z.cosh() / x[0].cosh()).ln()
    }
}

/// x' = λ x (1 − x) on (0, 1): logit x(1) = λ + logit z.
pub struct Logit(pub f64);

impl Closed for Logit {
    fn name(&self) -> String {
        format!("logit {}", self.0)
    }
    fn dim(&self) -> usize {
        1
    }
    fn field(&self, _t: f64, x: &[f64], v: &mut [f64], jacobian: &mut [f64]) {
        (v[0], jacobian[0]) = (self.0 * x[0] * (1.0 - x[0]), self.0 * (1.0 - 2.0 * x[0]));
    }
    fn points(&self, n: usize, rng: &mut cnflow::Rng) -> Vec<f64> {
        (0..n).map(|_| 1.0 / (1.0 + (-self.0 - 1.5 * rng.sample::<f64, _>(StandardNormal)).exp())).collect()
    }
    fn log_prob(&self, x: &[f64]) -> f64 {
        let z = 1.0 / (1.0 + ((1.0 / x[0] - 1.0).ln() + self.0).exp());
        log_normal(&[z]) + (z * (1.0 - z) / (x[0] * (1.0 - x[0]))).ln()
    }
}

/// The probability flow of a mixture of axis-aligned Gaussians along x_t = t x₁ + (1 − t) x₀.
///
/// p_t = Σ w_k N(t m_k, C_k), C_k = t² S_k + (1 − t)² I;  v = Σ r_k [m_k + B_k (x − t m_k)] with
/// B_k = (t S_k − (1 − t) I) C_k⁻¹ and r_k the posterior weights; p₁ is the mixture itself.
pub struct Mixture {
    name: &'static str,
    d: usize,
    weights: Vec<f64>,
    means: Vec<f64>,
    variances: Vec<f64>,
}

impl Mixture {
    pub fn new(name: &'static str, d: usize, weights: &[f64], means: &[f64], deviations: &[f64]) -> Self {
        let variances = deviations.iter().map(|s| s * s).collect();
        Self { name, d, weights: weights.to_vec(), means: means.to_vec(), variances }
    }
    /// ln w_k N(x; t m_k, C_k).
    fn terms(&self, t: f64, x: &[f64]) -> Vec<f64> {
        let d = self.d;
        (0..self.weights.len())
            .map(|k| {
                let each = |j: usize| {
                    let (m, c) = (t * self.means[k * d + j], t * t * self.variances[k * d + j] + (1.0 - t).powi(2));
                    -0.5 * ((x[j] - m).powi(2) / c + (std::f64::consts::TAU * c).ln())
                };
                self.weights[k].ln() + (0..d).map(each).sum::<f64>()
            })
            .collect()
    }
}

fn log_sum_exp(terms: &[f64]) -> f64 {
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + terms.iter().map(|a| (a - top).exp()).sum::<f64>().ln()
}

impl Closed for Mixture {
    fn name(&self) -> String {
        self.name.into()
    }
    fn dim(&self) -> usize {
        self.d
    }
    fn field(&self, t: f64, x: &[f64], v: &mut [f64], jacobian: &mut [f64]) {
        let d = self.d;
        let terms = self.terms(t, x);
        let total = log_sum_exp(&terms);
        v.fill(0.0);
        jacobian.fill(0.0);
        let (mut u, mut g) = (vec![0.0; d], vec![0.0; d]);
        let mut mean_g = vec![0.0; d];
        for (k, term) in terms.iter().enumerate() {
            let r = (term - total).exp();
            for j in 0..d {
                let (m, s) = (self.means[k * d + j], self.variances[k * d + j]);
                let c = t * t * s + (1.0 - t).powi(2);
                let b = (t * s - (1.0 - t)) / c;
                u[j] = m + b * (x[j] - t * m);
                g[j] = -(x[j] - t * m) / c;
                v[j] += r * u[j];
                mean_g[j] += r * g[j];
                jacobian[j * d + j] += r * b;
            }
            for i in 0..d {
                (0..d).for_each(|j| jacobian[i * d + j] += r * u[i] * g[j]);
            }
        }
        for i in 0..d {
            (0..d).for_each(|j| jacobian[i * d + j] -= v[i] * mean_g[j]);
        }
    }
    fn points(&self, n: usize, rng: &mut cnflow::Rng) -> Vec<f64> {
        let total: f64 = self.weights.iter().sum();
        assert!((total - 1.0).abs() < 1e-12, "weights add up to 1");
        let mut x = Vec::new();
        for _ in 0..n {
            let mut u: f64 = rng.random();
            let k = self.weights.iter().position(|w| {
                u -= w;
                u < 0.0
            });
            let k = k.unwrap_or(0);
            for j in k * self.d..(k + 1) * self.d {
                x.push(self.means[j] + self.variances[j].sqrt() * rng.sample::<f64, _>(StandardNormal));
            }
        }
        x
    }
    fn log_prob(&self, x: &[f64]) -> f64 {
        log_sum_exp(&self.terms(1.0, x))
    }
}

/// Every flow of known density: a new one joins this list and meets every law.
pub fn every_flow() -> Vec<Arc<dyn Closed>> {
    let mut rng = stream(5, 0);
    let mut spread =
        |n: usize, low: f64, high: f64| -> Vec<f64> { (0..n).map(|_| rng.random_range(low..high)).collect() };
    let wide = spread(64, -1.0, 1.0);
    let (means, deviations) = (spread(15, -2.0, 2.0), spread(15, 0.3, 1.0));
    vec![
        Arc::new(Linear::new("linear, diagonal", 2, &[1.5, 0.0, 0.0, -2.0])),
        Arc::new(Linear::new("linear, non-normal", 2, &[-1.0, 8.0, 0.0, -1.5])),
        Arc::new(Linear::new("linear, 8-d", 8, &wide)),
        Arc::new(Linear::new("rotation", 2, &[0.0, -5.0, 5.0, 0.0])),
        Arc::new(Tanh(1.0)),
        Arc::new(Tanh(4.0)),
        Arc::new(Logit(1.0)),
        Arc::new(Logit(3.0)),
        Arc::new(Mixture::new("mixture, 1-d", 1, &[0.3, 0.7], &[-1.5, 1.0], &[0.4, 0.6])),
        Arc::new(Mixture::new(
            "mixture, 2-d",
            2,
            &[0.5, 0.3, 0.2],
            &[2.0, 0.0, -1.5, 1.5, -1.0, -2.0],
            &[0.4, 0.6, 0.5, 0.3, 0.4, 0.4],
        )),
        Arc::new(Mixture::new("mixture, 5-d", 5, &[0.4, 0.35, 0.25], &means, &deviations)),
    ]
}

/// A flow of known density behind the contract of a velocity.
pub struct Field(pub Arc<dyn Closed>);

/// Log-densities of the rows of `x` by a flow of known density, integrated as `solver` says, with their error bars.
pub fn bars(flow: &Arc<dyn Closed>, x: &[f64], solver: &SolverSpec, precision: Precision) -> Bars {
    let of = |precision: Precision, solver: SolverSpec| {
        let field = Field(flow.clone());
        let velocity = match precision {
            Precision::F32 => BoundVelocity::F32(Arc::new(field)),
            Precision::F64 => BoundVelocity::F64(Arc::new(field)),
        };
        Flow::new(Continuous::of_velocity(velocity, solver).unwrap())
    };
    let scored = of(precision, solver.clone()).log_prob(x, &[]).unwrap();
    let probes = probes(solver.trace.resolve(flow.dim(), false, None).unwrap());
    let bars = ErrorBars::new(of(Precision::F64, finer(solver).unwrap()), solver.clone(), probes);
    bars.of(x, &[], &scored.log_prob, &scored.cost).unwrap()
}

struct FieldEvaluator<'a, T> {
    flow: &'a dyn Closed,
    batch: Batch<'a, T>,
    x: Vec<f64>,
    v: Vec<f64>,
    jacobian: Vec<f64>,
}

impl<T: Real> Velocity<T> for Field {
    fn dim(&self) -> usize {
        self.0.dim()
    }
    fn condition_dim(&self) -> usize {
        0
    }
    fn n_params(&self) -> usize {
        0
    }
    fn grad_len(&self) -> usize {
        0
    }
    fn fold_gradient(&self, _gradient: &mut [T]) {}
    fn evaluator<'a>(&'a self, batch: Batch<'a, T>) -> Box<dyn Evaluator<T> + 'a> {
        let d = self.0.dim();
        Box::new(FieldEvaluator { flow: &*self.0, batch, x: vec![0.0; d], v: vec![0.0; d], jacobian: vec![0.0; d * d] })
    }
}

impl<T: Real> FieldEvaluator<'_, T> {
    fn at(&mut self, t: f64, x: Lanes<'_, T>, lane: usize) {
        (0..self.x.len()).for_each(|i| self.x[i] = x.row(i)[lane].to_f64());
        self.flow.field(t, &self.x, &mut self.v, &mut self.jacobian);
    }
}

impl<T: Real> Evaluator<T> for FieldEvaluator<'_, T> {
    fn dim(&self) -> usize {
        self.x.len()
    }
    fn traces(&self) -> usize {
        self.batch.trace.rows()
    }
    fn grad_len(&self) -> usize {
        0
    }
    fn value(&mut self, at: At<'_>, x: Lanes<'_, T>, mut v: LanesMut<'_, T>) {
        for (l, t) in at.t.iter().enumerate() {
            self.at(*t, x, l);
            (0..self.x.len()).for_each(|i| v.row_mut(i)[l] = T::of(self.v[i]));
        }
    }
    fn value_divergence_and_squares(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        mut div: LanesMut<'_, T>,
        squares: Regularisers<LanesMut<'_, T>>,
    ) {
        assert!(squares.kinetic.is_none() && squares.jacobian.is_none(), "nobody trains a flow of known density");
        let d = self.x.len();
        for (l, t) in at.t.iter().enumerate() {
            self.at(*t, x, l);
            (0..d).for_each(|i| v.row_mut(i)[l] = T::of(self.v[i]));
            match self.batch.trace {
                Trace::Exact => div.row_mut(0)[l] = T::of((0..d).map(|i| self.jacobian[i * d + i]).sum()),
                random => {
                    let key = self.batch.keys[at.sample[l]];
                    for k in 0..random.probes() {
                        let e: Vec<f64> = (0..d).map(|i| random.probe(key, k, i)).collect();
                        let form = (0..d * d).map(|ij| e[ij / d] * self.jacobian[ij] * e[ij % d]).sum();
                        div.row_mut(k)[l] = T::of(form);
                    }
                }
            }
        }
    }
    fn tangent(&mut self, at: At<'_>, x: Lanes<'_, T>, dx: Lanes<'_, T>, mut dv: LanesMut<'_, T>) {
        let d = self.x.len();
        for (l, t) in at.t.iter().enumerate() {
            self.at(*t, x, l);
            for i in 0..d {
                let row = (0..d).map(|j| self.jacobian[i * d + j] * dx.row(j)[l].to_f64()).sum();
                dv.row_mut(i)[l] = T::of(row);
            }
        }
    }
    fn value_and_gradient(
        &mut self,
        at: At<'_>,
        x: Lanes<'_, T>,
        mut v: LanesMut<'_, T>,
        v_bar: LanesMut<'_, T>,
        cotangent: &mut dyn FnMut(Lanes<'_, T>, LanesMut<'_, T>),
        _g: &mut [T],
    ) {
        self.value(at, x, v.reborrow());
        cotangent(v.as_lanes(), v_bar);
    }
    fn pull_back_all(
        &mut self,
        _at: At<'_>,
        _x: Lanes<'_, T>,
        _bar: Cotangents<'_, T>,
        _gx: LanesMut<'_, T>,
        _g: &mut [T],
    ) {
        panic!("a flow of known density has no parameters: nobody pulls back through it");
    }
}
