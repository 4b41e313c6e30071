//! Scales and shifts, column by column: Glow's activation norm, NICE's last layer.

use cnflow_kernels::{Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use super::step::{Step, Way, in_use};

/// y = eˢ ∘ x + b.
pub(super) struct Diagonal {
    log_scale: Vec<f64>,
    shift: Option<Vec<f64>>,
}

impl Diagonal {
    /// y = eˢ ∘ x + b.
    pub fn new(log_scale: Vec<f64>, shift: Option<Vec<f64>>) -> Self {
        Self { log_scale, shift }
    }

    /// s.
    pub fn log_scales(&self) -> &[f64] {
        &self.log_scale
    }

    /// after ← the columns at `before`.
    pub fn pass(&self, way: Way, before: &Tile<f64>, after: &mut Tile<f64>, logdet: &mut Tile<f64>, blocks: usize) {
        let total: f64 = self.log_scale.iter().sum();
        for block in 0..blocks {
            for (j, s) in self.log_scale.iter().enumerate() {
                let b = self.shift.as_ref().map_or(0.0, |shift| shift[j]);
                let (x, y) = (before.at(block, j), after.at_mut(block, j));
                if way == Way::Forward {
                    let e = s.exp();
                    (0..LANE_BLOCK).for_each(|l| y[l] = x[l] * e + b);
                } else {
                    let e = (-s).exp();
                    (0..LANE_BLOCK).for_each(|l| y[l] = (x[l] - b) * e);
                }
            }
            let volume = if way == Way::Forward { total } else { -total };
            logdet.at_mut(block, 0).iter_mut().for_each(|sum| *sum += volume);
        }
    }

    /// As [`Layer::back`](super::layer::Layer::back).
    pub fn back<T: Scalar>(&self, step: &Step<'_>, bar: &mut Tile<f64>, g: &mut [T]) {
        let d = self.log_scale.len();
        for (j, s) in self.log_scale.iter().enumerate() {
            let forward = step.way == Way::Forward;
            let (e, b) = (if forward { s.exp() } else { (-s).exp() }, self.shift.as_ref().map_or(0.0, |b| b[j]));
            let (mut s_bar, mut b_bar) = (0.0, 0.0);
            for block in 0..step.blocks {
                let (y, l_bar) = (step.after.at(block, j), step.logdet_bar.at(block, 0));
                let bar = bar.at_mut(block, j);
                for l in 0..in_use(block, step.lanes) {
                    let x_bar = bar[l] * e;
                    if forward {
                        s_bar += bar[l] * (y[l] - b) + l_bar[l];
                        b_bar += bar[l];
                    } else {
                        s_bar -= bar[l] * y[l] + l_bar[l];
                        b_bar -= x_bar;
                    }
                    bar[l] = x_bar;
                }
            }
            g[j] += T::of(s_bar);
            if self.shift.is_some() {
                g[d + j] += T::of(b_bar);
            }
        }
    }
}
