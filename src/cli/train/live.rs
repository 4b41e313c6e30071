//! A running training over the whole terminal: curves, and in two dimensions the density as it forms.
//!
//! [`LiveView`] is the picture. [`Live`] owns the terminal: it draws on stderr, in the alternate screen, and gives the
//! terminal back when it is dropped (at the end, on an error, or when the stack unwinds after a panic) and in the
//! handler of Ctrl-C before the process exits.
//!
//! Drawing and densities take a bounded share of the time, however fast the steps are: whatever they took is paid off
//! with a multiple of it before the next.

mod view;

use std::io::{IsTerminal as _, Stderr};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Result;
use cnflow::Error;
use cnflow::model::Model;
use cnflow::plot::Grid;
use cnflow::train::{Job, Progress, StepRecord, Watch};
use cnflow::velocity::Precision;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::{cursor, execute, terminal};

pub use self::view::few;
use self::view::{HeldOut, LiveView, Now};
use crate::cli::images::ScoreUnit;
use crate::cli::interrupt;

/// Between two pictures.
const PAUSE: Duration = Duration::from_millis(100);
/// The view may take one part of the time in so many; a density one in twice as many.
const SHARE: u32 = 20;
/// Cells a side of the density.
const CELLS: usize = 48;

/// Gives the terminal back; harmless where it was never taken.
fn leave() {
    let _ = terminal::disable_raw_mode();
    // Where stderr is gone nobody is left to be shown anything.
    let _ = execute!(std::io::stderr(), terminal::LeaveAlternateScreen, cursor::Show);
}

/// What makes the model of the current weights.
type Weights<'a> = &'a dyn Fn() -> cnflow::Result<Model>;

/// The terminal, taken for the time of the training.
pub struct Live {
    view: LiveView,
    terminal: Terminal<CrosstermBackend<Stderr>>,
    drawn: Option<Instant>,
    /// Not before then is another density computed.
    next_density: Instant,
    job: Job,
    /// The ranges of the density's axes.
    ranges: Option<[(f64, f64); 2]>,
}

impl Live {
    /// Takes the terminal. `ranges` are those of the data's two columns, where there are two.
    ///
    /// # Errors
    /// [`Error::Invalid`] where stderr is not a terminal, or one that cannot be drawn on.
    pub fn start(job: &Job, title: String, entropy: Option<f64>, ranges: Option<[(f64, f64); 2]>) -> Result<Self> {
        if !std::io::stderr().is_terminal() {
            let problem = "--watch needs a terminal, and stderr is not one";
            return Err(Error::invalid(problem, "leave out --watch, or do not redirect stderr").into());
        }
        let failed = |e: std::io::Error| {
            leave();
            Error::invalid(format!("the terminal cannot be drawn on: {e}"), "leave out --watch")
        };
        // The screen is left by whoever unwinds or interrupts; raw mode is not entered, so that Ctrl-C stays a signal.
        interrupt::before_exit(leave);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            before(panic);
        }));
        execute!(std::io::stderr(), terminal::EnterAlternateScreen, cursor::Hide).map_err(failed)?;
        let terminal = Terminal::new(CrosstermBackend::new(std::io::stderr())).map_err(failed)?;
        Ok(Self {
            view: LiveView::new(title, entropy, ranges.is_some()).scored_in(ScoreUnit::of(job.data.image)),
            terminal,
            drawn: None,
            next_density: Instant::now(),
            job: job.clone(),
            ranges,
        })
    }

    /// The density of the weights as they are now on a coarse grid, if one is due, and when the next may come.
    fn density(&mut self, model: Weights<'_>, step: usize) {
        let Some(ranges) = self.ranges.filter(|_| Instant::now() >= self.next_density) else { return };
        let clock = Instant::now();
        // Weights that have no density yet leave the last one standing.
        if let Ok(grid) = model().and_then(|model| coarse(&model, ranges, self.job.model.precision)) {
            self.view.set_density(grid, step);
        }
        self.next_density = Instant::now() + (2 * SHARE * clock.elapsed()).max(Duration::from_millis(500));
    }

    /// A step was done; `model` makes the averaged model of that moment, where the trainer lends one.
    fn moment(&mut self, now: Now, model: Option<Weights<'_>>) {
        self.view.update(now);
        if let Some(model) = model {
            self.density(model, now.step);
        }
        if self.drawn.is_none_or(|at| Instant::now() >= at) {
            let clock = Instant::now();
            // A terminal that has gone away does not end the training.
            let _ = self.terminal.draw(|frame| self.view.draw(frame));
            self.drawn = Some(Instant::now() + (SHARE * clock.elapsed()).max(PAUSE));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        leave();
    }
}

/// p on a grid of [`CELLS`]² cells, as a part of its largest.
fn coarse(model: &Model, [x, y]: [(f64, f64); 2], precision: Precision) -> cnflow::Result<Grid> {
    let centres = Grid::centres(x, y, CELLS, CELLS);
    let mut logs = model.bind(precision)?.of_real_numbers()?.log_prob(&centres, &[])?.log_prob;
    // Only what is larger than what shows: beside the largest, for a density of columns of 1e±200 is not a number.
    let most = logs.iter().copied().filter(|l| l.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    if most.is_finite() {
        logs.iter_mut().for_each(|l| *l -= most);
    }
    Grid::from_log(x, y, CELLS, CELLS, &logs)
}

impl Watch for Live {
    fn see(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        let record = progress.record;
        let held_out =
            progress.validation.map(|v| HeldOut { nll: v.nll, se: v.se, nfe: Some(v.nfe), dominance: v.dominance });
        let StepRecord { step, seconds, loss, lr, .. } = record;
        self.moment(Now { step, seconds, loss, lr, done: progress.done, held_out }, Some(progress.model));
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
