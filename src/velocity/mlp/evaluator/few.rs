//! Value and divergence of few lanes, one after the other, with vectors across the units of the net.
//!
//! Every number is computed by the same operations in the same order as in a tile: the bits of a row are the same alone
//! and in any batch.

use cnflow_kernels::columns::{ColumnFactor, Columns, Pass, TOGETHER, dot, product};
use cnflow_kernels::{Lone, Scalar, Start};
use cnflow_solvers::lanes::LANE_BLOCK;
use cnflow_solvers::{At, Lanes, LanesMut};

use super::{Mlp, MlpEvaluator};
use crate::velocity::closed_form::ClosedForm;

/// So many lanes cost less one by one than in a block of 16.
const FEW: usize = 4;

/// The scratch of one lane.
pub(super) struct Few<T> {
    /// Absent for a net that is not one of matrices.
    lone: Option<Lone<T>>,
    /// M σ′(a₁) of a trace in closed form.
    wide: Columns<T>,
}

impl<T: Scalar> Few<T> {
    pub(super) fn new(mlp: &Mlp<T>) -> Self {
        Self { lone: mlp.net.lone(), wide: Columns::new(mlp.spec.hidden.get(1).copied().unwrap_or(0), 1) }
    }

    /// How many of the last of so many lanes are computed one by one.
    pub(super) fn of(&self, lanes: usize) -> usize {
        let rest = lanes % LANE_BLOCK;
        if self.lone.is_some() && rest <= FEW { rest } else { 0 }
    }
}

fn put<T: Scalar>(column: &[T], lane: usize, y: &mut LanesMut<'_, T>) {
    column.iter().enumerate().for_each(|(i, number)| y.row_mut(i)[lane] = *number);
}

impl<T: Scalar> MlpEvaluator<'_, T> {
    /// Lane `lane` of `v` ← m(x, t).
    pub(super) fn value_of(&mut self, lane: usize, at: At<'_>, x: Lanes<'_, T>, v: &mut LanesMut<'_, T>) {
        let Self { mlp, batch, few: Few { lone: Some(lone), .. }, .. } = self else { return };
        load(mlp, batch.condition, lane, at, x, lone);
        mlp.net.run_lone(lone, false);
        put(lone.output(), lane, v);
    }

    /// Lane `lane` of `v` and of `div` ← m(x, t) and its divergence. The probes must be those of the lanes.
    pub(super) fn value_and_divergence_of(
        &mut self,
        lane: usize,
        at: At<'_>,
        x: Lanes<'_, T>,
        v: &mut LanesMut<'_, T>,
        div: &mut LanesMut<'_, T>,
    ) {
        let Self { mlp, batch, few: Few { lone: Some(lone), wide }, probes, .. } = self else { return };
        let (net, isa, dim) = (&mlp.net, mlp.net.isa(), mlp.spec.dim);
        load(mlp, batch.condition, lane, at, x, lone);
        if let Some(probes) = probes {
            net.run_lone(lone, true);
            put(lone.output(), lane, v);
            for (chunk, probes) in probes.e.chunks(TOGETHER).enumerate() {
                for (k, e) in probes.iter().enumerate() {
                    let numbers = (0..dim).map(|i| e.at(lane / LANE_BLOCK, i)[lane % LANE_BLOCK]);
                    lone.direction_mut(k).iter_mut().zip(numbers).for_each(|(slot, number)| *slot = number);
                }
                net.tangents_lone(lone, Start::Directions(probes.len()));
                for k in 0..probes.len() {
                    div.row_mut(chunk * TOGETHER + k)[lane] = dot(isa, lone.direction(k), lone.end(k));
                }
            }
            return;
        }
        let trace = match &mlp.closed {
            Some(ClosedForm::One { m }) => {
                net.run_lone(lone, true);
                dot(isa, m, lone.first(0).column(0))
            }
            Some(ClosedForm::Two { forward, .. }) => {
                net.run_lone(lone, true);
                let factor = ColumnFactor { matrix: forward, bias: &[], active: lone.first(0).rows() };
                product(isa, factor, lone.first(0), wide, Pass { value: false, tangents: 1 });
                dot(isa, lone.first(1).column(0), wide.column(0))
            }
            None if net.n_ops() == 1 => {
                net.run_lone(lone, true);
                (0..dim).map(|i| mlp.last_row(i)[i]).sum()
            }
            None => {
                // Two tangents go with the value.
                let (images, width) = (&mlp.columns, mlp.columns.len() / dim);
                let (with, others) = images.split_at(width * dim.min(TOGETHER - 1));
                net.run_lone_with(lone, with);
                put(lone.output(), lane, v);
                let mut trace = dot(isa, mlp.last_row(0), lone.top(1));
                for k in 1..with.len() / width {
                    trace += dot(isa, mlp.last_row(k), lone.top(1 + k));
                }
                for (chunk, images) in others.chunks(width * TOGETHER).enumerate() {
                    net.tangents_lone(lone, Start::Images(images));
                    for k in 0..images.len() / width {
                        let row = TOGETHER - 1 + chunk * TOGETHER + k;
                        trace += dot(isa, mlp.last_row(row), lone.top(k));
                    }
                }
                div.row_mut(0)[lane] = trace;
                return;
            }
        };
        put(lone.output(), lane, v);
        div.row_mut(0)[lane] = trace;
    }
}

/// Puts x, the condition and the time of a lane into the net's input.
fn load<T: Scalar>(mlp: &Mlp<T>, condition: &[T], lane: usize, at: At<'_>, x: Lanes<'_, T>, lone: &mut Lone<T>) {
    let spec = &mlp.spec;
    let (of_x, rest) = lone.input_mut().split_at_mut(spec.dim);
    let (of_condition, of_time) = rest.split_at_mut(spec.condition_dim);
    of_x.iter_mut().enumerate().for_each(|(i, slot)| *slot = x.row(i)[lane]);
    let from = at.sample[lane] * spec.condition_dim;
    of_condition.copy_from_slice(&condition[from..from + spec.condition_dim]);
    of_time.iter_mut().enumerate().for_each(|(i, slot)| *slot = T::of(spec.time.feature(i, at.t[lane])));
}
