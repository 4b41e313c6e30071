//! Discrete flows: NICE, RealNVP, Glow and neural splines, behind the interface of the continuous one.
//!
//! [`Plan`] says what is wanted, [`DiscreteSpec`] is that layer by layer, [`Discrete`] the bijection. All layers of a chunk
//! of rows are one pass, so that a flow is one node of candle's graph; its gradient is that of what was computed. A row's
//! result depends on that row alone, and chunks' gradients are added along a fixed tree: no bit depends on the batch
//! or on threads.

mod layer;
mod net;
mod spec;
mod spline;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Shape, Tensor, WithDType};
use cnf_solvers::gradient::{chunks, tree_sum};
use cnf_solvers::lanes::LANE_BLOCK;
use rayon::prelude::*;

use self::layer::Way;
use self::net::{Net, Rows, Slopes};
pub use self::spec::{DiscreteSpec, Kind, LayerSpec, Plan, Split, Transform};
use super::{Bijection, Cost, Mapped, check_failures, check_rows};
use crate::velocity::Scalar;
use crate::{Error, Result};

/// Rows of a chunk: few enough that the activations of all layers stay in the second-level cache.
const CHUNK: usize = 64;

/// A discrete flow with its θ.
#[derive(Clone, Debug)]
pub struct Discrete {
    spec: DiscreteSpec,
    theta: Tensor,
    layers: usize,
}

impl Discrete {
    /// The flow of `spec` with parameters `theta` (`[n_params]`, f32 or f64; a `Var` to train it).
    ///
    /// # Errors
    /// [`Error::Dimension`] where θ does not fit; as [`DiscreteSpec::validate`].
    pub fn new(spec: DiscreteSpec, theta: Tensor) -> Result<Self> {
        spec.validate()?;
        if theta.dims() != [spec.n_params()] {
            let (expected, found) = (spec.n_params(), theta.elem_count());
            return Err(Error::Dimension { what: "the parameter vector".into(), expected, found });
        }
        let layers = spec.layers.len();
        Ok(Self { spec, theta, layers })
    }

    /// The first `layers` layers, counted from the latent: the distribution at that stage.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more layers than there are.
    pub fn until(&self, layers: usize) -> Result<Self> {
        let all = self.spec.layers.len();
        if layers > all {
            return Err(Error::invalid(
                format!("stage {layers} of a flow of {all} layers"),
                format!("give a stage from 0 (the latent) to {all} (the data)"),
            ));
        }
        Ok(Self { layers, ..self.clone() })
    }

    /// What it is made of.
    pub fn spec(&self) -> &DiscreteSpec {
        &self.spec
    }

    /// θ.
    pub fn theta(&self) -> &Tensor {
        &self.theta
    }

    /// The mean of −log p over the rows of `x` (`[n, d]` row-major; `condition` `[n, c]`), in nats, as a scalar of θ's
    /// precision through which candle differentiates by θ: value and gradient come of one pass.
    ///
    /// # Errors
    /// [`Error::Failed`] where a row has no density; [`Error::Degenerate`] for parameters that make no bijection.
    pub fn nll(&self, x: &[f64], condition: &[f64]) -> Result<Tensor> {
        let op = Nll { flow: self, x, condition };
        let (loss, gradient) = match self.theta.dtype() {
            DType::F64 => op.run::<f64>(&self.theta.to_vec1()?)?,
            _ => op.run::<f32>(&self.theta.to_vec1()?)?,
        };
        Ok(self.theta.contiguous()?.apply_op1(Told { loss, gradient })?)
    }

    /// θ with the shifts and scales of its activation norms set so that the rows `x` leave each of them with mean 0 and
    /// deviation 1.  Ref: Kingma & Dhariwal (2018), section 3.1.
    ///
    /// # Errors
    /// As [`Bijection::inverse`].
    pub fn started(spec: &DiscreteSpec, theta: &[f32], x: &[f64], condition: &[f64]) -> Result<Vec<f32>> {
        let mut theta = theta.to_vec();
        let (d, lengths) = (spec.dim, spec.lengths());
        let n = x.len() / d;
        let mut at: usize = lengths.iter().sum();
        let mut y = x.to_vec();
        for (i, layer) in spec.layers.iter().enumerate().rev() {
            at -= lengths[i];
            if matches!(layer, LayerSpec::Diagonal { shift: true }) && n > 1 {
                for j in 0..d {
                    let column = || y.iter().skip(j).step_by(d);
                    let mean = column().sum::<f64>() / n as f64;
                    let var = column().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
                    theta[at + j] = (var.sqrt() + 1e-6).ln() as f32;
                    theta[at + d + j] = mean as f32;
                }
            }
            let one = DiscreteSpec { layers: vec![layer.clone()], ..spec.clone() };
            let net = Net::new(&one, &theta[at..at + lengths[i]], 1)?;
            let mut next = vec![0.0; y.len()];
            carry(&net, Way::Inverse, &y, condition, d, spec.condition_dim, &mut next, &mut vec![0.0; n]);
            y = next;
        }
        Ok(theta)
    }

    fn map(&self, x: &Tensor, condition: Option<&Tensor>, way: Way) -> Result<Mapped> {
        let n = check_rows(x, self.spec.dim, condition, self.spec.condition_dim)?;
        let wide = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let condition = condition.map(wide).transpose()?.unwrap_or_default();
        let d = self.spec.dim;
        if !self.theta.is_variable() && !self.theta.track_op() && !x.track_op() {
            let (y, logdet, cost) = match self.theta.dtype() {
                DType::F64 => self.plain(&self.theta.to_vec1::<f64>()?, &wide(x)?, &condition, way)?,
                _ => self.plain(&self.theta.to_vec1::<f32>()?, &wide(x)?, &condition, way)?,
            };
            let y = Tensor::from_vec(y, (n, d), &Device::Cpu)?.to_dtype(x.dtype())?;
            let logdet = Tensor::from_vec(logdet, n, &Device::Cpu)?.to_dtype(x.dtype())?;
            return Ok(Mapped { y, logdet, cost });
        }
        let op = PassOp { flow: self.clone(), condition, way };
        let all = x.to_dtype(self.theta.dtype())?.contiguous()?.apply_op2(&self.theta.contiguous()?, op)?;
        let y = all.narrow(1, 0, d)?.to_dtype(x.dtype())?;
        let logdet = all.narrow(1, d, 1)?.squeeze(1)?.contiguous()?.to_dtype(x.dtype())?;
        Ok(Mapped { y, logdet, cost: Cost::default() })
    }

    fn plain<T: Scalar>(
        &self,
        theta: &[T],
        x: &[f64],
        condition: &[f64],
        way: Way,
    ) -> Result<(Vec<f64>, Vec<f64>, Cost)> {
        let (d, c) = (self.spec.dim, self.spec.condition_dim);
        let net = Net::new(&self.spec, theta, self.layers)?;
        let n = x.len() / d;
        let (mut y, mut logdet) = (vec![0.0; n * d], vec![0.0; n]);
        carry(&net, way, x, condition, d, c, &mut y, &mut logdet);
        let mut cost = Cost::default();
        for row in 0..n {
            let at = row * d..(row + 1) * d;
            if !(logdet[row].is_finite() && y[at.clone()].iter().all(|x| x.is_finite())) {
                let rows = Rows { x: &x[at.clone()], condition: &condition[row * c..(row + 1) * c] };
                cost.failures.push((row, net.broken_at(way, rows)));
                y[at].fill(f64::NAN);
                logdet[row] = f64::NAN;
            }
        }
        Ok((y, logdet, cost))
    }
}

/// Carries all rows, chunk by chunk.
#[expect(clippy::too_many_arguments, reason = "each is a different thing")]
fn carry<T: Scalar>(
    net: &Net<T>,
    way: Way,
    x: &[f64],
    condition: &[f64],
    d: usize,
    c: usize,
    y: &mut [f64],
    logdet: &mut [f64],
) {
    y.par_chunks_mut(CHUNK * d).zip(logdet.par_chunks_mut(CHUNK)).enumerate().for_each_init(
        || net.scratch(CHUNK, false),
        |scratch, (i, (y, logdet))| {
            let rows = i * CHUNK..i * CHUNK + logdet.len();
            let part =
                Rows { x: &x[rows.start * d..rows.end * d], condition: &condition[rows.start * c..rows.end * c] };
            net.pass(way, part, scratch, y, logdet);
        },
    );
}

/// Adds chunks' slopes along a fixed tree.
fn total<T: Scalar>(parts: Vec<Slopes<T>>) -> Slopes<T> {
    let (theta, matrices): (Vec<_>, Vec<_>) = parts.into_iter().map(|s| (s.theta, s.matrices)).unzip();
    Slopes { theta: tree_sum(theta), matrices: tree_sum(matrices) }
}

/// The negative log-likelihood of a batch and its gradient.
struct Nll<'a> {
    flow: &'a Discrete,
    x: &'a [f64],
    condition: &'a [f64],
}

impl Nll<'_> {
    fn run<T: Scalar + WithDType>(&self, theta: &[T]) -> Result<(f64, Tensor)> {
        let spec = &self.flow.spec;
        let (d, c, n) = (spec.dim, spec.condition_dim, self.x.len() / spec.dim);
        let net = Net::new(spec, theta, self.flow.layers)?;
        let weight = 1.0 / n as f64;
        let ranges: Vec<_> = chunks(n, CHUNK).collect();
        let parts: Vec<(f64, Option<usize>, Slopes<T>)> = ranges
            .into_par_iter()
            .map_init(
                || net.scratch(CHUNK, true),
                |scratch, rows| {
                    let (mut sum, mut bad, mut slopes) = (0.0, None, net.slopes());
                    let part = Rows {
                        x: &self.x[rows.start * d..rows.end * d],
                        condition: &self.condition[rows.start * c..rows.end * c],
                    };
                    net.learn(
                        Way::Inverse,
                        part,
                        scratch,
                        |z, logdet, z_bar, logdet_bar| {
                            for l in 0..rows.len() {
                                let (block, slot) = (l / LANE_BLOCK, l % LANE_BLOCK);
                                let squares: f64 = (0..d).map(|j| z.at(block, j)[slot].powi(2)).sum();
                                let row = 0.5 * squares - logdet.at(block, 0)[slot];
                                if !row.is_finite() {
                                    bad.get_or_insert(rows.start + l);
                                }
                                sum += row;
                                logdet_bar.at_mut(block, 0)[slot] = -weight;
                                (0..d).for_each(|j| z_bar.at_mut(block, j)[slot] = weight * z.at(block, j)[slot]);
                            }
                        },
                        &mut slopes,
                        None,
                    );
                    (sum, bad, slopes)
                },
            )
            .collect();
        let bad: Vec<usize> = parts.iter().filter_map(|(_, bad, _)| *bad).collect();
        if let Some(row) = bad.first() {
            let rows = Rows { x: &self.x[row * d..(row + 1) * d], condition: &self.condition[row * c..(row + 1) * c] };
            let failures = vec![(*row, net.broken_at(Way::Inverse, rows))];
            check_failures(&Cost { failures, ..Cost::default() }, n)?;
        }
        let sum: f64 = parts.iter().map(|(sum, ..)| sum).sum();
        let gradient = net.fold(Way::Inverse, total(parts.into_iter().map(|(.., slopes)| slopes).collect()));
        let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
        Ok((sum * weight + constant, Tensor::from_vec(gradient, theta.len(), &Device::Cpu)?))
    }
}

/// A loss that is known already, with its gradient.
struct Told {
    loss: f64,
    gradient: Tensor,
}

impl CustomOp1 for Told {
    fn name(&self) -> &'static str {
        "negative log-likelihood"
    }

    fn cpu_fwd(&self, theta: &CpuStorage, _layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let loss = match theta {
            CpuStorage::F64(_) => CpuStorage::F64(vec![self.loss]),
            _ => CpuStorage::F32(vec![self.loss as f32]),
        };
        Ok((loss, Shape::from(())))
    }

    fn bwd(&self, _theta: &Tensor, _loss: &Tensor, bar: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.gradient.broadcast_mul(bar)?))
    }
}

/// (x, θ) → `[n, d + 1]`: points and log-determinants. The backward pass runs the layers again, with slopes.
struct PassOp {
    flow: Discrete,
    condition: Vec<f64>,
    way: Way,
}

fn numbers<T: Scalar + WithDType>(storage: &CpuStorage, layout: &Layout) -> candle_core::Result<Vec<T>> {
    let data = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(data[from..to].to_vec()),
        None => candle_core::bail!("a flow needs contiguous arrays"),
    }
}

fn wrap(error: Error) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}

fn widened<T: Scalar>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.wide()).collect()
}

impl PassOp {
    fn forward<T: Scalar + WithDType>(&self, x: &[T], theta: &[T]) -> candle_core::Result<Vec<T>> {
        let d = self.flow.spec.dim;
        let (y, logdet, _) = self.flow.plain(theta, &widened(x), &self.condition, self.way).map_err(wrap)?;
        let row = |(y, l): (&[f64], &f64)| y.iter().chain([l]).map(|x| T::of(*x)).collect::<Vec<_>>();
        Ok(y.chunks_exact(d).zip(&logdet).flat_map(row).collect())
    }

    fn backward<T: Scalar + WithDType>(&self, x: &Tensor, theta: &Tensor, bar: &Tensor) -> Result<(Tensor, Tensor)> {
        let spec = &self.flow.spec;
        let (d, c) = (spec.dim, spec.condition_dim);
        let theta_values = theta.to_vec1::<T>()?;
        let net = Net::new(spec, &theta_values, self.flow.layers)?;
        let points = widened(&x.flatten_all()?.to_vec1::<T>()?);
        let bar = widened(&bar.flatten_all()?.to_vec1::<T>()?);
        let n = points.len() / d;
        let ranges: Vec<_> = chunks(n, CHUNK).collect();
        let parts: Vec<(Vec<f64>, Slopes<T>)> = ranges
            .into_par_iter()
            .map_init(
                || net.scratch(CHUNK, true),
                |scratch, rows| {
                    let (mut slopes, mut x_bar) = (net.slopes(), vec![0.0; rows.len() * d]);
                    let part = Rows {
                        x: &points[rows.start * d..rows.end * d],
                        condition: &self.condition[rows.start * c..rows.end * c],
                    };
                    net.learn(
                        self.way,
                        part,
                        scratch,
                        |_, _, y_bar, logdet_bar| {
                            for (l, row) in
                                bar[rows.start * (d + 1)..rows.end * (d + 1)].chunks_exact(d + 1).enumerate()
                            {
                                let (block, slot) = (l / LANE_BLOCK, l % LANE_BLOCK);
                                (0..d).for_each(|j| y_bar.at_mut(block, j)[slot] = row[j]);
                                logdet_bar.at_mut(block, 0)[slot] = row[d];
                            }
                        },
                        &mut slopes,
                        Some(&mut x_bar),
                    );
                    (x_bar, slopes)
                },
            )
            .collect();
        let (x_bars, slopes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let x_bar: Vec<T> = x_bars.concat().into_iter().map(T::of).collect();
        let gradient = net.fold(self.way, total(slopes));
        Ok((
            Tensor::from_vec(x_bar, x.shape(), &Device::Cpu)?,
            Tensor::from_vec(gradient, theta.shape(), &Device::Cpu)?,
        ))
    }
}

impl CustomOp2 for PassOp {
    fn name(&self) -> &'static str {
        "discrete flow"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        theta: &CpuStorage,
        theta_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = Shape::from((x_layout.dims()[0], self.flow.spec.dim + 1));
        let out = match x {
            CpuStorage::F64(_) => {
                CpuStorage::F64(self.forward::<f64>(&numbers(x, x_layout)?, &numbers(theta, theta_layout)?)?)
            }
            _ => CpuStorage::F32(self.forward::<f32>(&numbers(x, x_layout)?, &numbers(theta, theta_layout)?)?),
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
        let (x_bar, gradient) = match x.dtype() {
            DType::F64 => self.backward::<f64>(x, theta, bar).map_err(wrap)?,
            _ => self.backward::<f32>(x, theta, bar).map_err(wrap)?,
        };
        Ok((Some(x_bar), Some(gradient)))
    }
}

impl Bijection for Discrete {
    fn dim(&self) -> usize {
        self.spec.dim
    }

    fn condition_dim(&self) -> usize {
        self.spec.condition_dim
    }

    fn forward(&self, z: &Tensor, condition: Option<&Tensor>) -> Result<Mapped> {
        self.map(z, condition, Way::Forward)
    }

    fn inverse(&self, x: &Tensor, condition: Option<&Tensor>) -> Result<Mapped> {
        self.map(x, condition, Way::Inverse)
    }
}
