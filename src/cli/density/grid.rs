//! The grid of a density: its ranges and its cells.

use anyhow::Result;
use cnflow::Error;
use cnflow::plot::Grid;

/// The ranges of `--extent` for `d` columns.
pub fn given_extent(edges: &[f64], d: usize) -> Result<Vec<(f64, f64)>> {
    let pairs: Vec<(f64, f64)> = edges.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let sound = |(low, high): &(f64, f64)| low < high && (high - low).is_finite();
    if edges.len() != 2 * d || !pairs.iter().all(sound) {
        let wanted = if d == 1 { "X0,X1" } else { "X0,X1,Y0,Y1" };
        let problem = format!("--extent {edges:?} is not a range for dimension {d}");
        return Err(Error::invalid(problem, format!("give {wanted}, each low end before its high end")).into());
    }
    Ok(pairs)
}

/// From the least to the greatest, and a fifth of that on each side.
pub fn around(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    // Samples that are equal, or nearly: a range that holds some numbers of an f64.
    let least = if low == 0.0 && high == 0.0 { 1e-12 } else { 1e-13 * low.abs().max(high.abs()) };
    let margin = (0.2 * (high - low)).max(least);
    (low - margin, high + margin)
}

/// A grid without values.
pub fn cells(edges: Vec<(f64, f64)>, d: usize, side: usize) -> Grid {
    let y = edges.get(1).copied().unwrap_or((0.0, 1.0));
    Grid { x: edges[0], y, nx: side, ny: if d == 1 { 1 } else { side }, values: Vec::new() }
}

/// The centres of its cells, `[nx · ny, d]`.
pub fn centres(grid: &Grid) -> Vec<f64> {
    Grid::centres(grid.x, grid.y, grid.nx, grid.ny)
}

/// Its ranges, for people.
pub fn edges_of(grid: &Grid) -> String {
    // As many digits as tell the ends apart by a thousandth of their distance.
    let range = |(low, high): (f64, f64)| {
        let (far, near) = (low.abs().max(high.abs()).log10().floor(), (high - low).log10().floor());
        if far < 15.0 && near > -10.0 {
            let digits = (3.0 - near).clamp(3.0, 12.0) as usize;
            return format!("[{low:.digits$}, {high:.digits$}]");
        }
        let digits = (far - near + 3.0).clamp(3.0, 16.0) as usize;
        format!("[{low:.digits$e}, {high:.digits$e}]")
    };
    if grid.ny == 1 { range(grid.x) } else { format!("{} × {}", range(grid.x), range(grid.y)) }
}
