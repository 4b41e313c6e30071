//! The statistics that pictures need: ranges, quantiles, histograms, smoothing.

use super::panel::Grid;
use crate::stats::{quantile_of, sorted};

/// The quantiles at the parts `low` and `high` of the finite values, if there is one.
pub(super) fn quantiles(values: impl Iterator<Item = f64>, low: f64, high: f64) -> Option<(f64, f64)> {
    let kept = sorted(values);
    quantile_of(&kept, low).zip(quantile_of(&kept, high))
}

/// A range that can be divided: of finite ends, never empty, with a margin of `pad` of its length.
pub(super) fn padded(ends: Option<(f64, f64)>, pad: f64) -> (f64, f64) {
    let Some((low, high)) = ends else {
        return (-1.0, 1.0);
    };
    // Halves, lest the length overflow; beyond 1e300 nothing can be drawn that means something.
    let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
    let centre = 0.5 * low + 0.5 * high;
    let half = 0.5 * high - 0.5 * low;
    // A length of few numbers of an f64 cannot be divided.
    let half =
        if half > 1e-13 * centre.abs().max(1e-290) { half * (1.0 + 2.0 * pad) } else { (0.1 * centre.abs()).max(0.5) };
    (centre - half, centre + half)
}

/// A range this many times as long as the middle half of the values leaves that half less than two bins of forty.
const LONGEST: f64 = 20.0;
/// Such a range ends this many times the length of the middle half beyond it.
const BEYOND: f64 = 6.0;

/// The range in which to draw one column of `[n, d]` points: all but the outermost 0.05 % on each side, with a margin.
///
/// Where tails are so heavy that this would press the middle half of the points into two bins of forty, the range ends
/// six interquartile ranges beyond the quartiles: of Cauchy's distribution 4 % lie outside. A note in the picture gives
/// their number.
pub fn extent(points: &[f64], d: usize, column: usize) -> (f64, f64) {
    let kept = sorted(points.iter().skip(column).step_by(d.max(1)).copied());
    let at = |part: f64| quantile_of(&kept, part);
    let ends = at(5e-4).zip(at(1.0 - 5e-4));
    let Some((low, high)) = ends else { return padded(None, 0.06) };
    // Where half of the values are equal, as zeros may be, a wider part stands for the middle.
    let mut middle = [0.25, 0.1, 0.05, 0.01].into_iter().filter_map(|part| at(part).zip(at(1.0 - part)));
    let Some((first, last)) = middle.find(|(first, last)| last > first) else {
        return padded(ends, 0.06);
    };
    // Halves, lest lengths overflow.
    if 0.5 * high - 0.5 * low <= LONGEST * (0.5 * last - 0.5 * first) {
        return padded(ends, 0.06);
    }
    let more = BEYOND * (last - first);
    padded(Some((low.max(first - more), high.min(last + more))), 0.06)
}

/// How many of the rows of `[n, d]` points have one of these columns outside its range; those that are not finite
/// count.
pub(super) fn outside(points: &[f64], d: usize, columns: &[usize], ranges: &[(f64, f64)]) -> usize {
    let inside = |row: &[f64]| columns.iter().zip(ranges).all(|(c, r)| (r.0..=r.1).contains(&row[*c]));
    points.chunks_exact(d.max(1)).filter(|row| !inside(row)).count()
}

/// A note with the number of points of each kind outside the axes, where any are: name, how many, of how many.
pub(super) fn outside_note(kinds: &[(&str, usize, usize)]) -> Option<String> {
    let each: Vec<String> = kinds
        .iter()
        .filter(|(_, out, _)| *out > 0)
        .map(|(name, out, n)| match *name {
            "data" => format!("{out} of {n} rows of the data"),
            name => format!("{out} of {n} {name}").trim_end().to_owned(),
        })
        .collect();
    (!each.is_empty()).then(|| format!("outside the axes: {}", each.join(", ")))
}

/// How many bins serve `n` values: between 10 and 80, growing like the cube root.
///
/// Ref: Freedman & Diaconis (1981) for the growth.
pub(super) fn bins(n: usize) -> usize {
    ((3.0 * (n as f64).cbrt()) as usize).clamp(10, 80)
}

/// The density in each of `bins` equal bins over `range`, of all the finite values.
pub(super) fn histogram(values: impl Iterator<Item = f64>, range: (f64, f64), bins: usize) -> Vec<f64> {
    let width = (range.1 - range.0) / bins as f64;
    let mut counts = vec![0.0; bins];
    let mut n = 0.0f64;
    for value in values.filter(|v| v.is_finite()) {
        n += 1.0;
        let bin = ((value - range.0) / width).floor();
        if bin >= 0.0 && bin < bins as f64 {
            counts[bin as usize] += 1.0;
        }
    }
    counts.iter().map(|c| c / (n.max(1.0) * width)).collect()
}

/// The density of `[n, 2]` points in the cells of a grid.
pub(super) fn counted(points: &[f64], x: (f64, f64), y: (f64, f64), cells: usize) -> Grid {
    let mut values = vec![0.0; cells * cells];
    let (dx, dy) = ((x.1 - x.0) / cells as f64, (y.1 - y.0) / cells as f64);
    let mut n = 0.0f64;
    for p in points.chunks_exact(2).filter(|p| p[0].is_finite() && p[1].is_finite()) {
        n += 1.0;
        let (i, j) = (((p[0] - x.0) / dx).floor(), ((p[1] - y.0) / dy).floor());
        if i >= 0.0 && j >= 0.0 && i < cells as f64 && j < cells as f64 {
            values[j as usize * cells + i as usize] += 1.0;
        }
    }
    let unit = n.max(1.0) * dx * dy;
    values.iter_mut().for_each(|v| *v /= unit);
    Grid { x, y, nx: cells, ny: cells, values }
}

/// The mean over a window of `2 * reach + 1` around each point, of what is finite.
pub(super) fn smoothed(points: &[(f64, f64)], reach: usize) -> Vec<(f64, f64)> {
    let kept: Vec<_> = points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
    let mut sums = vec![0.0];
    for p in &kept {
        sums.push(sums[sums.len() - 1] + p.1);
    }
    (0..kept.len())
        .map(|i| {
            // Narrower at the start, where losses fall fast; cut short at the end, where they do not.
            let r = reach.min(i);
            let (from, to) = (i - r, (i + r + 1).min(kept.len()));
            (kept[i].0, (sums[to] - sums[from]) / (to - from) as f64)
        })
        .collect()
}

/// At most `2 * buckets` points that show the same to the eye: the least and the greatest of each bucket.
pub(super) fn thinned(points: &[(f64, f64)], buckets: usize) -> Vec<(f64, f64)> {
    if points.len() <= 2 * buckets {
        return points.to_vec();
    }
    let each = points.len().div_ceil(buckets);
    let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    points
        .chunks(each)
        .flat_map(|part| {
            let finite = || part.iter().filter(|p| p.1.is_finite());
            let ends = [finite().min_by(by), finite().max_by(by)];
            let mut ends: Vec<_> = ends.into_iter().flatten().copied().collect();
            ends.sort_by(|a, b| a.0.total_cmp(&b.0));
            ends
        })
        .collect()
}
