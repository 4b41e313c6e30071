//! A bar on stderr that follows how far trajectories are.
//!
//! It moves within a block too: by the parts of the ways that are gone, and where divergences take most of the time, as
//! exact traces of images do, by those that are computed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use cnflow::continuous::Work;
use cnflow::words;
use indicatif::{ProgressBar, ProgressStyle};

use super::Context;

const BAR: &str = "{msg} [{bar:32}] {prefix}";
/// Where the number of rows is unknown.
const COUNT: &str = "{msg} {spinner} {prefix}";
/// Parts of a bar.
const PARTS: u64 = 10_000;
/// What ends sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(100);

/// Runs `work` on `n` rows, or on an unknown number; it tells how far its trajectories are, `each` a row, in what it is
/// given.
pub fn watched<R>(
    words: &'static str,
    n: Option<u64>,
    each: u64,
    context: &Context,
    work: impl FnOnce(Arc<Work>) -> R,
) -> R {
    let done = Arc::new(Work::default());
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

fn follow(words: &'static str, n: Option<u64>, each: u64, seen: &Work, ended: &Receiver<()>) {
    let begun = Instant::now();
    let goes_on = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    if !goes_on(PATIENCE) {
        return;
    }
    let (bar, template) = n.map_or_else(|| (ProgressBar::new_spinner(), COUNT), |_| (ProgressBar::new(PARTS), BAR));
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = bar.with_style(style).with_message(words);
    while goes_on(TICK) {
        let done = seen.done() / each as f64;
        if let Some(n) = n {
            bar.set_position((PARTS as f64 * (done / n.max(1) as f64).min(1.0)) as u64);
        }
        bar.set_prefix(figures(done, n, begun.elapsed().as_secs_f64()));
        bar.tick();
    }
    bar.finish_and_clear();
}

/// Rows, their rate, and the time that is left at that rate.
fn figures(done: f64, n: Option<u64>, seconds: f64) -> String {
    let rate = done / seconds;
    let rows = match n {
        // Of few rows the parts are seen too.
        Some(n) if n < 100 => format!("{done:.2}/{n}"),
        Some(n) => format!("{:.0}/{n}", done.floor()),
        None => format!("{:.0}", done.floor()),
    };
    let pace = match rate {
        r if r >= 10.0 => format!("{r:.0}/s"),
        r if r >= 0.1 => format!("{r:.2}/s"),
        r => format!("{:.2}/min", 60.0 * r),
    };
    match n {
        Some(n) if done > 0.0 => {
            format!("{rows}  {pace}  {} left", words::duration((n as f64 - done).max(0.0) / rate))
        }
        Some(_) => rows,
        None => format!("{rows}  {pace}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_follows_from_the_part_that_is_done() {
        // A quarter of a row of three in 5 s: 11 quarters are left.
        assert_eq!(figures(0.25, Some(3), 5.0), "0.25/3  3.00/min  55.0 s left");
        assert_eq!(figures(150.7, Some(1000), 10.0), format!("150/1000  15/s  {} left", words::duration(56.357)));
        assert_eq!(figures(0.0, Some(3), 5.0), "0.00/3");
        assert_eq!(figures(20.0, None, 10.0), "20  2.00/s");
        assert_eq!(figures(3.0, Some(3), 10.0), "3.00/3  0.30/s  0.000 s left");
    }
}
