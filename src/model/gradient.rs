//! The gradient of log p with respect to the data and to the condition.
//!
//! With u the data behind the preprocessing and y the architecture's side of the base, log p(x) = log p₀(y) + ln|det
//! ∂y/∂u| + ln|det ∂u/∂x|. The score of the base is pulled back through the architecture, by the tapes of a solve or by
//! the layers run again, and then through the standardisation and the columns, whose derivatives are closed forms:
//!
//! - the layers of a base flow, by running them again;
//! - x ↦ (x − m)/s: ū/s;
//! - a positive column, u = ln x: (ū − 1)/x;
//! - an angle or a unit, u = Φ⁻¹(…x…): (ū + u) du/dx;
//! - a table, z = Φ⁻¹(F(x)): (z̄ + z) p(x)/φ(z), and in a tail ±1/scale; within a bin p is constant. At the edges of
//!   bins log p has no derivative, and this is that of the bin which the edge is part of;
//! - a simplex, y = H ln x: Hᵀȳ/x_i − 1/x_i + k/Σx, that of the function of all k parts which closes rows first;
//! - an image: the derivative by v = k + u, whole levels with their noise, through the map of the levels.
//!
//! The derivative by the condition is that of the architecture and of a base flow, whose nets are given c ↦ (c − m)/s: c̄/s. A class is no
//! number: log p has no derivative by it.
//!
//! The map from the standard normal to a mixture is not differentiated: ∂ log p₀/∂y is the mixture's score.

use crate::Result;
use crate::continuous::Method;
use crate::continuous::taped::{CHUNK, EndBar, no_gradient, transport_taped};
use crate::continuous::{BoundVelocity, Continuous, End, narrowed, widened};
use crate::error::Failure;
use crate::model::{Architecture, BoundArchitecture, BoundModel, Scored};
use crate::transform::bijection::check_rows;
use crate::transform::{Bijection, ClassTable, Mapped, Simplexes};
use crate::velocity::{Penalties, Scalar, Velocity, check_device};

/// Rows whose tapes are held at a time: a row's gradient does not depend on it.
const BLOCK: usize = 16 * CHUNK;

/// Log-densities and their gradients.
#[derive(Clone, Debug, Default)]
pub struct ScoredGradient {
    /// log p and its cost, as by [`BoundModel::log_prob`].
    pub scored: Scored,
    /// ∂ log p/∂x in nats per unit of the data, `[n, d]`; NaN in a row that failed or lies outside the support.
    pub gradient: Vec<f64>,
    /// ∂ log p/∂c in nats per unit of the condition, `[n, c]`; NaN in those rows, and in the columns of classes, by which
    /// there is no derivative.
    pub condition_gradient: Vec<f64>,
}

impl ScoredGradient {
    /// log p and its gradient `[d]` of a row; or why there is none.
    ///
    /// # Errors
    /// The row's [`Failure`].
    pub fn row(&self, row: usize) -> std::result::Result<(f64, &[f64]), Failure> {
        let log_prob = self.scored.row(row)?;
        let d = self.gradient.len() / self.scored.log_prob.len();
        let gradient = &self.gradient[row * d..(row + 1) * d];
        match gradient.iter().all(|g| g.is_finite()) {
            true => Ok((log_prob, gradient)),
            false => Err(self.scored.cost.failure(row).unwrap_or(Failure::Overflow)),
        }
    }
}

impl BoundModel {
    /// log p of the rows of `x` (`[n, d]`) under `condition` (`[n, c]`, or empty), and its gradients by `x` and by the
    /// condition.
    ///
    /// log p is that of [`BoundModel::log_prob`]. The gradient of a continuous flow is that of a solve on the same
    /// steps whose log-determinant is not refined; Hutchinson's probes count as constants. It costs a second solve and
    /// its pull-back.
    ///
    /// # Errors
    /// As [`BoundModel::log_prob`]; [`crate::Error::Invalid`] for an implicit method.
    pub fn log_prob_and_grad(&self, x: &[f64], condition: &[f64]) -> Result<ScoredGradient> {
        let (spec, d) = (self.spec(), self.dim());
        check_rows(x, d, condition, self.condition_dim())?;
        if let Some(table) = &spec.classes {
            return self.gradient_under_classes(table, x);
        }
        if let Some(parts) = self.parts() {
            return self.gradient_of_parts(parts, x, condition);
        }
        if spec.architecture.as_velocity().is_some() && matches!(spec.solver.method()?, Method::Implicit(_)) {
            return Err(no_gradient(&spec.solver.method));
        }
        let scored = self.log_prob(x, condition)?;
        let encoded = &spec.encoded(condition)?;
        let (columns, standardise) = (self.columns(), self.standardise());
        let pixels = match self.pixels() {
            Some(layers) => Some((layers.levels(), layers.dequantised(x.to_vec())?)),
            None => None,
        };
        let mut inside = Mapped::points(pixels.as_ref().map_or(x, |(_, v)| v).to_vec());
        if let Some((levels, _)) = &pixels {
            levels.inverse(&mut inside, &[])?;
        }
        if let Some(whole) = self.whole_numbers() {
            whole.inverse(&mut inside, &[])?;
        }
        // With the noise of whole numbers, which is a constant.
        let real = if columns.is_some() { inside.y.clone() } else { Vec::new() };
        if let Some(columns) = columns {
            columns.inverse(&mut inside, &[])?;
        }
        if let Some(standardise) = standardise {
            standardise.inverse(&mut inside, &[])?;
        }
        let base_flow = self.base_flow();
        let mut latent = inside.y.clone();
        if let Some(flow) = base_flow {
            let mut rows = Mapped::points(latent);
            flow.inverse(&mut rows, encoded)?;
            latent = rows.y;
        }
        let (mut gradient, mut by_encoded) = self.pull_back_architecture(&latent, encoded)?;
        if let Some(flow) = base_flow {
            let ones = vec![1.0; latent.len() / d];
            let (by_rows, by_conditions) = flow.pull_back_to_rows(End::Data, &inside.y, encoded, (&gradient, &ones))?;
            gradient = by_rows;
            by_encoded.iter_mut().zip(by_conditions).for_each(|(sum, more)| *sum += more);
        }
        let mut condition_gradient = match &spec.condition {
            Some(condition) => condition.pull_back(&by_encoded),
            None => by_encoded,
        };
        if let Some(standardise) = standardise {
            for row in gradient.chunks_exact_mut(d) {
                row.iter_mut().zip(standardise.std()).for_each(|(g, s)| *g /= s);
            }
        }
        if let Some(columns) = columns {
            for (row, x) in gradient.chunks_exact_mut(d).zip(real.chunks_exact(d)) {
                let parts = row.iter_mut().zip(x).zip(columns.columns());
                parts.for_each(|((g, x), column)| *g = column.pull_back(*x, *g));
            }
        }
        if let Some((levels, v)) = &pixels {
            gradient.iter_mut().zip(v).for_each(|(g, v)| *g = levels.map().pull_back(*v, *g));
        }
        let c = self.condition_dim();
        for (i, _) in scored.log_prob.iter().enumerate().filter(|(_, log_prob)| !log_prob.is_finite()) {
            gradient[i * d..(i + 1) * d].fill(f64::NAN);
            condition_gradient[i * c..(i + 1) * c].fill(f64::NAN);
        }
        Ok(ScoredGradient { scored, gradient, condition_gradient })
    }

    /// As [`BoundModel::log_prob_and_grad`] of a model with columns of classes, by which there is no derivative: NaN.
    fn gradient_under_classes(&self, table: &ClassTable, x: &[f64]) -> Result<ScoredGradient> {
        let (d, scored) = (self.dim(), self.log_prob(x, &[])?);
        let (others, mut classes) = table.cut(x, d);
        // Rows without a class are outside, and have no gradient.
        let m = table.places.len();
        let known: Vec<f64> = table.cells[0].classes.iter().map(|class| *class as f64).collect();
        for row in classes.chunks_exact_mut(m).filter(|row| !table.log_prob(row).is_finite()) {
            row.copy_from_slice(&known);
        }
        let inner = self.under_classes()?.log_prob_and_grad(&others, &classes)?;
        let mut own = inner.gradient.into_iter();
        let mut gradient = vec![f64::NAN; x.len()];
        for (i, row) in gradient.chunks_exact_mut(d).enumerate() {
            for (j, slot) in row.iter_mut().enumerate().filter(|(j, _)| table.places.binary_search(j).is_err()) {
                let value = own.next().unwrap_or(f64::NAN);
                let _ = j;
                *slot = if scored.log_prob[i].is_finite() { value } else { f64::NAN };
            }
        }
        Ok(ScoredGradient { scored, gradient, condition_gradient: Vec::new() })
    }

    /// As [`BoundModel::log_prob_and_grad`] of a model with simplexes.
    fn gradient_of_parts(&self, parts: &Simplexes, x: &[f64], condition: &[f64]) -> Result<ScoredGradient> {
        let (d, scored) = (self.dim(), self.log_prob(x, condition)?);
        let (ratios, _) = parts.inward(x);
        let inner = self.of_log_ratios()?.log_prob_and_grad(&ratios, condition)?;
        let mut gradient = parts.pull_back(x, &inner.gradient);
        for (row, log_prob) in gradient.chunks_exact_mut(d).zip(&scored.log_prob) {
            if !log_prob.is_finite() {
                row.fill(f64::NAN);
            }
        }
        Ok(ScoredGradient { scored, gradient, condition_gradient: inner.condition_gradient })
    }

    /// ∂/∂u of log p₀(y) + ln|det ∂y/∂u| at the rows `u` of the architecture's data side, and that by their conditions as
    /// the nets are given them.
    fn pull_back_architecture(&self, u: &[f64], condition: &[f64]) -> Result<(Vec<f64>, Vec<f64>)> {
        let (base, d) = (self.base(), self.dim());
        match (self.architecture(), &self.spec().architecture) {
            (BoundArchitecture::Continuous(flow), _) => {
                let c = flow.condition_dim();
                let (mut gradient, mut by_condition) = (Vec::with_capacity(u.len()), Vec::new());
                for (i, u) in u.chunks(BLOCK * d).enumerate() {
                    let from = i * BLOCK * c;
                    let condition = &condition[from..from + u.len() / d * c];
                    let (by_rows, by_conditions) = flow.pull_back(u, condition, |y| base.score_rows(y))?;
                    gradient.extend(by_rows);
                    by_condition.extend(by_conditions);
                }
                Ok((gradient, by_condition))
            }
            (BoundArchitecture::Discrete(flow), _) => {
                let mut rows = Mapped::points(u.to_vec());
                flow.inverse(&mut rows, condition)?;
                let ones = vec![1.0; u.len() / d];
                flow.pull_back_to_rows(End::Data, u, condition, (&base.score_rows(&rows.y), &ones))
            }
            (BoundArchitecture::Fixed(_), Architecture::Histogram(table)) => {
                let mut rows = Mapped::points(u.to_vec());
                table.inverse(&mut rows, &[])?;
                let mut gradient = base.score_rows(&rows.y);
                gradient.chunks_exact_mut(d).zip(u.chunks_exact(d)).for_each(|(bar, u)| table.pull_back(u, bar));
                Ok((gradient, vec![0.0; condition.len()]))
            }
            (BoundArchitecture::Fixed(_), _) => Ok((base.score_rows(u), vec![0.0; condition.len()])),
        }
    }
}

impl Continuous {
    /// Pulls the derivatives by the latents `y`, which `score` makes of them, and 1 for each log-determinant back to
    /// the rows `u` and their conditions, `[n, d]` and `[n, c]`; NaN in the rows that fail.
    fn pull_back(
        &self,
        u: &[f64],
        condition: &[f64],
        score: impl Fn(&[f64]) -> Vec<f64>,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        match self.velocity() {
            BoundVelocity::F32(velocity) => self.pull_back_by(&**velocity, u, condition, score),
            BoundVelocity::F64(velocity) => self.pull_back_by(&**velocity, u, condition, score),
        }
    }

    fn pull_back_by<T: Scalar>(
        &self,
        velocity: &dyn Velocity<T>,
        u: &[f64],
        condition: &[f64],
        score: impl Fn(&[f64]) -> Vec<f64>,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let (d, c) = (velocity.dim(), velocity.condition_dim());
        let (u, condition) = (narrowed::<T>(u), narrowed::<T>(condition));
        let request = self.request((self.end(), 0.0), true);
        let taped = transport_taped(velocity, &u, &condition, &request, Penalties::NONE)?;
        let y_bar = narrowed::<T>(&score(&widened(&taped.transported.y)));
        let logdet_bar = vec![T::of(1.0); u.len() / d];
        let (u_bar, mut by_condition) =
            taped.pull_back_to_rows(EndBar { y: &y_bar, logdet: &logdet_bar, penalties: &[] });
        check_device(velocity)?;
        let mut gradient = widened(&u_bar);
        for (row, _) in &taped.transported.cost.failures {
            gradient[row * d..(row + 1) * d].fill(f64::NAN);
            by_condition[row * c..(row + 1) * c].fill(f64::NAN);
        }
        Ok((gradient, by_condition))
    }
}
