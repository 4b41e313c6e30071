//! The report of `cnf trajectory`.

use anyhow::Result;
use cnflow::words;
use serde_json::json;

use super::{Found, Job, TrajectoryArgs, layer};
use crate::cli::{Context, statistics};

impl Job {
    /// Writes the report: `bytes` is the size of the film, `seconds` the time of the whole command.
    pub(super) fn report(
        &self,
        args: &TrajectoryArgs,
        found: &Found,
        bytes: Option<usize>,
        seconds: f64,
        context: &Context,
    ) -> Result<()> {
        let (n, cost, d) = (self.n(), &found.cost, self.setup.model.dim());
        let nfe_max = cost.nfe.iter().copied().max().unwrap_or(0);
        let moments: Option<Vec<f64>> = self.still.as_ref().map(|(times, at)| at.iter().map(|k| times[*k]).collect());
        let layers: Option<Vec<usize>> = moments.iter().flatten().map(|t| layer(&self.setup.model, *t)).collect();
        let facts = json!({
            "n": n,
            "of": self.of,
            "dim": d,
            "columns": self.columns,
            "densities": d <= 2 && self.setup.model.spec.is_dense(),
            "times": moments,
            "layers": layers.filter(|_| moments.is_some()),
            "n_layers": self.layers,
            "frames": self.film.as_ref().map(Vec::len),
            "gif_bytes": bytes,
            "nfe_mean": cost.nfe_mean(),
            "nfe_max": nfe_max,
            "failed": cost.failures.len(),
            "seconds": seconds,
            "condition_outside": self.out_of_range.facts(),
            "model": self.setup.path,
            "output": args.output,
            "gif": args.gif,
        });
        let some = if n < self.of { format!(" of {} rows, evenly taken,", self.of) } else { String::new() };
        let mut words = format!("{}{some} in {}\n", words::count(n as u64, "particle"), words::duration(seconds));
        words += &match self.layers {
            Some(layers) => format!("layers: {layers}\n"),
            None => format!("NFE a particle: {:.1}, at most {nfe_max}\n", cost.nfe_mean()),
        };
        if !cost.failures.is_empty() {
            let of = words::count(n as u64, "particle");
            words += &format!("failed: {} of {of}; their paths end where they failed\n", cost.failures.len());
        }
        words += &statistics::out_of_range(&self.out_of_range, context);
        words += &files(args, bytes);
        context.report(&words, &facts)
    }
}

/// The files that were written, a line each; `bytes` is the size of the film.
pub(super) fn files(args: &TrajectoryArgs, bytes: Option<usize>) -> String {
    let mut words = String::new();
    if let Some(path) = &args.output {
        words += &format!("wrote {}\n", path.display());
    }
    if let (Some(path), Some(bytes)) = (&args.gif, bytes) {
        words += &format!("wrote {} ({} frames, {:.1} MB)\n", path.display(), args.frames, bytes as f64 / 1e6);
    }
    words
}
