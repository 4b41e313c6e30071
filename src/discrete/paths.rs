//! A discrete flow layer by layer: the points after each layer, and the log-determinants so far.
//!
//! Each layer is a pass of its own over all rows. Points are f64 between layers, so they are the same bits as within
//! the pass through all of them; log-determinants are summed layer by layer, and so are the same to the round-off of a
//! sum.

use super::net::Net;
use super::{Bound, Discrete, DiscreteSpec, Way, transport};
use crate::Result;
use crate::continuous::{End, Paths};
use crate::error::Failure;
use crate::transform::Cost;
use crate::transform::bijection::check_rows;
use crate::velocity::Scalar;

impl Discrete {
    /// The particles that are at `start` (`[n, d]`) at one end at all stages: stage l, at time l / L, is what the first
    /// l of the L layers make of the latent, so that there is one stage more than layers.
    ///
    /// `condition` is `[n, c]`, or empty. The flow's own coordinates; as much work as one pass.
    ///
    /// # Errors
    /// [`crate::Error::Dimension`] and [`crate::Error::Invalid`] for incomplete rows;
    /// [`crate::Error::Degenerate`] for parameters without a bijection. A row that becomes NaN or infinite is NaN
    /// from there on and listed in the cost.
    pub fn paths(&self, start: &[f64], end: End, condition: &[f64]) -> Result<Paths> {
        check_rows(start, self.spec.dim, condition, self.spec.condition_dim)?;
        match &self.bound {
            Bound::F32(_, theta) => self.by_layer(theta, start, end, condition),
            Bound::F64(_, theta) => self.by_layer(theta, start, end, condition),
        }
    }

    fn by_layer<T: Scalar>(&self, theta: &[T], start: &[f64], end: End, condition: &[f64]) -> Result<Paths> {
        let DiscreteSpec { dim: d, condition_dim: c, .. } = *self.spec;
        let (n, layers) = (start.len() / d, self.layers);
        let lengths = self.spec.lengths();
        let starts: Vec<usize> =
            lengths.iter().scan(0, |at, length| Some(std::mem::replace(at, *at + length))).collect();
        let (way, order): (_, Vec<usize>) = match end {
            End::Latent => (Way::Forward, (0..layers).collect()),
            End::Data => (Way::Inverse, (0..layers).rev().collect()),
        };
        let begun = if end == End::Latent { 0 } else { layers };
        let mut states = vec![0.0; (layers + 1) * n * d];
        states[begun * n * d..(begun + 1) * n * d].copy_from_slice(start);
        // Of layer l from the latent's side to the data's, between stages l and l + 1.
        let mut logdet = vec![0.0; (layers + 1) * n];
        let given = |row: usize| &condition[row * c..(row + 1) * c];
        let sound = |row: usize| start[row * d..(row + 1) * d].iter().chain(given(row)).all(|x| x.is_finite());
        let mut failures: Vec<Option<Failure>> = (0..n).map(|row| (!sound(row)).then_some(Failure::Point)).collect();
        for i in order {
            let layer = vec![self.spec.layers[i].clone()];
            let one = DiscreteSpec { layers: layer, ..self.spec.without_layers() };
            let net = Net::new(&one, &theta[starts[i]..starts[i] + lengths[i]], 1)?;
            let (low, high) = states.split_at_mut((i + 1) * n * d);
            let (before, after) = match way {
                Way::Forward => (&low[i * n * d..], &mut high[..n * d]),
                Way::Inverse => (&high[..n * d], &mut low[i * n * d..]),
            };
            let logdet = &mut logdet[(i + 1) * n..(i + 2) * n];
            transport(&net, way, before, condition, (d, c), after, logdet, None)?;
            for (row, (y, l)) in after.chunks_exact_mut(d).zip(logdet).enumerate() {
                if way == Way::Inverse {
                    *l = -*l;
                }
                if failures[row].is_some() || !(l.is_finite() && y.iter().all(|y| y.is_finite())) {
                    failures[row].get_or_insert(Failure::Layer { layer: i + 1 });
                    y.fill(f64::NAN);
                    *l = f64::NAN;
                }
            }
        }
        for at in n..logdet.len() {
            logdet[at] += logdet[at - n];
        }
        let failures = failures.into_iter().enumerate().filter_map(|(row, failure)| Some((row, failure?))).collect();
        let times = (0..=layers).map(|l| l as f64 / layers.max(1) as f64).collect();
        Ok(Paths { times, states, logdet, cost: Cost { failures, ..Cost::default() } })
    }
}
