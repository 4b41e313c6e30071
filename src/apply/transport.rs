//! Blocks of rows through a model, one way or the other.

use std::sync::Arc;
use std::time::Instant;

use super::{Block, Gaps, RowSource};
use crate::Result;
use crate::continuous::Work;
use crate::model::{BoundModel, Model, Scored, Solved};
use crate::transform::{Cost, PixelTerms};
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
    /// Rows with a missing cell: NaN, and neither computed nor failed.
    pub missing: usize,
    /// Rows with a missing cell whose log p is that of the others; they have no other result.
    pub marginal: usize,
}

impl Arrived {
    /// n.
    pub fn rows(&self) -> usize {
        self.y.len() / self.dim.max(1)
    }

    /// The results of all rows, where these are the results of those without a missing cell.
    pub(super) fn spread(self, gaps: &Gaps, log_density: bool) -> Self {
        Self {
            y: gaps.spread(&self.y, self.dim),
            log_prob: if log_density { gaps.spread(&self.log_prob, 1) } else { Vec::new() },
            cost: gaps.spread_cost(self.cost),
            missing: gaps.missing(),
            ..self
        }
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
    /// Whether rows with a missing cell have the log-density of the others.
    scores_gaps: bool,
    /// The same model with further draws of the noise in whole numbers.
    draws: Vec<BoundModel>,
}

/// Where rows that arrived are counted: a solve counts its own, layers in closed form do not.
#[derive(Clone, Debug)]
pub(super) struct Counter(pub(super) Option<Arc<Work>>);

impl Counter {
    /// The counter of what a model does not count itself, and the model as it counts the rest.
    pub(super) fn of(model: BoundModel, done: &Arc<Work>) -> Result<(Self, BoundModel)> {
        match model.spec().architecture.closed_layers() {
            Some(_) => Ok((Self(Some(done.clone())), model)),
            None => Ok((Self(None), model.with_progress(done.clone())?)),
        }
    }

    pub(super) fn add(&self, rows: usize) {
        if let Some(done) = &self.0 {
            done.add(rows);
        }
    }
}

impl Transport {
    /// Of a model that computes in `precision`; `done` is told how far the rows are.
    ///
    /// # Errors
    /// As [`Model::bind`] and [`BoundModel::until`].
    pub fn new(model: &Model, precision: Precision, way: Way, done: &Arc<Work>) -> Result<Self> {
        let scores_gaps = model.scores_gaps() && way.log_density && !way.to_data;
        let (counter, model) = Counter::of(model.bind(precision)?.until(way.until)?, done)?;
        Ok(Self { model, way, counter, scores_gaps, draws: Vec::new() })
    }

    /// With `draws` draws of the noise in whole numbers for each log-density, instead of one: log (1/N) Σₙ
    /// p(k + uₙ)/q(uₙ), a tighter bound of log P(k) at N times the cost. Models of other rows stay as they are.
    ///
    /// # Errors
    /// As [`BoundModel::with_draw`].
    pub fn with_draws(self, draws: u64) -> Result<Self> {
        let further = if self.model.spec().dequantises() { 1..draws.max(1) } else { 0..0 };
        let draws = further.map(|draw| self.model.with_draw(draw)).collect::<Result<Vec<_>>>()?;
        Ok(Self { draws, ..self })
    }

    /// What the pixels' map and their noise add to the log-probabilities of a block of images, as means over the draws;
    /// none where rows are not images.
    ///
    /// # Errors
    /// As [`BoundModel::pixel_terms`].
    pub fn pixel_terms(&self, block: &Block) -> Result<Option<PixelTerms>> {
        let Some(mut all) = self.model.pixel_terms(&block.x)? else { return Ok(None) };
        let n = 1.0 + self.draws.len() as f64;
        for model in &self.draws {
            let more = model.pixel_terms(&block.x)?.unwrap_or_default();
            all.slope.iter_mut().zip(more.slope).for_each(|(sum, more)| *sum += more);
            all.noise.iter_mut().zip(more.noise).for_each(|(sum, more)| *sum += more);
        }
        all.slope.iter_mut().chain(&mut all.noise).for_each(|sum| *sum /= n);
        Ok(Some(all))
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.model.dim()
    }

    /// The same model, the other way.
    pub fn back(&self) -> Self {
        Self { way: Way { to_data: !self.way.to_data, ..self.way }, ..self.clone() }
    }

    /// Transports a block to the other side. Rows that fail are NaN and listed in the cost; rows with a missing cell are
    /// NaN and counted.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`].
    pub fn block(&self, block: &Block) -> Result<Arrived> {
        self.block_from(block, &block.x)
    }

    /// As [`Transport::block`], of other points `x` (`[n, d]`) in the rows of the block.
    ///
    /// # Errors
    /// As [`Transport::block`].
    pub fn block_from(&self, block: &Block, x: &[f64]) -> Result<Arrived> {
        let Some(gaps) = &block.gaps else { return self.rows(x, &block.condition) };
        let arrived = match gaps.kept() {
            [] => Arrived { dim: self.model.dim(), ..Arrived::default() },
            _ => self.rows(&gaps.pick(x), &gaps.pick(&block.condition))?,
        };
        let arrived = arrived.spread(gaps, self.way.log_density);
        if self.scores_gaps { self.with_marginals(arrived, gaps, x) } else { Ok(arrived) }
    }

    /// With the log-density of the present cells in the rows that lack others; one without any stays missing.
    fn with_marginals(&self, mut arrived: Arrived, gaps: &Gaps, x: &[f64]) -> Result<Arrived> {
        let d = self.model.dim();
        let mut rows = gaps.lacking();
        rows.retain(|row| x[row * d..][..d].iter().any(|v| !v.is_nan()));
        let cells: Vec<f64> = rows.iter().flat_map(|row| &x[row * d..][..d]).copied().collect();
        let scored = self.model.log_prob_present(&cells)?;
        rows.iter().zip(scored.log_prob).for_each(|(row, log)| arrived.log_prob[*row] = log);
        let outside = scored.cost.outside.into_iter().map(|at| rows[at]).collect();
        arrived.cost.merge(Cost { outside, ..Cost::default() });
        self.counter.add(rows.len());
        (arrived.missing, arrived.marginal) = (arrived.missing - rows.len(), rows.len());
        Ok(arrived)
    }

    /// Transports the rows of `x` (`[n, d]`) under `condition` (`[n, c]`), as [`Transport::block`].
    ///
    /// # Errors
    /// As [`Transport::block`].
    pub fn rows(&self, x: &[f64], condition: &[f64]) -> Result<Arrived> {
        let (dim, start, mut solves) = (self.model.dim(), Instant::now(), 1);
        let (y, log_prob, cost) = if self.way.log_density {
            let solved = match self.way.to_data {
                true => self.model.decode(x, condition)?,
                false => {
                    solves += self.draws.len();
                    self.over_draws(self.model.encode(x, condition)?, x, condition)?
                }
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
        self.counter.add(solves * (x.len() / dim));
        Ok(Arrived { dim, y, log_prob, cost, seconds, ..Arrived::default() })
    }

    /// The log-densities over all draws of the noise, of which `first` is one.
    fn over_draws(&self, first: Solved, x: &[f64], condition: &[f64]) -> Result<Solved> {
        if self.draws.is_empty() {
            return Ok(first);
        }
        let Solved { dim, y, log_prob, cost } = first;
        let further = self.draws.iter().map(|model| model.log_prob(x, condition)).collect::<Result<Vec<_>>>()?;
        let Scored { log_prob, cost } = Scored { log_prob, cost }.over_draws(further);
        Ok(Solved { dim, y, log_prob, cost })
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
            all.missing += arrived.missing;
            all.marginal += arrived.marginal;
        }
        Ok(all)
    }
}
