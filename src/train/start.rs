//! What a run begins with: the checked data, and the model before the first step.

use std::path::Path;
use std::time::Instant;

use cnflow_kernels::ImageShape;

use super::context::{self, check_context, condition};
use super::job::{BaseRule, EVALUATIONS, PLANE, column_rule};
use super::preprocessing::Preprocessing;
use super::{BASE_STREAM, INIT_STREAM, Job, MOMENTS_STREAM, Objective, ValidationScore, Whitening, whitening};
use crate::discrete::{Discrete, Kind, LayerSpec};
use crate::fit::EmOptions;
use crate::model::{Architecture, BaseFlow, FlowSpec, Model, Moments};
use crate::rows::{Dataset, Numbers, Rows, Source};
use crate::stats::Sample;
use crate::transform::{Column, ColumnKind, Condition, ContextColumn, Mixture, Pixels, Range, Standardise};
use crate::{Error, Result, names, rng};

/// Rows of a toy whose moments standardise it.
const MOMENT_ROWS: usize = 20_000;
/// Pixels of images whose moments are looked at.
pub(super) const MOMENT_PIXELS: usize = 1 << 21;

/// Rejects data that cannot be trained on; NaN is a missing cell where there may be `gaps`.
pub(super) fn check(data: &Dataset, gaps: bool) -> Result<()> {
    let train = data.training_rows().map(|rows| ("training", rows));
    for (set, rows) in [("validation", &data.valid), ("test", &data.test)].into_iter().chain(train) {
        // Bytes are finite.
        let Numbers::F64(x) = &rows.x else { continue };
        if let Some(i) = x.iter().position(|x| !(x.is_finite() || (gaps && x.is_nan()))) {
            let (row, column) = (i / data.dim, i % data.dim);
            return Err(Error::invalid(
                format!("row {row} of the {set} set has {} in column {column} (counted from 0)", x[i]),
                crate::words::leave_out(x[i]),
            ));
        }
    }
    if let (None, Some(Numbers::F64(train))) = (data.shape, data.training_rows().map(|rows| &rows.x)) {
        check_constant(data, train)?;
    }
    match data.n_train() {
        Some(0) => Err(Error::invalid("there are no rows to train on", "give a split with a training set")),
        Some(n) if n > u32::MAX as usize => {
            Err(Error::invalid(format!("{n} rows to train on"), format!("give at most {}", u32::MAX)))
        }
        _ => Ok(()),
    }
}

/// Refuses columns whose training rows are all equal: they have no density.
fn check_constant(data: &Dataset, train: &[f64]) -> Result<()> {
    let d = data.dim;
    let n = train.len() / d;
    let cells = |j: usize| train.iter().skip(j).step_by(d).filter(|v| !v.is_nan());
    let constant = |j: &usize| cells(*j).next().is_some_and(|first| cells(*j).all(|v| v == first));
    let all: Vec<usize> = if n < 2 { Vec::new() } else { (0..d).filter(constant).collect() };
    let Some(first) = all.first() else { return Ok(()) };
    let named = |j: &usize| data.columns.as_ref().map_or_else(|| j.to_string(), |names| names[*j].clone());
    let others = match all.len() {
        1 => String::new(),
        2 => "; another column is constant too".to_owned(),
        more => format!("; {} more columns are constant", more - 1),
    };
    let value = cells(*first).next().copied().unwrap_or_default();
    let problem = format!("column `{}` is constant: {value} in all {n} training rows{others}", named(first));
    let hint = if all.len() == d {
        "a constant has no density: give rows that differ".to_owned()
    } else {
        // Without names a number counts in the file, where conditions and dropped columns are counted too.
        let counted = data.columns.is_some() || data.context.is_none();
        let names =
            if counted { format!(" {}", all.iter().map(named).collect::<Vec<_>>().join(",")) } else { String::new() };
        format!("a constant column has no density: leave it out with `data.drop`{names}")
    };
    Err(Error::invalid(problem, hint))
}

/// The training data's own rows as f64, or so many of a toy; of images as many as have `of_images` pixels, evenly taken.
pub(super) fn rows(data: &Dataset, seed: u64, of_toy: usize, of_images: usize) -> Rows {
    let rows = match &data.train {
        Source::Rows(rows) if data.shape.is_some() => rows.evenly(data.dim, (of_images / data.dim).max(2)),
        Source::Rows(rows) => rows.clone(),
        Source::Toy(toy) => Rows::new((toy.sample)(of_toy, &mut rng::stream(seed, MOMENTS_STREAM))),
    };
    Rows { x: rows.x.into_f64().into(), ..rows }
}

/// The first rows, at most `most`, as f64; where they have weights so many drawn by these.
fn by_weight(rows: Rows, d: usize, most: usize) -> Rows {
    if rows.weight.is_empty() { rows.first(d, most) } else { rows.by_weight(d).evenly(d, most) }
}

/// What a run begins with.
pub(super) struct Start {
    /// The model before the first step.
    pub model: Model,
    /// Σ ln of the training data's deviations.
    pub log_volume: f64,
    /// The mixture that replaces the flow where its validation NLL is better.
    pub baseline: Option<Mixture>,
    /// Seconds that the fit of a mixture took; none where none was fitted.
    pub mixture_seconds: Option<f64>,
    /// A remark on what the rows decided.
    pub note: Option<String>,
}

impl Start {
    /// Puts a mixture beside the discrete flow of a run: `known`, where one of the same columns was fitted before.
    ///
    /// # Errors
    /// Those of the columns' maps.
    pub fn beside_mixture(
        &mut self,
        job: &Job,
        known: Option<&Model>,
        data: &Dataset,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let spec = &self.model.spec;
        let same = |model: &&Model| model.spec.columns == spec.columns && model.spec.standardise == spec.standardise;
        self.baseline = known.filter(same).and_then(|model| model.spec.base.clone());
        if self.baseline.is_none() {
            let Rows { x, weight, .. } = rows(data, job.seed, MOMENT_ROWS, MOMENT_PIXELS);
            let (x, _) = Preprocessing::new(&FlowSpec { standardise: None, ..spec.clone() })?.inward(x.into_f64())?;
            let x = Sample { x: &x, weight: &weight };
            // Rows that have no mixture have a spline.
            let fitted = mixture(job, BaseRule::Choose, spec, self.model.theta.len(), x, data, stop).ok().flatten();
            (self.baseline, self.mixture_seconds) = fitted.unzip();
        }
        Ok(())
    }
}

/// The work of a mixture's fit, in multiplications, that every run may have: a second or two of one CPU core.
const LEAST_WORK: f64 = 1e9;
/// A multiplication of EM, in f64 and between exponentials, takes as long as so many of a net.
const DEARER: f64 = 8.0;

/// What a mixture's fit may cost beside a run that counts its steps, so that it takes about as much of the whole as
/// [`Job::BASE_SHARE`] would be of a time: counted, since such a run never looks at the clock.
pub(super) fn mixture_work(job: &Job, params: usize) -> f64 {
    let (Some(steps), None) = (job.optimiser.steps, job.optimiser.time) else { return f64::INFINITY };
    // Forth once, and back at twice the cost.
    let each = |rows: usize, evaluations: f64| 3.0 * params as f64 * rows as f64 * evaluations;
    let (rows, later) = (job.optimiser.batch.unwrap_or_default(), job.objective.likelihood_batch.unwrap_or_default());
    let step = match job.objective.kind {
        Objective::Matching => each(rows, 1.0),
        Objective::Likelihood => each(rows, EVALUATIONS),
        Objective::Mixed => {
            (1.0 - job.objective.likelihood_share) * each(rows, 1.0)
                + job.objective.likelihood_share * each(later, EVALUATIONS)
        }
    };
    (Job::BASE_SHARE / (1.0 - Job::BASE_SHARE) * steps as f64 * step / DEARER).max(LEAST_WORK)
}

/// The beginning of a run, at the model `init` of the job's file where it has one. `stop` ends the fit of a mixture
/// early.
pub(super) fn start(job: &Job, init: Option<Model>, data: &Dataset, stop: &mut dyn FnMut() -> bool) -> Result<Start> {
    let Rows { x: rows, context, weight } = rows(data, job.seed, MOMENT_ROWS, MOMENT_PIXELS);
    let (rows, weight) = (rows.into_f64(), &weight[..]);
    let log_volume = |spec: &FlowSpec| -> Result<f64> {
        match data.shape {
            None => Ok(Standardise::fit(Sample { x: &rows, weight }, data.dim)?.log_volume()),
            Some(_) => Ok(Preprocessing::new(spec)?.inward(rows.clone())?.1),
        }
    };
    if let (Some(path), Some(mut model)) = (&job.model.init, init) {
        if model.dim() != data.dim {
            let what = format!("the model `{}`", path.display());
            return Err(Error::Dimension { what, expected: data.dim, found: model.dim() });
        }
        same_images(path, model.spec.pixels.as_ref(), data)?;
        let given = data.context_dim();
        if model.condition_dim() != given {
            let (path, has) = (path.display(), model.condition_dim());
            return Err(Error::invalid(
                format!(
                    "the model `{path}` is conditional on {}, the data on {given}",
                    crate::words::count(has as u64, "column")
                ),
                "set `data.condition` to the columns that the model was trained with, and to none where it has none",
            ));
        }
        if let Some(context) = &data.context {
            same_order(path, model.spec.condition_names(), context.names(data.columns.is_some()))?;
            if let Some(condition) = &model.spec.condition {
                check_context(condition, data)?;
            }
        }
        same_order(path, &model.spec.names, data.columns.as_deref().unwrap_or_default())?;
        job.clone().adopt(&model)?;
        if job.optimiser.validation == Some(ValidationScore::Bound) && model.spec.base.is_some() {
            let problem =
                format!("the model `{}` begins at a mixture: its NLL has no bound by matching", path.display());
            return Err(Error::invalid(problem, "set `optimiser.validation` to likelihood"));
        }
        model.spec.solver = job.solver.clone();
        if let Some(velocity) = model.spec.architecture.as_velocity() {
            job.solver.trace.of(velocity)?;
            job.solver.check_exact(velocity.dim(), velocity.shape())?;
        }
        model.spec.condition_ranges.clear();
        model.spec.class_counts.clear();
        same_words(path, &model.spec, data)?;
        name(&mut model.spec, data);
        let log_volume = log_volume(&model.spec)?;
        return Ok(Start { model, log_volume, baseline: None, mixture_seconds: None, note: None });
    }
    let condition = condition(&job.data.condition, data)?;
    let architecture = job.architecture(data.dim, condition.as_ref().map_or(0, Condition::width))?;
    architecture.validate()?;
    let pixels = pixels(job, data)?;
    let (columns, solver) = (columns(job, data, &rows)?, job.solver.clone());
    let mut spec = FlowSpec { columns, pixels, solver, condition, ..FlowSpec::bare(architecture) };
    name(&mut spec, data);
    let log_volume = log_volume(&spec)?;
    let (rows, _) = Preprocessing::new(&spec)?.inward(rows)?;
    spec.standardise = standardisation(job, data, Sample { x: &rows, weight })?;
    let mut theta = spec.architecture.init(&mut rng::stream(job.seed, INIT_STREAM));
    if let Some(velocity) = spec.architecture.as_velocity().filter(|velocity| velocity.gaussian().is_some()) {
        velocity.rest(&mut theta);
    }
    if let Architecture::Discrete(discrete) = &spec.architecture {
        let x = Preprocessing::new(&FlowSpec { columns: None, pixels: None, ..spec.clone() })?.inward(rows)?.0;
        let first = by_weight(Rows { x: x.into(), context, weight: weight.to_vec() }, data.dim, MOMENT_ROWS);
        let context = spec.condition.as_ref().map_or(Ok(Vec::new()), |condition| condition.encode(&first.context))?;
        let mut discrete = discrete.clone();
        let map = match job.model.whitening {
            Whitening::Cholesky if data.shape.is_some() => {
                return Err(Error::invalid(
                    "`model.whitening` cholesky has no meaning for images: it is for the columns of tables",
                    "leave out `model.whitening`",
                ));
            }
            Whitening::Auto if data.shape.is_some() || data.toy().is_some() => None,
            Whitening::Auto if data.dim <= PLANE || discrete.kind != Kind::Spline => None,
            rule => whitening::map(rule, Sample::from(&first.points()[..]), data.dim)?,
        };
        if let Some(map) = &map {
            if let Some(columns) = &map.tails {
                discrete.layers.push(LayerSpec::Tails { columns: columns.clone() });
            }
            (discrete, theta) = discrete.behind(&map.matrix, theta);
        }
        theta = Discrete::started(&discrete, &theta, &first.points(), &context)?;
        spec.architecture = Architecture::Discrete(discrete);
        return Ok(Start {
            model: Model { spec, theta, provenance: serde_json::Map::new() },
            log_volume,
            baseline: None,
            mixture_seconds: None,
            note: map.and_then(|map| map.words()),
        });
    }
    let rule = base_rule(&job.model.base, data)?;
    let (mut baseline, mut mixture_seconds) = (None, None);
    if let Some((mixture, seconds)) = mixture(job, rule, &spec, theta.len(), Sample { x: &rows, weight }, data, stop)? {
        mixture_seconds = Some(seconds);
        if rule == BaseRule::Baseline {
            baseline = Some(mixture);
        } else {
            spec.base = Some(mixture);
            // A flow that stands still has the density of its base: the net begins there.
            spec.architecture.velocity()?.rest(&mut theta);
        }
    }
    let model = Model { spec, theta, provenance: serde_json::Map::new() };
    Ok(Start { model, log_volume, baseline, mixture_seconds, note: None })
}

/// The mixture that a rule of the base wants, with the seconds that its fit took; none where it wants none. `rows` are on
/// the side of the standardisation of `spec`, `params` the parameters of the velocity beside which it is fitted.
fn mixture(
    job: &Job,
    rule: BaseRule,
    spec: &FlowSpec,
    params: usize,
    rows: Sample<'_>,
    data: &Dataset,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Option<(Mixture, f64)>> {
    if matches!(rule, BaseRule::Normal | BaseRule::Discrete(_) | BaseRule::Best) {
        return Ok(None);
    }
    // The mixture takes the place of the whole flow, or is its beginning: no flow lies between it and the columns.
    let spec = FlowSpec { base_flow: None, ..spec.clone() };
    let scaled = FlowSpec { columns: None, pixels: None, ..spec.clone() };
    let (x, _) = Preprocessing::new(&scaled)?.inward(rows.x.to_vec())?;
    let (held_out, _) = Preprocessing::new(&spec)?.inward(data.valid.points().into_owned())?;
    let rows = Sample { x: &x, weight: rows.weight };
    let valid = Sample { x: &held_out, weight: &data.valid.weight };
    let mut rng = rng::stream(job.seed, BASE_STREAM);
    let (begun, options) = (Instant::now(), EmOptions { work: mixture_work(job, params), ..EmOptions::default() });
    let mixture = match rule {
        BaseRule::Components(components) => {
            let options = EmOptions { components, ..options };
            Mixture::fit(rows, data.dim, &options, &mut rng, stop)?
        }
        _ if held_out.is_empty() => Mixture::fit(rows, data.dim, &options, &mut rng, stop)?,
        _ => Mixture::choose(rows, valid, data.dim, &options, &mut rng, stop)?.mixture,
    };
    Ok(Some((mixture, begun.elapsed().as_secs_f64())))
}

/// The beginning of a run whose velocity begins at the discrete flow `base`, trained before: at rest, with its density.
pub(super) fn from_base(job: &Job, base: Model, log_volume: f64) -> Result<Start> {
    let Architecture::Discrete(layers) = base.spec.architecture.clone() else {
        return Err(Error::invalid("the base has no layers", "set `model.base` to a discrete flow, such as spline"));
    };
    // The latents of the layers have deviation 1, whatever that of the standardised columns is.
    let unit = job.clone().with(|job| job.data.spread = Some(1.0));
    let architecture = unit.architecture(layers.dim, layers.condition_dim)?;
    architecture.validate()?;
    let mut theta = architecture.init(&mut rng::stream(job.seed, INIT_STREAM));
    architecture.velocity()?.rest(&mut theta);
    let base_flow = Some(BaseFlow { layers, theta: base.theta.into() });
    let spec = FlowSpec { architecture, base_flow, solver: job.solver.clone(), ..base.spec };
    let model = Model { spec, theta, provenance: serde_json::Map::new() };
    Ok(Start { model, log_volume, baseline: None, mixture_seconds: None, note: None })
}

/// Refuses images of another shape than a model's, or levels that it does not have.
fn same_images(path: &Path, pixels: Option<&Pixels>, data: &Dataset) -> Result<()> {
    let (path, hint) = (path.display(), "give data like those that the model was trained on");
    let sizes = |shape: ImageShape| format!("images of {}", crate::words::image(shape));
    let has = |shape: Option<ImageShape>| shape.map_or("rows that are not images".into(), sizes);
    let own = pixels.map(|pixels| pixels.shape);
    if own != data.shape {
        let problem = format!("the model `{path}` was trained on {}, the data are {}", has(own), has(data.shape));
        return Err(Error::invalid(problem, hint));
    }
    let bytes = [&data.valid, &data.test].into_iter().chain(data.training_rows()).filter_map(|rows| rows.x.bytes());
    let most = bytes.flatten().copied().max().map_or(0, usize::from);
    match pixels.map(Pixels::levels) {
        Some(levels) if most >= levels => {
            let problem = format!("the model `{path}` has the grey levels 0 to {}, the data have {most}", levels - 1);
            Err(Error::invalid(problem, hint))
        }
        _ => Ok(()),
    }
}

/// How the pixels of images become real numbers, as the job sets; none where rows are not images.
pub(super) fn pixels(job: &Job, data: &Dataset) -> Result<Option<Pixels>> {
    let Some(shape) = data.shape else { return Ok(None) };
    if let Some(column) = job.data.columns.first() {
        let problem = format!("the type `{column}` of a column of images: pixels are whole numbers");
        return Err(Error::invalid(problem, "leave out `data.columns`"));
    }
    let train = data.training_rows().and_then(|rows| rows.x.bytes()).unwrap_or_default();
    let others: Vec<&[u8]> = [&data.valid, &data.test].into_iter().filter_map(|rows| rows.x.bytes()).collect();
    let pixels = Pixels::fit(shape, train, &others)?;
    Ok(Some(Pixels { scale: job.data.pixel_map, noise: job.data.pixel_noise, ..pixels }))
}

/// Refuses names in another order than a model's: [`Dataset::arrange`] brings them into it.
fn same_order(path: &Path, model: &[String], data: &[String]) -> Result<()> {
    if model.is_empty() || data.is_empty() || model == data {
        return Ok(());
    }
    let (path, model, data) = (path.display(), names::list(model), names::list(data));
    Err(Error::invalid(
        format!("the model `{path}` has the columns {model}, the data {data}"),
        "give data with the model's columns, in the model's order",
    ))
}

/// Refuses conditions whose words have other numbers than in a model: [`Dataset::translate`] gives them its own.
fn same_words(path: &Path, spec: &FlowSpec, data: &Dataset) -> Result<()> {
    let Some(context) = &data.context else { return Ok(()) };
    let known = spec.condition_words();
    let same = |(j, own): (usize, &Vec<String>)| {
        let known = known.get(j).map_or(&[][..], Vec::as_slice);
        let has = |(k, word): (usize, &String)| word.is_empty() || known.contains(&(word.clone(), k as f64));
        own.iter().enumerate().all(has)
    };
    if context.words.iter().enumerate().all(same) {
        return Ok(());
    }
    let problem = format!("the words of the conditions differ from those of the model `{}`", path.display());
    Err(Error::invalid(problem, "give conditions with the classes that the model was trained on"))
}

/// Gives a spec the names of the data's columns, the ranges of their conditions, the counts of their classes and the words
/// of these, where it has none.
pub(super) fn name(spec: &mut FlowSpec, data: &Dataset) {
    if spec.names.is_empty() {
        spec.names = data.columns.clone().unwrap_or_default();
    }
    if spec.condition_ranges.is_empty() {
        spec.condition_ranges = ranges(spec, data);
    }
    if spec.class_counts.is_empty() {
        spec.class_counts = class_counts(spec, data);
    }
    if spec.class_words.is_empty() {
        spec.class_words = class_words(spec, data);
    }
}

/// The words of the classes of the conditions; nothing where no column has some.
fn class_words(spec: &FlowSpec, data: &Dataset) -> Vec<Vec<String>> {
    let (Some(condition), Some(context)) = (&spec.condition, &data.context) else { return Vec::new() };
    let of = |(j, column): (usize, &ContextColumn)| match (column, context.words.get(j)) {
        (ContextColumn::Class { classes }, Some(words)) if !words.is_empty() => {
            classes.iter().filter_map(|class| words.get(*class as usize).cloned()).collect()
        }
        _ => Vec::new(),
    };
    let words: Vec<Vec<String>> = condition.columns.iter().enumerate().map(of).collect();
    if words.iter().all(Vec::is_empty) { Vec::new() } else { words }
}

/// How often each class is among the conditions of the training rows; of weighted rows, of as many as count.
fn class_counts(spec: &FlowSpec, data: &Dataset) -> Vec<Vec<u64>> {
    let (Some(condition), Some(context)) = (&spec.condition, &data.context) else { return Vec::new() };
    let of = |(j, column): (usize, &ContextColumn)| match column {
        ContextColumn::Number { .. } => Vec::new(),
        ContextColumn::Class { classes } => {
            let values = context::column(data, j, context.dim);
            let weight = data.training_rows().map_or(&[][..], |rows| &rows.weight);
            let weights = Sample { x: &values, weight }.scaled(1);
            let of = |class: f64| values.iter().zip(&*weights).filter(move |(value, _)| **value == class);
            let count = |class: &i64| of(*class as f64).map(|(_, w)| w).sum::<f64>().round() as u64;
            classes.iter().map(count).collect()
        }
    };
    condition.columns.iter().enumerate().map(of).collect()
}

/// Where the numbers among the conditions of the training rows lie.
fn ranges(spec: &FlowSpec, data: &Dataset) -> Vec<Option<Range>> {
    let (Some(condition), Some(context)) = (&spec.condition, &data.context) else { return Vec::new() };
    let of = |(j, column): (usize, &ContextColumn)| match column {
        ContextColumn::Number { .. } => Range::of(&context::column(data, j, context.dim)),
        ContextColumn::Class { .. } => None,
    };
    condition.columns.iter().enumerate().map(of).collect()
}

fn base_rule(text: &str, data: &Dataset) -> Result<BaseRule> {
    // A toy is there to show how a Gaussian flows into data; without validation rows nobody can judge; and a mixture
    // has no condition.
    // For images a mixture of full covariances costs much, and scores far worse.
    let judged =
        data.shape.is_none() && data.toy().is_none() && data.valid.count(data.dim) >= 2 && data.context.is_none();
    BaseRule::of(text, judged)
}

/// The standardisation that the job sets, by rows whose columns are on the real line; none where it sets none.
pub(super) fn standardisation(job: &Job, data: &Dataset, rows: Sample<'_>) -> Result<Option<Moments>> {
    // Pixels have mean 0 and deviation 1 by their map, all together; a constant one has no deviation of its own.
    if !job.data.standardise || data.shape.is_some() {
        return Ok(None);
    }
    let spread = job.data.spread.unwrap_or(1.0);
    let Moments { mean, std } = Moments::from(&Standardise::fit(rows, data.dim)?);
    Ok(Some(Moments { mean, std: std.into_iter().map(|s| s / spread).collect() }))
}

/// The kinds of the columns that the job sets; none where all are plain.
pub(super) fn columns(job: &Job, data: &Dataset, rows: &[f64]) -> Result<Option<Vec<Column>>> {
    if job.data.columns.is_empty() {
        return Ok(None);
    }
    let mut columns = vec![Column::Plain; data.dim];
    for text in &job.data.columns {
        let (name, kind) = column_rule(text)?;
        if matches!(kind, ColumnKind::Class | ColumnKind::Simplex) {
            // They are columns of the whole model, not of its flow.
            continue;
        }
        let named = data.columns.as_ref().and_then(|names| names.iter().position(|known| known == name));
        let Some(j) = named.or_else(|| name.parse().ok().filter(|j| *j < data.dim)) else {
            let known = match &data.columns {
                Some(names) => names.join(", "),
                None => format!("their numbers, 0 to {}", data.dim - 1),
            };
            return Err(Error::Unknown { kind: "column", name: name.into(), known });
        };
        if data.columns.as_ref().is_some_and(|names| names.iter().filter(|known| *known == name).count() > 1) {
            let problem = format!("`data.columns` {text}: two columns are called `{name}`");
            return Err(Error::invalid(problem, "give each column its own name"));
        }
        let values: Vec<f64> = rows.iter().copied().skip(j).step_by(data.dim).filter(|v| !v.is_nan()).collect();
        let held_out = [&data.valid, &data.test].into_iter().flat_map(|rows| rows.x.iter().skip(j).step_by(data.dim));
        columns[j] = Column::fit_beside(kind, &values, &held_out.filter(|v| !v.is_nan()).collect::<Vec<f64>>())
            .map_err(|e| Error::invalid(format!("column `{name}`: {e}"), e.hint().unwrap_or_default()))?;
    }
    Ok(Some(columns))
}
