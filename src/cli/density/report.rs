//! The report of `cnf density`.

use anyhow::Result;
use cnflow::apply::{BitsPerDim, RowSource};
use cnflow::words;
use serde_json::{Value, json};

use super::grid::edges_of;
use super::{DensityArgs, Job, Seen};
use crate::cli::bars::Barred;
use crate::cli::{Context, statistics};

impl Job {
    /// Writes the report; the picture is named in it where it was `drawn`.
    pub(super) fn report(
        &self,
        args: &DensityArgs,
        seen: &mut Seen,
        drawn: bool,
        rows: &RowSource,
        context: &Context,
    ) -> Result<()> {
        let dominance = seen.log_prob.dominance();
        seen.closed.words().iter().for_each(|words| context.note(words));
        let (spent, n) = (&seen.spent, seen.spent.n);
        let scores = seen.log_prob.mean();
        let (mean, se) = (scores.mean(), scores.se());
        let mass = self.mass(seen);
        let noise = spent.probes.map(|probes| probes.mean());
        let quadrature = spent.quadrature;
        let mut facts = json!({
            "n": n,
            "mean_log_prob": mean,
            "se": se,
            "median_log_prob": dominance.median,
            "mean_carried_by": dominance.few,
            "nfe_mean": spent.nfe_mean(),
            "nfe_max": spent.nfe_max,
            "trace_evals_mean": spent.traces_mean(),
            "seconds": spent.seconds,
            "failed": spent.failed,
            "missing": spent.missing,
            "marginal": spent.marginal,
            "outside": spent.outside,
            "inside": spent.inside(),
            "overflowed": spent.overflowed,
            "quadrature_error_max": quadrature,
            "unsettled": spent.unsettled,
            "stiff": spent.stiff,
            "notes": rows.notes(),
            "condition_outside": rows.out_of_range().facts(),
            "model": self.setup.path,
            "output": args.output,
        });
        let mut words = match &self.grid {
            None if scores.n() == 0 => format!("mean log p: none, {}\n", statistics::among(spent, "point")),
            None => {
                let n = spent.inside();
                let value = if n == 1 { words::number(mean, 5) } else { words::estimate(mean, se, 5) };
                let of = statistics::among(spent, "point");
                let weighted = if args.weights.is_some() { "weighted " } else { "" };
                format!("{weighted}mean log p: {value} nats {of}{}\n", words::no_error(n))
            }
            Some(grid) => format!("log p in {} × {} cells over {}\n", grid.nx, grid.ny, edges_of(grid)),
        };
        if args.weights.is_some() {
            facts["effective_rows"] = scores.effective().into();
            words += &format!("with their weights they count as {:.1} equal ones\n", scores.effective());
        }
        if let Some(few) = dominance.words("").filter(|_| self.grid.is_none()) {
            words += &format!("{few}\n");
        }
        if let Some(mass) = mass {
            facts["mass"] = mass.into();
            facts["extent"] = self.grid.as_ref().map_or(Value::Null, |g| json!([g.x.0, g.x.1, g.y.0, g.y.1]));
            words += &format!("∫p over the grid: {}\n", words::number(mass, 5));
        }
        if let Some(bits) = seen.bits.as_ref().filter(|bits| bits.n() > 0) {
            words += &bits_per_dim(bits, args.dequantise, &mut facts);
        }
        if self.setup.model.spec.has_integers() && self.grid.is_none() {
            facts["dequantise"] = args.dequantise.into();
            facts["bound"] = "lower".into();
            words += &match args.dequantise {
                1 => "log p is a lower bound of the log-probability of the whole numbers, on average; \
                      --dequantise N brings it nearer\n"
                    .to_owned(),
                n => format!("log p is a lower bound on average: log of the mean over {n} draws of the noise\n"),
            };
        }
        if let Some(noise) = noise {
            facts["hutchinson_se_mean"] = noise.into();
            words += &match noise.is_finite() {
                true => format!("standard error of a row by its probes: {} nats\n", words::number(noise, 4)),
                false => format!(
                    "standard error of a row by its probes: unknown with a single draw; give --trace {}\n",
                    self.setup.model.spec.solver.trace.with_error()
                ),
            };
        }
        if let Some((bars, text)) = seen.bars.as_ref().map(Barred::report) {
            facts["error_bars"] = bars;
            words += &text;
        }
        words += &format!("NFE a point: {:.1}, at most {}; ", spent.nfe_mean(), spent.nfe_max);
        words += &format!("traces: {:.1}; {}\n", spent.traces_mean(), words::duration(spent.seconds));
        if quadrature > 0.0 {
            words += &format!("estimated error of a row's quadrature: at most {} nats\n", words::error(quadrature));
        }
        words += &statistics::troubles(spent);
        statistics::note_missing(spent, context);
        words += &statistics::out_of_range(rows.out_of_range(), context);
        for path in args.output.iter().chain(&args.error_bars).chain(args.plot.iter().filter(|_| drawn)) {
            words += &format!("wrote {}\n", path.display());
        }
        context.report(&words, &facts)
    }
}

/// Bits per dimension of images in words, with every term; the numbers go to `facts`.
fn bits_per_dim(bits: &BitsPerDim, draws: u64, facts: &mut Value) -> String {
    let [latent, slope, noise] = bits.terms();
    facts["bits_per_dim"] = bits.mean().into();
    facts["bits_per_dim_se"] = bits.se().into();
    facts["bits_per_dim_probe_se"] = bits.probe_se().filter(|se| se.is_finite()).into();
    facts["bits_per_dim_terms"] = json!({ "log_prob_y": latent, "log_dy_dv": slope, "minus_log_noise": noise });
    facts["dequantise"] = draws.into();
    let value = words::estimate(bits.mean(), bits.se(), 4);
    let mut text = format!("bits per dimension: at most {value}{}\n", words::no_error(bits.n()));
    let [latent, slope, noise] = [latent, slope, noise].map(|nats| words::number(nats, 3));
    let draws = words::count(draws, "draw");
    text += &format!(
        "  nats an image: log p(y) {latent}, log|dy/dv| {slope}, −log q(noise) {noise}; by {draws} of the noise\n"
    );
    if let Some(se) = bits.probe_se().filter(|se| se.is_finite()) {
        text += &format!("  of the standard error the probes make {}\n", words::error(se));
    }
    text
}
