//! What is wrong with a comparison, with the place, before anything is drawn.

use super::{Cells, Comparison, Contender, ImageGrid};
use crate::error::{Error, Result};
use crate::plot::rows;

/// What is wrong with it.
pub(super) fn check(c: &Comparison) -> Result<()> {
    let d = c.dim;
    if rows(c.data, d, "the data")? == 0 {
        return Err(Error::invalid("the data of the comparison have no rows", ""));
    }
    finite(c.data, d, "the data hold")?;
    if c.contenders.is_empty() {
        return Err(Error::invalid("a comparison needs a model", "give at least one model"));
    }
    if let Some(ImageGrid { shape, columns }) = c.images {
        if columns == 0 {
            return Err(Error::invalid("a grid without images", "give at least one image in a row"));
        }
        if shape.len() != d {
            return Err(Error::Dimension { what: "an image".into(), expected: shape.len(), found: d });
        }
    }
    if let Some(cells) = c.cells {
        check_cells(cells, d)?;
    }
    if let Some(truth) = c.truth {
        density(truth, c.cells, "the true density")?;
    }
    if let Some(&(i, j)) = c.pairs.iter().find(|p| p.0 >= d || p.1 >= d) {
        return Err(Error::invalid(format!("columns {i} and {j} of data with {d} (from 0) cannot be scattered"), ""));
    }
    if c.entropy.is_some_and(|e| !e.is_finite()) {
        return Err(Error::invalid(format!("the true entropy is {:?}", c.entropy), "leave it out where it is unknown"));
    }
    c.contenders.iter().try_for_each(|m| check_one(m, c))
}

fn check_one(m: &Contender, c: &Comparison) -> Result<()> {
    let name = &m.name;
    if let Some(values) = &m.density {
        density(values, c.cells, &format!("the density of `{name}`"))?;
    }
    rows(&m.samples, c.dim, &format!("the samples of `{name}`"))?;
    finite(&m.samples, c.dim, &format!("the samples of `{name}` hold"))?;
    for (k, (seconds, nll)) in m.curve.iter().enumerate() {
        if !(seconds.is_finite() && *seconds >= 0.0 && is_score(*nll)) {
            return Err(refused(name, &format!("point {k} of its curve (from 0) is ({seconds}, {nll})")));
        }
    }
    if let Some(k) = m.curve.windows(2).position(|w| w[1].0 < w[0].0) {
        let problem = format!("its curve goes back in time from {} s to {} s", m.curve[k].0, m.curve[k + 1].0);
        return Err(refused(name, &problem));
    }
    if let Some((nll, se)) = m.end.filter(|(nll, se)| !(is_score(*nll) && se.is_finite() && *se >= 0.0)) {
        return Err(refused(name, &format!("its final score is {nll} ± {se}")));
    }
    match m.cost.iter().find(|p| !(p.cost.is_finite() && p.cost > 0.0 && is_score(p.nll))) {
        Some(p) => Err(refused(name, &format!("its work at `{}` costs {} for a score of {}", p.label, p.cost, p.nll))),
        None => Ok(()),
    }
}

fn refused(name: &str, problem: &str) -> Error {
    Error::invalid(
        format!("`{name}` cannot be drawn: {problem}"),
        "give finite ascending times from 0, costs above 0, and scores other than NaN",
    )
}

/// Whether it is a negative log-likelihood: finite, or infinite for rows outside the model's support.
fn is_score(nll: f64) -> bool {
    nll.is_finite() || nll == f64::INFINITY
}

fn check_cells(cells: Cells, d: usize) -> Result<()> {
    if d > 2 || (d == 1) != (cells.ny == 1) {
        return Err(Error::invalid(
            format!("densities on {} × {} cells do not belong to data of {d} columns", cells.nx, cells.ny),
            "give one row of cells for one column, several for two, none for more",
        ));
    }
    if !cells.nx.checked_mul(cells.ny).is_some_and(|n| (1..=1 << 28).contains(&n)) {
        return Err(Error::invalid(format!("{} × {} cells cannot be drawn", cells.nx, cells.ny), ""));
    }
    let good = |(low, high): (f64, f64)| low.is_finite() && high.is_finite() && low < high && (high - low).is_finite();
    if !good(cells.x) || (d == 2 && !good(cells.y)) {
        return Err(Error::invalid(
            format!("the cells over {:?} and {:?} have no area", cells.x, cells.y),
            "give each axis low < high",
        ));
    }
    Ok(())
}

fn density(values: &[f64], cells: Option<Cells>, what: &str) -> Result<()> {
    let Some(cells) = cells else {
        return Err(Error::invalid(format!("{what} has no grid of cells"), "give the comparison its cells"));
    };
    if values.len() != cells.nx * cells.ny {
        return Err(Error::invalid(
            format!("{what} has {} numbers for {} × {} cells", values.len(), cells.nx, cells.ny),
            "give one for each cell, row by row",
        ));
    }
    match values.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
        Some(k) => Err(Error::invalid(
            format!("{what} holds {} in row {}, column {} (from 0)", values[k], k / cells.nx, k % cells.nx),
            "give finite densities of at least 0",
        )),
        None => Ok(()),
    }
}

fn finite(points: &[f64], d: usize, what: &str) -> Result<()> {
    match points.iter().position(|v| !v.is_finite()) {
        Some(k) => Err(Error::invalid(
            format!("{what} {} in row {}, column {} (from 0)", points[k], k / d, k % d),
            "leave such rows out, and report their number",
        )),
        None => Ok(()),
    }
}
