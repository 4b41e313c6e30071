//! Numbers as people read them, and the few statistics that reports need.

use cnf::flow::Cost;

/// Mean and standard error of the finite values; NaN of none.
pub fn mean_and_se(values: &[f64]) -> (f64, f64) {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let n = finite().count() as f64;
    let mean = finite().sum::<f64>() / n;
    let variance = finite().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Mean and standard deviation of each column of `[n, d]` over its finite rows.
pub fn moments(x: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let column = |j: usize| x.iter().skip(j).step_by(d).copied().filter(|v| v.is_finite());
    let count = |j| column(j).count() as f64;
    let mean: Vec<f64> = (0..d).map(|j| column(j).sum::<f64>() / count(j)).collect();
    let std = (0..d).map(|j| (column(j).map(|v| (v - mean[j]).powi(2)).sum::<f64>() / count(j)).sqrt()).collect();
    (mean, std)
}

/// The most evaluations that a row took.
pub fn nfe_max(cost: &Cost) -> u32 {
    cost.nfe.iter().copied().max().unwrap_or(0)
}

/// `142 ms`, `3.2 s`, `2 min 10 s`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.3} s", s),
        s if s < 120.0 => format!("{s:.1} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

/// Up to eight numbers, and how many more there are.
pub fn few(values: &[f64]) -> String {
    let shown = values.iter().take(8).map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(", ");
    if values.len() > 8 { format!("{shown}, … ({} in all)", values.len()) } else { shown }
}
