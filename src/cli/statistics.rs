//! Solve statistics of all rows, in the words of a report.

use std::path::Path;

use cnflow::apply::{OutOfRange, SolveStatistics};
use cnflow::words;

use super::Context;

/// The number of rows behind a mean, in words; `one` is "row" or "point".
pub fn among(statistics: &SolveStatistics, one: &str) -> String {
    let SolveStatistics { n, missing, failed, outside, overflowed, .. } = statistics;
    let mut words = format!("over {}", words::count(*n, one));
    if statistics.inside() < *n {
        words = format!("over {} of {}", statistics.inside(), words::count(*n, one));
    }
    if *missing > 0 {
        words += &format!("; {missing} with a missing cell");
    }
    if *outside > 0 {
        words += &format!("; {outside} outside the support, where log p is -inf");
    }
    if *overflowed > 0 {
        words += &format!("; {overflowed} without a finite log p");
    }
    if *failed > 0 {
        words += &format!("; {failed} failed");
    }
    words
}

/// Failed and stiff rows, for the text report; empty if there are none.
pub fn troubles(statistics: &SolveStatistics) -> String {
    let SolveStatistics { n, missing, marginal, failed, unsettled, stiff, outside, .. } = statistics;
    let mut words = String::new();
    if *marginal > 0 {
        let rows = words::count(*n, "row");
        words += &format!("marginal: {marginal} of {rows} with a missing cell; log p of the cells that are there\n");
    }
    if *missing > 0 {
        words += &format!("missing: {missing} of {} with a missing cell; NaN in the files\n", words::count(*n, "row"));
    }
    if *failed > 0 {
        words += &format!("failed: {failed} of {}; NaN in the files\n", words::count(*n, "row"));
    }
    if *unsettled > 0 {
        words += &format!(
            "unsettled: the log-density of {unsettled} of {} missed its tolerance by its own estimate\n",
            words::count(*n, "row")
        );
    }
    if *outside > 0 {
        words +=
            &format!("outside: {outside} of {} outside the support; log p is -inf there\n", words::count(*n, "row"));
    }
    if stiff * 2 > statistics.computed() {
        words += &format!("stiff: {stiff} of {}; `--solver bdf` may be cheaper\n", words::count(*n, "row"));
    }
    words
}

/// Rows with a missing cell, as a note on stderr.
pub fn note_missing(statistics: &SolveStatistics, context: &Context) {
    let SolveStatistics { n, missing, marginal, .. } = statistics;
    if *marginal > 0 {
        let (have, it) = if *marginal == 1 { ("has", "it has") } else { ("have", "they have") };
        let rows = words::count(*n, "row");
        context.note(&format!("{marginal} of {rows} {have} a missing cell: log p is that of the cells that {it}"));
    }
    if *missing > 0 {
        let have = if *missing == 1 { "has" } else { "have" };
        context.note(&format!("{missing} of {} {have} a missing cell: NaN in the results", words::count(*n, "row")));
    }
}

/// Rows of a file that were left out because they have a missing cell, as a note on stderr.
pub fn note_left_out(path: &Path, missing: usize, context: &Context) {
    if missing > 0 {
        let (rows, are) = (words::count(missing as u64, "row"), if missing == 1 { "is" } else { "are" });
        context.note(&format!("`{}`: {rows} with a missing cell {are} left out", path.display()));
    }
}

/// Conditions far outside the range of the training, in a line; empty where all are inside. With `--json` it is a note
/// too.
pub fn out_of_range(conditions: &OutOfRange, context: &Context) -> String {
    let Some(words) = conditions.words() else { return String::new() };
    if context.json {
        context.note(&words);
    }
    words + "\n"
}
