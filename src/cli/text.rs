//! Numbers as people read them, and the few statistics that reports need.

pub use cnflow::train::mean_and_se;
use cnflow::words;

/// Mean and standard deviation of each column of `[n, d]` over its finite numbers.
pub fn moments(x: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let column = |j: usize| x.iter().skip(j).step_by(d).copied();
    (0..d).map(|j| cnflow::stats::moments(column(j))).unzip()
}

/// Up to eight numbers, and how many more there are.
pub fn few(values: &[f64]) -> String {
    let shown = values.iter().take(8).map(|v| words::number(*v, 4)).collect::<Vec<_>>().join(", ");
    if values.len() > 8 { format!("{shown}, … ({} in all)", values.len()) } else { shown }
}
