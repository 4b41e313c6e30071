//! Scales and shifts, one a channel of a plane: Glow's activation norm, NICE's last layer. Of a table a channel is a
//! column.

use cnflow_kernels::{Scalar, Tile};
use cnflow_solvers::lanes::LANE_BLOCK;

use super::plane::Plane;
use super::step::{Step, Way, in_use};

/// y = eˢ ∘ x + b.
pub(super) struct Diagonal {
    plane: Plane,
    log_scale: Vec<f64>,
    shift: Option<Vec<f64>>,
}

impl Diagonal {
    /// y = eˢ ∘ x + b on the channels of a plane.
    pub fn new(plane: Plane, log_scale: Vec<f64>, shift: Option<Vec<f64>>) -> Self {
        Self { plane, log_scale, shift }
    }

    /// s.
    pub fn log_scales(&self) -> &[f64] {
        &self.log_scale
    }

    /// e^±s and b of each channel.
    fn factors(&self, way: Way) -> impl Iterator<Item = (f64, f64)> {
        let shifts = self.shift.iter().flatten().copied().chain(std::iter::repeat(0.0));
        self.log_scale.iter().zip(shifts).map(move |(s, b)| (if way == Way::Forward { s.exp() } else { (-s).exp() }, b))
    }

    /// after ← the rows at `before`.
    pub fn pass(&self, way: Way, before: &Tile<f64>, after: &mut Tile<f64>, logdet: &mut Tile<f64>, blocks: usize) {
        let total = self.log_scale.iter().sum::<f64>() * self.plane.shape.pixels() as f64;
        let factors: Vec<(f64, f64)> = self.factors(way).collect();
        for block in 0..blocks {
            self.plane.rest.iter().for_each(|row| *after.at_mut(block, *row) = *before.at(block, *row));
            for pixel in self.plane.pixels() {
                for (row, (e, b)) in pixel.iter().zip(&factors) {
                    let (x, y) = (before.at(block, *row), after.at_mut(block, *row));
                    if way == Way::Forward {
                        (0..LANE_BLOCK).for_each(|l| y[l] = x[l] * e + b);
                    } else {
                        (0..LANE_BLOCK).for_each(|l| y[l] = (x[l] - b) * e);
                    }
                }
            }
            let volume = if way == Way::Forward { total } else { -total };
            logdet.at_mut(block, 0).iter_mut().for_each(|sum| *sum += volume);
        }
    }

    /// As [`Layer::back`](super::layer::Layer::back).
    ///
    /// Sums run over pixels in each lane, then over lanes, then over blocks.
    pub fn back<T: Scalar>(&self, step: &Step<'_>, bar: &mut Tile<f64>, g: &mut [T]) {
        let channels = self.log_scale.len();
        let forward = step.way == Way::Forward;
        for (j, (e, b)) in self.factors(step.way).enumerate() {
            let (mut s_bar, mut b_bar) = (0.0, 0.0);
            for block in 0..step.blocks {
                let l_bar = step.logdet_bar.at(block, 0);
                let (mut of_s, mut of_b) = ([0.0; LANE_BLOCK], [0.0; LANE_BLOCK]);
                for row in self.plane.rows.iter().skip(j).step_by(channels) {
                    let (y, bar) = (step.after.at(block, *row), bar.at_mut(block, *row));
                    for l in 0..LANE_BLOCK {
                        let x_bar = bar[l] * e;
                        if forward {
                            of_s[l] += bar[l] * (y[l] - b) + l_bar[l];
                            of_b[l] += bar[l];
                        } else {
                            of_s[l] -= bar[l] * y[l] + l_bar[l];
                            of_b[l] -= x_bar;
                        }
                        bar[l] = x_bar;
                    }
                }
                let used = in_use(block, step.lanes);
                s_bar = of_s[..used].iter().fold(s_bar, |sum, s| sum + s);
                b_bar = of_b[..used].iter().fold(b_bar, |sum, b| sum + b);
            }
            g[j] += T::of(s_bar);
            if self.shift.is_some() {
                g[channels + j] += T::of(b_bar);
            }
        }
    }
}
