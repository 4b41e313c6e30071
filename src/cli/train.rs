//! `cnf train`: arguments → a job → data → the loop → a run folder and a summary.
//!
//! Flags override the file of `--config`, which overrides the defaults of [`Job`]. The library names fields; here they
//! are replaced by their flags, or where a file sets them by its keys.

mod args;
pub mod curves;
mod flags;
pub mod folder;
mod images;
mod live;
pub mod pictures;
pub mod report;
pub mod run;
pub mod watch;

use std::ops::ControlFlow;

use cnflow::rows::Dataset;
use cnflow::train::{
    Checkpoint, Job, Progress, Watch, fit_by, held_out, provenance, resume_by, score, with_auto_family,
};
use cnflow::{Error, names};

pub use self::args::TrainArgs;
use self::curves::Curves;
pub use self::flags::{Names, TableArgs, seconds};
use self::folder::Folder;
use self::pictures::Look;
use self::report::Summary;
use self::run::Run;
use super::files::{CHECKPOINT, METRICS, MODEL};
use super::images::ScoreUnit;
use super::warnings::Warnings;
use super::{Context, findings, interrupt, picture};

/// Examples, shown below the help.
pub const EXAMPLES: &str = "\
The default net has five layers of 48 units up to 16 dimensions, and two of 256 beyond: their trace is exact in closed \
form. The default solver is dopri5 at tolerances of 1e-5.

config.toml in the folder of the run holds every option, in sections; --config reads it. A run with --steps repeats to \
the same bits. A run with --time takes as many steps as the machine allows.

Ctrl-C, SIGTERM and SIGHUP end the run after its step; the model is scored and saved as it is then. --resume continues \
such a run, or a killed one, from its last checkpoint, to the same bits as an uninterrupted run. A second Ctrl-C ends \
the run at once. If the loss becomes NaN or infinite, training reports it, returns to the last good step and continues \
with a smaller learning rate. An existing run is overwritten only with --force; a run that another process trains is \
refused. On a full disk, a checkpoint or a picture that does not fit is a warning.

Examples:
  cnf train                                       eight Gaussians, half a minute, worth watching
  cnf train --data 2spirals --time 60s
  cnf train --data table.csv --split 0.8,0.1      a table: the best of several models
  cnf train --data examples/data/hr_diagram_2d.npy --names 'B − V' Hp --invert-y
  cnf train --model realnvp --data moons --time 20s   a discrete flow
  cnf train --data table.csv --condition 1        p(the other columns | the second)
  cnf train --data digits --condition digit       images, a class each; the net is convolutional
  cnf train --net concatsquash --data moons       FFJORD's net, of candle layers
  cnf train --objective likelihood --hidden 64,64,64 --activation tanh --steps 300
  cnf train --init runs/8gaussians-matching-1 --objective likelihood
  cnf train --objective mixed --nfe-target 30     30 evaluations a row, and their price in nats
  cnf train --resume runs/8gaussians-matching-2
  cnf train --config runs/8gaussians-matching-1/config.toml --seed 1";

/// The job of the arguments and its data, with all that can be wrong with them.
fn begin(args: &TrainArgs, context: &Context) -> anyhow::Result<(Job, Dataset)> {
    let (mut job, start) = args.job(context)?;
    let (out, force) = args.out();
    if let Some(out) = out {
        // A configuration is read whole before the run begins: a run that is repeated in its own folder has it again.
        let read = if force { Vec::new() } else { args.read() };
        folder::spared(&job, out, &read)?;
    }
    let read = context.pipes.job(&job)?;
    let mut data = match &start {
        None => {
            let data = read.dataset(None)?;
            context.notes_on_tables(&data.notes);
            data
        }
        Some(model) => {
            let names = model.spec.condition_names();
            if job.data.condition.is_empty() && !names.is_empty() {
                context.note(&format!("the condition is that of the model to start from: {}", names::list(names)));
                job.data.condition = names.to_vec();
            }
            let read = read.with(|read| read.data.condition.clone_from(&job.data.condition));
            let (data, notes) = read.dataset_for(&model.spec, None)?;
            context.notes_on_tables(&notes);
            data
        }
    };
    data.name.clone_from(&job.data.source);
    if let (Some(model), Some(path)) = (&start, &job.model.init)
        && model.dim() != data.dim
    {
        let what = format!("the model `{}`", path.display());
        return Err(Error::Dimension { what, expected: data.dim, found: model.dim() }.into());
    }
    // Several processes count steps, and a choice needs a clock.
    let job = if args.leaves_model_open() && context.processes.crew().size() == 1 {
        with_auto_family(job, &data, &args.given())
    } else {
        job
    };
    let mut job = if args.sets_tolerance() { job } else { job.with_tolerance_for(&data) }.resolve_for(&data)?;
    if job.output.picture.names.is_empty() {
        job.output.picture.names = data.columns.clone().unwrap_or_default();
    }
    // What cannot be drawn is refused now, not after the training.
    picture::columns(&job.output.picture.columns, &job.output.picture.names, data.dim)?;
    Ok((job, data))
}

/// A run that is about to begin, or to go on.
struct Begun {
    job: Job,
    data: Dataset,
    folder: Folder,
    checkpoint: Option<Checkpoint>,
}

impl Begun {
    fn new(args: &TrainArgs, context: &Context) -> anyhow::Result<Self> {
        let (job, data) = begin(args, context)?;
        let (out, force) = args.out();
        let folder = Folder::claim(&job, out, force)?;
        Ok(Self { job, data, folder, checkpoint: None })
    }

    fn again(path: &std::path::Path, context: &Context) -> anyhow::Result<Self> {
        let (folder, checkpoint) = Folder::reopen(path)?;
        let job = checkpoint.job().clone();
        let (mut data, notes) = context.pipes.job(&job)?.dataset_of(checkpoint.spec(), None)?;
        context.notes_on_tables(&notes);
        data.name.clone_from(&job.data.source);
        Ok(Self { data, job, folder, checkpoint: Some(checkpoint) })
    }
}

/// Trains, writes the run's folder, and reports how it went.
///
/// # Errors
/// Whatever is wrong with the options, the data or the disk, as [`cnflow::Error`].
pub fn run(args: TrainArgs, context: &Context) -> anyhow::Result<()> {
    if context.processes.crew().rank() > 0 { beside(&args, context) } else { trained(&args, context) }
}

/// Ends a training of several processes where this one is asked to.
struct Interrupts;

impl Watch for Interrupts {
    fn see(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn stop_requested(&self) -> bool {
        interrupt::requested()
    }
}

/// A process beside the first one: it does its part of the training, and leaves folder, score and words to that one.
fn beside(args: &TrainArgs, context: &Context) -> anyhow::Result<()> {
    interrupt::install_patient()?;
    let crew = context.processes.crew();
    match &args.resume {
        Some(path) => {
            let checkpoint = Checkpoint::load(&path.join(CHECKPOINT))?;
            let (data, _) = checkpoint.job().dataset_of(checkpoint.spec(), None)?;
            resume_by(crew, checkpoint, &data, &mut Interrupts)?;
        }
        None => {
            let (job, data) = begin(args, context)?;
            fit_by(crew, &job, &data, &mut Interrupts)?;
        }
    }
    Ok(())
}

fn trained(args: &TrainArgs, context: &Context) -> anyhow::Result<()> {
    interrupt::install_patient()?;
    let Begun { job, data, folder, checkpoint } = match &args.resume {
        Some(path) => Begun::again(path, context)?,
        None => Begun::new(args, context)?,
    };

    let mut warnings = Warnings::new(context);
    folder.warning().into_iter().for_each(|words| warnings.add(words));
    context.computes(job.model.precision, &job.solver);
    let screen = watch::Screen::new(context.quiet || args.watch, ScoreUnit::of(data.shape));
    screen.begin(&job, &data, context);
    let whole = data.has_gaps().then(|| data.clone().without_gaps());
    // Rows with all their cells: what pictures and remarks on the data are about.
    let whole = whole.as_ref().unwrap_or(&data);
    let shows = whole.n_train() != Some(0);
    let found = if shows { findings::noted(&job, whole, context) } else { Vec::new() };
    if let Some(checkpoint) = &checkpoint {
        screen.goes_on(checkpoint, context);
    }
    // From here on the terminal may be the view's: words would go through it.
    let live = if args.watch { Some(live(&job, whole)?) } else { None };
    let mut watch = watch::Watcher { screen, live, folder: &folder, context, missed: None };
    let crew = context.processes.crew();
    if crew.size() > 1 {
        let again = format!("cnf train --resume {}", folder.path().display());
        context.note(&format!("{} processes train together; after one is lost, `{again}` goes on", crew.size()));
    }
    let fitted = match checkpoint {
        Some(checkpoint) => resume_by(crew, checkpoint, &data, &mut watch),
        None => fit_by(crew, &job, &data, &mut watch),
    };
    // The terminal is given back first, whatever came of it: words belong on the usual screen.
    watch.live = None;
    watch.screen.clear();
    if let Some(missed) = watch.missed.take() {
        warnings.add(missed.words());
    }
    let mut fitted = fitted?;
    // That of the model: of the family that was chosen, where several were tried.
    let job = fitted.job.clone();
    fitted.ended_early = fitted.ended_early.map(|words| context.with_names(&words));
    if fitted.stopped {
        let cause = interrupt::cause();
        context.note(&format!("stopped by {cause}: the model is scored and saved as it is now"));
    }

    // The model first: a score or a picture that cannot be made, or a queue system that waits no longer, must not lose
    // it.
    fitted.model.provenance = provenance(&job, &fitted);
    // Only an old run that is overwritten stays until there is a score.
    let metrics = report::metrics(&fitted.history);
    let write_metrics =
        || folder.save(METRICS, |path| cnflow::io::write_atomically(path, |out| out.write_all(metrics.as_bytes())));
    if !folder.replaces() {
        folder.save(MODEL, |path| fitted.model.save(path)).map_err(|e| unsaved(e, &folder))?;
        // For a run that is ended before its score; what is wrong with the disk is said after it.
        let _ = write_metrics();
    }
    let (set, held_out) = held_out(&data);
    let flow = fitted.model.bind(job.model.precision)?;
    let score = score(&flow, held_out, data.toy())
        // A model without any density is none.
        .inspect_err(|_| folder.abandon())?;
    let mut summary = Summary::new(&job, &fitted, &score, set, found);
    fitted.model.provenance = summary.provenance();
    let scored = folder.save(MODEL, |path| fitted.model.save(path));
    if !folder.file(MODEL).is_file() || folder.replaces() {
        scored.map_err(|e| unsaved(e, &folder))?;
    } else {
        warnings.without(scored, "the model file has no score")?;
    }
    warnings.without(write_metrics(), "`cnf plot` cannot draw the curve of the training")?;
    warnings.without(folder.write_config(), "`cnf plot` needs it")?;

    let curves = Curves::parse(&metrics).map_err(|e| Error::invalid(format!("the metrics are invalid: {e}"), ""))?;
    let held_out = &cnflow::train::held_out(whole).1.by_weight(data.dim);
    let drawn = Run { job: &job, model: &fitted.model, data: whole, held_out, curves: &curves, context };
    // Those of a run that went on are of an older model.
    folder.drop_pictures();
    let draw = || match shows {
        true => pictures::draw(&drawn, &Look::default(), &|name| folder.file(name)).map(drop),
        false => Err(Error::invalid("each row for training has a missing cell", "").into()),
    };
    let mut pictures = draw();
    if !fitted.stopped {
        folder.drop_checkpoint();
        if pictures.as_ref().is_err_and(|e| matches!(e.downcast_ref(), Some(Error::Write { .. }))) {
            // The checkpoint's room may be enough.
            pictures = draw();
        }
    }
    if let Err(error) = pictures {
        warnings.add(format!("not all pictures were drawn: {error}; try `cnf plot {}`", folder.path().display()));
    }
    summary.end(warnings.all, folder.has_checkpoint());
    context.report(&summary.words(folder.path()), &summary.json(folder.path()))
}

/// The error of a model that cannot be written, with the way back to it.
fn unsaved(error: Error, folder: &Folder) -> Error {
    if !folder.has_checkpoint() {
        return error;
    }
    Error::invalid(error.to_string(), format!("make room, then `cnf train --resume {}`", folder.path().display()))
}

/// The view over the whole terminal.
fn live(job: &Job, data: &cnflow::rows::Dataset) -> anyhow::Result<live::Live> {
    let (_, rows) = held_out(data);
    let extent = |column| cnflow::plot::extent(&rows.points(), data.dim, column);
    let ranges = (data.dim == 2).then(|| [extent(0), extent(1)]);
    live::Live::start(job, format!("{} by {}", data.name, job.label()), data.toy().map(|t| t.entropy), ranges)
}
