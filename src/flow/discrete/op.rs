//! A discrete flow as a node of candle's graph: a pass, and a loss that comes with its gradient.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Shape, Tensor, WithDType};
use cnf_solvers::gradient::{chunks, tree_sum};
use cnf_solvers::lanes::LANE_BLOCK;
use rayon::prelude::*;

use super::layer::Way;
use super::net::{Net, Rows, Slopes};
use super::{Discrete, LEARNT};
use crate::flow::{Cost, check_failures};
use crate::velocity::Scalar;
use crate::{Error, Result};

/// Adds chunks' slopes along a fixed tree.
fn total<T: Scalar>(net: &Net<T>, parts: Vec<Slopes<T>>) -> Slopes<T> {
    if parts.is_empty() {
        return net.slopes();
    }
    let (own, matrices): (Vec<_>, Vec<_>) = parts.into_iter().map(|s| (s.own, s.matrices)).unzip();
    Slopes { own: tree_sum(own), matrices: tree_sum(matrices) }
}

/// The negative log-likelihood of a batch and its gradient.
pub(super) struct Nll<'a> {
    pub flow: &'a Discrete,
    pub x: &'a [f64],
    pub condition: &'a [f64],
}

impl Nll<'_> {
    /// The loss and its gradient, out of one pass.
    pub fn run<T: Scalar + WithDType>(&self, theta: &[T]) -> Result<(f64, Tensor)> {
        let spec = &self.flow.spec;
        let (d, c, n) = (spec.dim, spec.condition_dim, self.x.len() / spec.dim);
        let net = Net::new(spec, theta, self.flow.layers)?;
        let weight = 1.0 / n as f64;
        let ranges: Vec<_> = chunks(n, LEARNT).collect();
        let parts: Vec<(f64, Option<usize>, Slopes<T>)> = ranges
            .into_par_iter()
            .map_init(
                || net.scratch(LEARNT, true),
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
        if let Some(row) = parts.iter().find_map(|(_, bad, _)| *bad) {
            let rows = Rows { x: &self.x[row * d..(row + 1) * d], condition: &self.condition[row * c..(row + 1) * c] };
            let failures = vec![(row, net.broken_at(Way::Inverse, rows, &mut net.scratch(LANE_BLOCK, true)))];
            check_failures(&Cost { failures, ..Cost::default() }, n)?;
        }
        let sum: f64 = parts.iter().map(|(sum, ..)| sum).sum();
        let gradient = net.fold(Way::Inverse, &total(&net, parts.into_iter().map(|(.., slopes)| slopes).collect()));
        let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
        Ok((sum * weight + constant, Tensor::from_vec(gradient, theta.len(), &Device::Cpu)?))
    }
}

/// A loss that is known already, with its gradient.
pub(super) struct Told {
    pub loss: f64,
    pub gradient: Tensor,
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

/// (x, θ) → `[n, d + 1]`: points and log-determinants, which are known already. The backward pass runs the layers again,
/// with slopes.
pub(super) struct PassOp {
    pub flow: Discrete,
    pub condition: Vec<f64>,
    pub way: Way,
    /// What came out, `[n, d]` and `[n]`.
    pub y: Vec<f64>,
    pub logdet: Vec<f64>,
}

fn wrap(error: Error) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}

fn widened<T: Scalar>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.wide()).collect()
}

impl PassOp {
    fn rows<T: Scalar>(&self) -> Vec<T> {
        let row = |(y, l): (&[f64], &f64)| y.iter().chain([l]).map(|x| T::of(*x)).collect::<Vec<_>>();
        self.y.chunks_exact(self.flow.spec.dim).zip(&self.logdet).flat_map(row).collect()
    }

    fn backward<T: Scalar + WithDType>(&self, x: &Tensor, theta: &Tensor, bar: &Tensor) -> Result<(Tensor, Tensor)> {
        let spec = &self.flow.spec;
        let (d, c) = (spec.dim, spec.condition_dim);
        let theta_values = theta.to_vec1::<T>()?;
        let net = Net::new(spec, &theta_values, self.flow.layers)?;
        let points = widened(&x.flatten_all()?.to_vec1::<T>()?);
        let bar = widened(&bar.flatten_all()?.to_vec1::<T>()?);
        let n = points.len() / d;
        let ranges: Vec<_> = chunks(n, LEARNT).collect();
        let parts: Vec<(Vec<f64>, Slopes<T>)> = ranges
            .into_par_iter()
            .map_init(
                || net.scratch(LEARNT, true),
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
        let gradient = net.fold(self.way, &total(&net, slopes));
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
        _x_layout: &Layout,
        _theta: &CpuStorage,
        _theta_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = match x {
            CpuStorage::F64(_) => CpuStorage::F64(self.rows()),
            _ => CpuStorage::F32(self.rows()),
        };
        Ok((out, Shape::from((self.logdet.len(), self.flow.spec.dim + 1))))
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
