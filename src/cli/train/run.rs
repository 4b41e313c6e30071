//! What the pictures of a run are drawn from, and the latents and conditions of its samples.

use cnflow::model::Model;
use cnflow::rng;
use cnflow::rows::{Dataset, Rows};
use cnflow::train::Job;
use cnflow::transform::StandardNormal;

use super::curves::Curves;
use crate::cli::Context;

/// The stream of the samples' latents.
const SAMPLE_STREAM: u64 = 0x91c7_0001;

/// What the pictures are drawn from.
pub struct Run<'a> {
    pub job: &'a Job,
    /// With its provenance.
    pub model: &'a Model,
    pub data: &'a Dataset,
    /// The rows that were scored.
    pub held_out: &'a Rows,
    pub curves: &'a Curves,
    /// For words about what is not shown.
    pub context: &'a Context,
}

impl Run<'_> {
    /// The latents of `n` samples, `[n, d]`.
    pub fn latents(&self, n: usize) -> Vec<f64> {
        StandardNormal::new(self.model.dim()).draw(n, &mut rng::stream(self.job.seed, SAMPLE_STREAM))
    }

    /// Conditions of `n` samples, `[n, c]`: those of held-out rows, so that all samples look like all data.
    pub fn conditions(&self, n: usize) -> Vec<f64> {
        let (given, c) = (&self.held_out.context, self.model.condition_dim());
        let rows = given.len().checked_div(c).unwrap_or(0);
        if rows == 0 {
            return Vec::new();
        }
        (0..n).flat_map(|i| &given[i % rows * c..][..c]).copied().collect()
    }
}
