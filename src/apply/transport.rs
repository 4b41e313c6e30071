//! Blocks of rows through a model, one way or the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Block, RowSource};
use crate::Result;
use crate::model::{BoundModel, Model};
use crate::transform::Cost;
use crate::velocity::Precision;

/// The direction, and what is computed.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// From latents to data; else from data to latents.
    pub to_data: bool,
    /// The data lie at this time, 1 but for the distributions on the way.
    pub until: f64,
    /// Whether log p is computed.
    pub log_density: bool,
}

/// Where the rows of a block arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// d.
    pub dim: usize,
    /// `[n, d]`; NaN where a trajectory failed.
    pub y: Vec<f64>,
    /// log p in nats, `[n]`; NaN where a trajectory failed, empty where it is not computed.
    pub log_prob: Vec<f64>,
    /// What it took.
    pub cost: Cost,
    /// Of the solve alone.
    pub seconds: f64,
}

impl Arrived {
    /// n.
    pub fn rows(&self) -> usize {
        self.y.len() / self.dim.max(1)
    }

    /// The rows that arrived, `[m, d]`.
    pub fn finite(&self) -> Vec<f64> {
        let rows = self.y.chunks_exact(self.dim.max(1)).filter(|row| row.iter().all(|v| v.is_finite()));
        rows.flatten().copied().collect()
    }
}

/// A model that transports rows one way, and counts those that arrived.
#[derive(Clone, Debug)]
pub struct Transport {
    model: BoundModel,
    way: Way,
    counter: Counter,
}

/// Where rows that arrived are counted: a solve counts its own, layers in closed form do not.
#[derive(Clone, Debug)]
pub(super) struct Counter(pub(super) Option<Arc<AtomicUsize>>);

impl Counter {
    /// The counter of what a model does not count itself, and the model as it counts the rest.
    pub(super) fn of(model: BoundModel, done: &Arc<AtomicUsize>) -> Result<(Self, BoundModel)> {
        match model.spec().architecture.closed_layers() {
            Some(_) => Ok((Self(Some(done.clone())), model)),
            None => Ok((Self(None), model.with_progress(done.clone())?)),
        }
    }

    pub(super) fn add(&self, rows: usize) {
        if let Some(done) = &self.0 {
            done.fetch_add(rows, Ordering::Relaxed);
        }
    }
}

impl Transport {
    /// Of a model that computes in `precision`; the rows that arrived are counted in `done`.
    ///
    /// # Errors
    /// As [`Model::bind`] and [`BoundModel::until`].
    pub fn new(model: &Model, precision: Precision, way: Way, done: &Arc<AtomicUsize>) -> Result<Self> {
        let (counter, model) = Counter::of(model.bind(precision)?.until(way.until)?, done)?;
        Ok(Self { model, way, counter })
    }

    /// The same model, the other way.
    pub fn back(&self) -> Self {
        Self { way: Way { to_data: !self.way.to_data, ..self.way }, ..self.clone() }
    }

    /// Transports a block to the other side. Rows that fail are NaN and listed in the cost.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn block(&self, block: &Block) -> Result<Arrived> {
        self.rows(&block.x, &block.condition)
    }

    /// Transports the rows of `x` (`[n, d]`) under `condition` (`[n, c]`), as [`Transport::block`].
    ///
    /// # Errors
    /// As [`Transport::block`].
    pub fn rows(&self, x: &[f64], condition: &[f64]) -> Result<Arrived> {
        let (dim, start) = (self.model.dim(), Instant::now());
        let (y, log_prob, cost) = if self.way.log_density {
            let solved = match self.way.to_data {
                true => self.model.decode(x, condition)?,
                false => self.model.encode(x, condition)?,
            };
            (solved.y, solved.log_prob, solved.cost)
        } else {
            let points = match self.way.to_data {
                true => self.model.points(x, condition)?,
                false => self.model.latents(x, condition)?,
            };
            (points.y, Vec::new(), points.cost)
        };
        let seconds = start.elapsed().as_secs_f64();
        self.counter.add(x.len() / dim);
        Ok(Arrived { dim, y, log_prob, cost, seconds })
    }

    /// Transports all rows of a source, in memory.
    ///
    /// # Errors
    /// As [`RowSource::next_block`] and [`Transport::block`].
    pub fn all(&self, source: &mut RowSource) -> Result<Arrived> {
        let mut all = Arrived { dim: self.model.dim(), ..Arrived::default() };
        while let Some(block) = source.next_block()? {
            let arrived = self.block(&block)?;
            all.y.extend(arrived.y);
            all.log_prob.extend(arrived.log_prob);
            all.cost.append(block.first as usize, arrived.cost);
            all.seconds += arrived.seconds;
        }
        Ok(all)
    }
}
