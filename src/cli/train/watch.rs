//! A running training on the terminal, its checkpoints, and the end by a signal.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use cnflow::rows::Dataset;
use cnflow::train::{Checkpoint, Criterion, Family, Job, Net, Progress, Watch};
use cnflow::velocity::Activation;
use cnflow::{Error, Result, words};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::folder::Folder;
use super::live::{Live, few};
use crate::cli::images::ScoreUnit;
use crate::cli::{Context, interrupt};

/// Ticks of the bar, whatever the budget is counted in.
const TICKS: u64 = 1000;
/// Between two refreshes.
const PAUSE: Duration = Duration::from_millis(100);

/// The progress bar.
pub struct Screen {
    bar: ProgressBar,
    quiet: bool,
    drawn: Option<Instant>,
    loss: f64,
    criterion: Option<Criterion>,
    /// The model that is tried, where several are.
    tried: Option<Family>,
    held_out: String,
    unit: ScoreUnit,
}

impl Screen {
    /// A bar on stderr, or nothing where `quiet`; scores are in `unit`.
    pub fn new(quiet: bool, unit: ScoreUnit) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{bar:24.cyan/238} {msg}").unwrap_or(ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(TICKS), target).with_style(style.progress_chars("━╸─"));
        Self { bar, quiet, drawn: None, loss: f64::NAN, criterion: None, tried: None, held_out: String::new(), unit }
    }

    /// What is about to be done.
    pub fn begin(&self, job: &Job, data: &Dataset, context: &Context) {
        let rows =
            data.n_train().map_or("drawn afresh".into(), |n| format!("{} for training", words::count(n as u64, "row")));
        context.note(&format!("data      {}: {}, {rows}", data.name, words::count(data.dim as u64, "column")));
        let net = job.model.hidden.as_ref().map_or("that of the start".into(), |hidden| {
            hidden.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
                + " "
                + job.model.activation.map_or("", Activation::name)
        });
        let net = match job.model.net {
            None | Some(Net::Mlp) => net,
            Some(kind) => format!("{} {}", kind.name(), net.trim_end()),
        };
        if job.model.family == Family::Auto {
            let time = words::duration(job.optimiser.time.unwrap_or(Job::USUAL_TIME));
            context.note(&format!("training  the best of several models in {time}, seed {}", job.seed));
            return;
        }
        let (batch, lr) = (job.optimiser.batch.unwrap_or_default(), job.optimiser.lr.unwrap_or_default());
        if job.model.family.is_reference() {
            context.note(&format!("fitting   {}, seed {}", job.model.family.name(), job.seed));
            return;
        }
        let (objective, seed) = (job.objective.kind.name(), job.seed);
        let objective = job
            .model
            .family
            .discrete()
            .map_or_else(|| objective.to_owned(), |kind| format!("{} by {objective}", kind.name()));
        context.note(&format!("net       {net}"));
        context.note(&format!("training  {objective}, batches of {batch}, learning rate {lr}, seed {seed}"));
    }

    /// The step from which an interrupted run continues.
    pub fn goes_on(&self, checkpoint: &Checkpoint, context: &Context) {
        let (steps, time) = (checkpoint.steps(), words::duration(checkpoint.seconds()));
        context.note(&format!("resumed   after step {steps} ({time})"));
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A run's screen, and the folder that keeps its checkpoints.
pub struct Watcher<'a> {
    /// The progress bar.
    pub screen: Screen,
    /// The view that replaces it with `--watch`.
    pub live: Option<Live>,
    /// Where checkpoints go.
    pub folder: &'a Folder,
    /// For words about what went wrong.
    pub context: &'a Context,
    /// Checkpoints that were not written.
    pub missed: Option<Missed>,
}

/// Checkpoints that could not be written.
#[derive(Clone, Debug)]
pub struct Missed {
    count: usize,
    /// The step of the last of them, and why.
    step: usize,
    problem: String,
    /// None was written since.
    still: bool,
}

impl Missed {
    /// For the end of the run.
    pub fn words(&self) -> String {
        let Self { count, step, problem, .. } = self;
        match count {
            1 => format!("the checkpoint of step {step} was not written: {problem}"),
            _ => format!("{count} checkpoints were not written, the last of them of step {step}: {problem}"),
        }
    }
}

impl Watcher<'_> {
    /// A note above the bar; none where the view has the terminal.
    fn write_note(&self, words: &str) {
        if self.live.is_none() {
            self.screen.bar.suspend(|| self.context.note(&self.context.with_names(words)));
        }
    }
}

impl Watch for Watcher<'_> {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        if let Some(live) = &mut self.live {
            return live.see(progress);
        }
        if let Some(words) = progress.rollback {
            self.write_note(words);
        }
        self.screen.see(progress)
    }

    fn tries(&mut self, family: Family) {
        self.screen.tries(family);
    }

    fn stop_requested(&self) -> bool {
        interrupt::requested()
    }

    fn note(&mut self, words: &str) {
        // Behind the view over the whole terminal, words wait for nobody.
        self.write_note(words);
    }

    /// A disk that refuses a checkpoint does not end the run: the next one is tried when it is due.
    fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let step = checkpoint.steps();
        match self.folder.keep(checkpoint) {
            Err(error @ Error::Write { .. }) => {
                let problem = error.to_string();
                let (before, warned) = self.missed.as_ref().map_or((0, false), |missed| (missed.count, missed.still));
                if !warned {
                    self.note(&format!(
                        "warning: no checkpoint after step {step}: {problem}; the next one is tried again"
                    ));
                }
                self.missed = Some(Missed { count: before + 1, step, problem, still: true });
                Ok(())
            }
            Ok(()) => {
                if self.missed.as_ref().is_some_and(|missed| missed.still) {
                    self.note(&format!("checkpoints are written again, from step {step} on"));
                }
                if let Some(missed) = &mut self.missed {
                    missed.still = false;
                }
                Ok(())
            }
            other => other,
        }
    }
}

impl Screen {
    /// Draws the bar, and ends the run where a signal came.
    pub fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let record = progress.record;
        if self.criterion != Some(record.criterion) {
            (self.criterion, self.loss) = (Some(record.criterion), f64::NAN);
        }
        self.loss = if self.loss.is_nan() { record.loss } else { 0.98 * self.loss + 0.02 * record.loss };
        if let Some(v) = progress.validation {
            let nats = self.unit.nats;
            let (nll, few) = (words::estimate(v.nll / nats, v.se / nats, 3), few(&v.dominance, nats));
            self.held_out = format!(" · held-out {}{few}, NFE {:.0}", self.unit.score(&nll), v.nfe);
        }
        if !self.quiet && self.drawn.is_none_or(|at| at.elapsed() >= PAUSE) {
            self.drawn = Some(Instant::now());
            if let Some(family) = self.tried {
                // Its clock is not that of the whole run.
                self.bar.set_message(format!("{} · step {}{}", family.name(), record.step, self.held_out));
                self.bar.set_position((progress.done * TICKS as f64) as u64);
                return self.end();
            }
            let left = if progress.done > 0.0 { record.seconds * (1.0 / progress.done - 1.0) } else { 0.0 };
            let rate = record.step as f64 / record.seconds.max(1e-9);
            let loss = match record.criterion.is_nll() {
                true => self.unit.score(&words::number(self.loss / self.unit.nats, 4)),
                false => format!("loss {}", words::number(self.loss, 4)),
            };
            self.bar.set_message(format!(
                "step {} · {rate:.0}/s · {loss}{} · {} left",
                record.step,
                self.held_out,
                words::duration(left)
            ));
            self.bar.set_position((progress.done * TICKS as f64) as u64);
        }
        self.end()
    }

    /// Where a signal came, the end of the run.
    fn end(&self) -> ControlFlow<()> {
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Another model begins.
    fn tries(&mut self, family: Family) {
        (self.tried, self.criterion) = (Some(family), None);
        self.held_out.clear();
        self.bar.set_message(family.name());
    }
}
