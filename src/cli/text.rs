//! Numbers as people read them, and the few statistics that reports need.

pub use cnf::train::mean_and_se;

/// Mean and standard deviation of each column of `[n, d]` over its finite numbers.
pub fn moments(x: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let column = |j: usize| x.iter().skip(j).step_by(d).copied();
    (0..d).map(|j| cnf::stats::moments(column(j))).unzip()
}

/// `0.142 s`, `3.2 s`, `2 min 10 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    match (seconds, seconds.round() as u64) {
        (s, _) if s < 1.0 => format!("{s:.3} s"),
        (s, whole) if whole < 120 => format!("{s:.1} s"),
        (_, whole) if whole < 7200 => format!("{} min {} s", whole / 60, whole % 60),
        (_, whole) => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// `-1.23456 ± 0.00789`; without the error where there is none, as of a single number.
pub fn with_error(mean: f64, se: f64) -> String {
    if se.is_finite() { format!("{mean:.5} ± {se:.5}") } else { format!("{mean:.5}") }
}

/// Up to eight numbers, and how many more there are.
pub fn few(values: &[f64]) -> String {
    let shown = values.iter().take(8).map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(", ");
    if values.len() > 8 { format!("{shown}, … ({} in all)", values.len()) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_in_the_units_that_fit_it() {
        let told = [(0.1417, "0.142 s"), (3.21, "3.2 s"), (119.97, "2 min 0 s"), (130.2, "2 min 10 s")];
        for (seconds, words) in told.into_iter().chain([(3599.6, "60 min 0 s"), (7500.0, "2 h 5 min")]) {
            assert_eq!(duration(seconds), words);
        }
    }
}
