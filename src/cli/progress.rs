//! A bar on stderr that follows a count of finished trajectories.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Context;

const BAR: &str = "{msg} [{bar:32}] {human_pos}/{human_len}  {per_sec}  {eta} left";
/// Where the number of rows is unknown.
const COUNT: &str = "{msg} {spinner} {human_pos}  {per_sec}";
/// What ends sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(100);

/// Runs `work` on `n` rows, or on an unknown number; it counts the finished trajectories, `each` a row, in the
/// counter it is given.
pub fn watched<R>(
    words: &'static str,
    n: Option<u64>,
    each: u64,
    context: &Context,
    work: impl FnOnce(Arc<AtomicUsize>) -> R,
) -> R {
    let done = Arc::new(AtomicUsize::new(0));
    if context.quiet {
        return work(done);
    }
    std::thread::scope(|scope| {
        let (end, ended) = channel();
        let seen = done.clone();
        scope.spawn(move || follow(words, n, each, &seen, &ended));
        let result = work(done);
        drop(end);
        result
    })
}

fn follow(words: &'static str, n: Option<u64>, each: u64, seen: &AtomicUsize, ended: &Receiver<()>) {
    let goes_on = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    if !goes_on(PATIENCE) {
        return;
    }
    let (bar, template) = n.map_or_else(|| (ProgressBar::new_spinner(), COUNT), |n| (ProgressBar::new(n), BAR));
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = bar.with_style(style).with_message(words).with_elapsed(PATIENCE);
    while goes_on(TICK) {
        bar.set_position(seen.load(Ordering::Relaxed) as u64 / each);
    }
    bar.finish_and_clear();
}
