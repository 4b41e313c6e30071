//! Rows with missing cells under a mixture: the exact log-density of the cells that they have.
//!
//! Every layer between a mixture and the data maps column by column, so that the model of some columns is the mixture's
//! marginal behind the layers of these columns: another model, with everything that a model can do.

use rayon::prelude::*;

use super::density::Scored;
use super::{Architecture, BoundModel, FlowSpec, Model, Moments};
use crate::transform::Cost;
use crate::transform::mixture::marginal::{Pattern, patterns};
use crate::{Error, Result};

impl FlowSpec {
    /// Whether the density of some columns alone is exact: that of a Gaussian, or a mixture of them, on its own.
    pub fn has_marginals(&self) -> bool {
        let alone = matches!(self.architecture, Architecture::Identity { .. }) && self.base.is_some();
        alone && self.base_flow.is_none() && self.is_dense() && self.pixels.is_none() && self.condition_dim() == 0
    }

    /// The model of these columns alone, in this order; it has no parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a model without exact marginals, and as [`Mixture::marginal`](crate::transform::Mixture::marginal).
    pub fn marginal(&self, kept: &[usize]) -> Result<Self> {
        let Some(base) = self.base.as_ref().filter(|_| self.has_marginals()) else {
            let problem = format!("a {} has no exact density of some of its columns", self.architecture.name());
            return Err(Error::invalid(problem, "give rows with all their cells, or train a gaussian or a mixture"));
        };
        let base = Some(base.marginal(kept)?);
        let of = |values: &[f64]| kept.iter().map(|j| values[*j]).collect::<Vec<f64>>();
        let standardise =
            self.standardise.as_ref().map(|moments| Moments { mean: of(&moments.mean), std: of(&moments.std) });
        let columns = self.columns.as_ref().map(|columns| kept.iter().map(|j| columns[*j].clone()).collect());
        let names = kept.iter().filter_map(|j| self.names.get(*j).cloned()).collect();
        let architecture = Architecture::Identity { dim: kept.len() };
        Ok(Self { architecture, base, standardise, columns, names, ..self.clone() })
    }
}

impl Model {
    /// Whether rows with missing cells have a log-density: that of a model which was trained on such rows.
    pub fn scores_gaps(&self) -> bool {
        let trained = || self.provenance.get("job")?.get("data")?.get("missing")?.as_str();
        self.spec.has_marginals() && trained() == Some("marginal")
    }
}

impl BoundModel {
    /// log p of the cells that each row of `x` (`[n, d]`) has, in nats, in the data's units; NaN where it has none. A missing
    /// cell is NaN.
    ///
    /// # Errors
    /// As [`FlowSpec::marginal`] and [`BoundModel::log_prob`].
    pub fn log_prob_present(&self, x: &[f64]) -> Result<Scored> {
        let d = self.dim();
        if !x.len().is_multiple_of(d) {
            return Err(Error::Dimension { what: "the last row".into(), expected: d, found: x.len() % d });
        }
        let scored: Vec<(Pattern, Scored)> = patterns(x, d)
            .into_par_iter()
            .filter(|pattern| !pattern.kept.is_empty())
            .map(|pattern| {
                let cells = pattern.of(x, d);
                let scored = match pattern.kept.len() == d {
                    true => self.log_prob(&cells, &[])?,
                    false => self
                        .spec()
                        .marginal(&pattern.kept)?
                        .bind::<f64>(&[], self.precision())?
                        .log_prob(&cells, &[])?,
                };
                Ok((pattern, scored))
            })
            .collect::<Result<_>>()?;
        let (mut log_prob, mut outside) = (vec![f64::NAN; x.len() / d], Vec::new());
        for (Pattern { rows, .. }, scored) in scored {
            rows.iter().zip(scored.log_prob).for_each(|(row, log)| log_prob[*row] = log);
            outside.extend(scored.cost.outside.into_iter().map(|at| rows[at]));
        }
        outside.sort_unstable();
        Ok(Scored { log_prob, cost: Cost { outside, ..Cost::default() } })
    }
}
