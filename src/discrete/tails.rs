//! Maps of single columns with heavy tails, made of the rows before a training and not learnt.

use cnflow_kernels::Tile;
use cnflow_solvers::lanes::LANE_BLOCK;

use super::step::{Step, Way};
use crate::transform::HeavyTails;

/// A column's own map; none where a column stays as it is.
pub(super) struct Tails {
    columns: Vec<Option<HeavyTails>>,
}

impl Tails {
    /// The maps lead from the data's side to the latent's.
    pub fn new(columns: Vec<Option<HeavyTails>>) -> Self {
        Self { columns }
    }

    /// after ← the rows at `before`.
    pub fn pass(&self, way: Way, before: &Tile<f64>, after: &mut Tile<f64>, logdet: &mut Tile<f64>, blocks: usize) {
        for block in 0..blocks {
            for (j, map) in self.columns.iter().enumerate() {
                let (from, to) = (before.at(block, j), after.at_mut(block, j));
                let Some(map) = map else {
                    *to = *from;
                    continue;
                };
                let sums = logdet.at_mut(block, 0);
                for l in 0..LANE_BLOCK {
                    let (value, log_slope) = match way {
                        Way::Forward => map.decode(from[l]),
                        Way::Inverse => {
                            let (y, log_slope, _) = map.encode(from[l]);
                            (y, log_slope)
                        }
                    };
                    to[l] = value;
                    sums[l] += log_slope;
                }
            }
        }
    }

    /// As [`Layer::back`](super::layer::Layer::back).
    pub fn back(&self, step: &Step<'_>, bar: &mut Tile<f64>) {
        let data = if step.way == Way::Forward { step.after } else { step.before };
        for block in 0..step.blocks {
            let l_bar = step.logdet_bar.at(block, 0);
            let maps = self.columns.iter().enumerate().filter_map(|(j, map)| Some((j, map.as_ref()?)));
            for (j, map) in maps {
                let (x, bar) = (data.at(block, j), bar.at_mut(block, j));
                for l in 0..LANE_BLOCK {
                    let (_, log_slope, bend) = map.encode(x[l]);
                    bar[l] = match step.way {
                        // ln dx/dy is minus the log-slope at x, whose derivative by y is bend · dx/dy.
                        Way::Forward => (bar[l] - l_bar[l] * bend) * (-log_slope).exp(),
                        Way::Inverse => bar[l] * log_slope.exp() + l_bar[l] * bend,
                    };
                }
            }
        }
    }
}
