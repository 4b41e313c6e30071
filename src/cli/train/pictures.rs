//! The pictures of a run: density beside data, samples, and the training curve.
//!
//! They are drawn from what the run's folder holds (the model, the job, the metrics) and from the data, so that
//! `cnf train` at its end and `cnf plot` years later draw the same.

use std::path::PathBuf;

use cnflow::model::{Architecture, BoundModel, Model};
use cnflow::plot::{self, Grid, Options, Theme, Training};
use cnflow::rows::{Dataset, Rows};
use cnflow::stats::log_sum_exp;
use cnflow::train::{Criterion, Job, score};
use cnflow::transform::StandardNormal;
use cnflow::{rng, words};

use super::images::{self, Images};
use crate::cli::Context;
use crate::cli::interrupt::critical_section;
use crate::cli::picture::{self, Shown, Units};

/// Cells along each side of a density.
const CELLS: usize = 200;
/// Cells of a density of one column.
const CELLS_ALONE: usize = 1000;
/// Samples drawn, and rows of data beside them.
const POINTS: usize = 10_000;
/// The stream of the samples' latents.
const SAMPLE_STREAM: u64 = 0x91c7_0001;
/// The stream of the data beside them.
const DATA_STREAM: u64 = 0x91c7_0002;

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

/// How the pictures look, whatever they show.
#[derive(Clone, Debug)]
pub struct Look {
    pub theme: Theme,
    pub size: Option<(u32, u32)>,
    pub enlarged: Option<u32>,
    /// Instead of what the run was set to show.
    pub shown: Shown,
    /// `png` or `svg`.
    pub ending: &'static str,
}

impl Default for Look {
    fn default() -> Self {
        Self { theme: Theme::default(), size: None, enlarged: None, shown: Shown::default(), ending: "png" }
    }
}

/// The losses and the held-out scores of a run, out of its metrics.csv.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Step and mean loss. Where a likelihood followed upon a matching it is left out: the held-out scores show it.
    pub loss: Vec<(f64, f64)>,
    /// Step, negative log-likelihood and its standard error.
    pub held_out: Vec<(f64, f64, f64)>,
    /// Seconds and negative log-likelihood, where both are finite.
    pub timed: Vec<(f64, f64)>,
    /// The losses are negative log-likelihoods.
    pub loss_is_nll: bool,
}

impl Curves {
    /// Out of the text of a metrics.csv; columns are found by their names.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let column =
            |name: &str| names.iter().position(|n| *n == name).ok_or_else(|| format!("it has no column `{name}`"));
        let (step, loss) = (column("step")?, column("loss")?);
        let score = (column("valid_nll")?, column("valid_nll_se")?);
        let objective = column("objective")?;
        let seconds = column("seconds").ok();
        let mut first: Option<String> = None;
        let mut curves = Self::default();
        for (i, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
            let cells: Vec<&str> = line.split(',').collect();
            let number = |k: usize| {
                let cell = cells.get(k).ok_or_else(|| format!("line {} is cut short", i + 2))?;
                cell.parse::<f64>().map_err(|_| format!("`{cell}` in line {} is not a number", i + 2))
            };
            let at = number(step)?;
            let name = cells.get(objective).ok_or_else(|| format!("line {} is cut short", i + 2))?;
            if first.get_or_insert_with(|| (*name).to_owned()) == name {
                curves.loss.push((at, if cells.get(loss) == Some(&"") { f64::NAN } else { number(loss)? }));
            }
            if cells.get(score.0).is_some_and(|cell| !cell.is_empty()) {
                let se = if cells.get(score.1) == Some(&"") { 0.0 } else { spread(number(score.1)?) };
                let nll = number(score.0)?;
                curves.held_out.push((at, nll, se));
                let seconds = seconds.and_then(|seconds| number(seconds).ok());
                curves.timed.extend(seconds.map(|seconds| (seconds, nll)).filter(|(s, nll)| (s + nll).is_finite()));
            }
        }
        curves.loss_is_nll = first.is_some_and(|name| name == Criterion::Likelihood.name());
        Ok(curves)
    }
}

/// A standard error as drawn: none of a single row.
fn spread(se: f64) -> f64 {
    if se.is_finite() { se } else { 0.0 }
}

/// Draws all of them into the files that `file` makes of their names, and returns those.
///
/// # Errors
/// Any error of the solver or of the disk.
pub fn draw(run: &Run<'_>, look: &Look, file: &dyn Fn(&str) -> PathBuf) -> anyhow::Result<Vec<PathBuf>> {
    let Run { job, model, data, curves, .. } = run;
    let plain = Options { theme: look.theme, size: look.size, enlarged: look.enlarged, ..Options::default() };
    let Options { names, invert_y, columns, scale, .. } = look.shown.style(model)?;
    let plain = Options { columns, ..plain };
    let options = Options { names, invert_y, scale, ..plain.clone() };
    let mut drawn = Vec::new();
    let mut place = |name: &str| {
        let path = file(&format!("{name}.{}", look.ending));
        drawn.push(path.clone());
        path
    };
    let flow = model.bind(job.model.precision)?;
    match &model.spec.pixels {
        Some(pixels) => {
            let rng = rng::stream(job.seed, SAMPLE_STREAM);
            let of = Images { model, pixels, flow: &flow, data, held_out: run.held_out, rng };
            images::draw(of, &plain, &mut place)?;
        }
        None => points(run, &flow, &plain, &options, &mut place)?,
    }

    if curves.loss.is_empty() && curves.held_out.is_empty() {
        // What was fitted in one go has no curve.
        return Ok(drawn);
    }
    let entropy = data.toy().map(|toy| toy.entropy);
    // Where a mixture replaced the flow, the curve is not that of the model.
    let winner = match (&model.spec.architecture, &model.spec.base) {
        (Architecture::Identity { .. }, Some(base)) if !data.valid.is_empty() => {
            let (nll, se) = score(&flow, &data.valid, data.toy())?.best_nll(data.toy());
            Some((format!("a mixture of {}", words::count(base.components() as u64, "Gaussian")), nll, se))
        }
        _ => None,
    };
    let training = Training {
        unit: "steps",
        loss: &curves.loss,
        loss_is_nll: curves.loss_is_nll,
        held_out: &curves.held_out,
        entropy,
        winner: winner.as_ref().map(|(name, nll, se)| (name.as_str(), *nll, *se)),
    };
    critical_section(|| plot::training_curve(&place("training"), &training, &plain))?;
    Ok(drawn)
}

/// The pictures of points: density beside data, samples, latents.
fn points(
    run: &Run<'_>,
    flow: &BoundModel,
    plain: &Options,
    options: &Options,
    place: &mut dyn FnMut(&str) -> PathBuf,
) -> anyhow::Result<()> {
    let Run { job, model, data, held_out, context, .. } = run;
    let (given, d) = (&held_out.context, data.dim);
    let seen = match data.training_rows() {
        None => data.draw(2 * POINTS, &mut rng::stream(job.seed, DATA_STREAM)),
        Some(rows) => rows.points().into_owned(),
    };

    let latents = StandardNormal::new(d).draw(POINTS, &mut rng::stream(job.seed, SAMPLE_STREAM));
    // Samples of a conditional model get the conditions of held-out rows, so that all of them look like all data.
    let c = model.condition_dim();
    let conditions = |n: usize| -> Vec<f64> {
        let rows = given.len().checked_div(c).unwrap_or(0);
        if rows == 0 {
            return Vec::new();
        }
        (0..n).flat_map(|i| &given[i % rows * c..][..c]).copied().collect()
    };
    let samples = flow.points(&latents, &conditions(POINTS))?.y;
    let units = Units::of(&(0..d).map(|j| plot::extent(&seen, d, j)).collect::<Vec<_>>());
    let (path, in_units) = (place("samples"), units.options(options));
    let (drawn_data, drawn_samples) = (units.rows(&seen), units.rows(&samples));
    let shown = critical_section(|| plot::samples(&path, &drawn_data, &drawn_samples, d, &in_units))?;
    picture::note_columns(&path, &shown, d, options, context);

    if d <= 2 {
        let extent = |column: usize| plot::extent(&seen, d, column);
        let (x, y) = (extent(0), if d == 2 { extent(1) } else { (0.0, 1.0) });
        let (nx, ny) = if d == 2 { (CELLS, CELLS) } else { (CELLS_ALONE, 1) };
        let centres = Grid::centres(x, y, nx, ny);
        let shares = shares(given, c);
        let log_density = if shares.is_empty() {
            flow.log_prob(&centres, &[])?.log_prob
        } else {
            // The density of all rows together: the mean of those under the conditions that there are.
            let mut density = vec![f64::NEG_INFINITY; nx * ny];
            for (share, row) in &shares {
                let log_prob = flow.log_prob(&centres, &row.repeat(nx * ny))?.log_prob;
                density
                    .iter_mut()
                    .zip(log_prob)
                    .for_each(|(p, log)| *p = log_sum_exp([*p, share.ln() + log].into_iter()));
            }
            density
        };
        let grid = units.grid(&Grid { x, y, nx, ny, values: Vec::new() }, &log_density);
        critical_section(|| plot::density_and_data(&place("density"), &units.rows(&seen), &grid, &in_units))?;
    } else {
        let n = held_out.count(d);
        let z = flow.latents(&held_out.points(), &conditions(n))?.y;
        critical_section(|| plot::latents(&place("latents"), &z, d, plain))?;
    }
    Ok(())
}

/// Different conditions among the rows `[n, c]`, each with its share of them: all where they are few, else evenly taken
/// ones.
pub fn shares(given: &[f64], c: usize) -> Vec<(f64, Vec<f64>)> {
    const MOST: usize = 16;
    if c == 0 || given.is_empty() {
        return Vec::new();
    }
    let mut counted: Vec<(f64, Vec<f64>)> = Vec::new();
    for row in given.chunks_exact(c) {
        match counted.iter().position(|(_, known)| known == row) {
            Some(k) => counted[k].0 += 1.0,
            None if counted.len() < MOST => counted.push((1.0, row.to_vec())),
            None => {
                let n = given.len() / c;
                return (0..MOST).map(|i| (1.0 / MOST as f64, given[i * n / MOST * c..][..c].to_vec())).collect();
            }
        }
    }
    let n = (given.len() / c) as f64;
    counted.iter_mut().for_each(|(count, _)| *count /= n);
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_found_by_their_names_and_what_is_cut_short_is_named() {
        let text = "step,objective,loss,valid_nll,valid_nll_se\n1,matching,0.5,,\n2,matching,NaN,1.25,0.5\n3,matching,0.25,1.5,NaN\n\
                    4,likelihood,2.5,,\n";
        let curves = Curves::parse(text).unwrap();
        assert_eq!((curves.loss[0], curves.loss[2]), ((1.0, 0.5), (3.0, 0.25)));
        assert!(curves.loss[1].1.is_nan() && curves.loss.len() == 3 && !curves.loss_is_nll);
        assert_eq!(curves.held_out, [(2.0, 1.25, 0.5), (3.0, 1.5, 0.0)]);
        assert!(curves.timed.is_empty());
        let timed =
            "step,seconds,objective,loss,valid_nll,valid_nll_se\n1,0.5,matching,1,2.5,0.1\n2,0.75,matching,1,NaN,\n";
        assert_eq!(Curves::parse(timed).unwrap().timed, [(0.5, 2.5)]);
        for (wrong, part) in [
            ("", "no column `step`"),
            ("step,loss\n", "no column `valid_nll`"),
            ("step,loss,valid_nll,valid_nll_se\n", "no column `objective`"),
            ("step,objective,loss,valid_nll,valid_nll_se\n1\n", "line 2 is cut short"),
            ("step,objective,loss,valid_nll,valid_nll_se\n1,matching,one,,\n", "`one` in line 2"),
        ] {
            assert!(Curves::parse(wrong).unwrap_err().contains(part), "{wrong}");
        }
    }
}
