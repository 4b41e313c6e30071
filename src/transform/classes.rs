//! Columns of classes that a model gives out: a table of their joint probabilities, and a flow of the other columns given
//! them.
//!
//! log p(x, k) = log P(k) + log p(x | k). The table is complete for the discrete part, so that nothing is approximated
//! there; P are the shares of the training rows. A combination of classes that no row has has probability 0.
//!
//! A class has no latent: on the latent's side it stands for itself, and its column does not count in the normal density
//! there. Any other number in its column, such as one that is drawn from a normal, chooses a class by its share of the
//! normal, Φ(z), given the classes in the columns before. So draws of standard normals become draws of the model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bijection::check_rows;
use super::normal::cdf;
use super::{Bijection, Chain, Cost, Mapped, exact};
use crate::{Error, Result};

/// The most combinations of classes that a table has.
pub const MOST_CELLS: usize = 256;

/// A combination of classes, and how many rows have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The class of each column, in their order.
    pub classes: Vec<i64>,
    /// Rows, or the sum of their weights; above 0.
    #[serde(serialize_with = "exact::as_text", deserialize_with = "exact::deserialize")]
    pub weight: f64,
}

/// The columns of classes of a model's data, and their joint table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassTable {
    /// The places of these columns among those of the data, rising.
    pub places: Vec<usize>,
    /// The combinations that occur, in rising order.
    pub cells: Vec<Cell>,
}

impl ClassTable {
    /// The table of rows of classes `[n, places.len()]`, which count by their weights, or alike where there are none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than [`MOST_CELLS`] combinations, and for numbers that are not classes.
    pub fn fit(places: Vec<usize>, rows: &[f64], weights: &[f64]) -> Result<Self> {
        let m = places.len().max(1);
        let mut counts = std::collections::BTreeMap::new();
        for (i, row) in rows.chunks_exact(m).enumerate() {
            if let Some(value) = row.iter().find(|v| v.fract() != 0.0 || v.abs() >= 1e15) {
                let problem = format!("a class is {}, which is not a whole number", crate::words::exact(*value));
                return Err(Error::invalid(problem, "give classes as words or whole numbers"));
            }
            let weight = weights.get(i).copied().unwrap_or(1.0);
            if weight > 0.0 {
                *counts.entry(row.iter().map(|v| *v as i64).collect::<Vec<_>>()).or_insert(0.0) += weight;
            }
        }
        if counts.len() > MOST_CELLS {
            return Err(Error::invalid(
                format!(
                    "the columns of classes have {} combinations; their table has at most {MOST_CELLS}",
                    counts.len()
                ),
                "leave out some of them, or make some conditions: `data.condition`",
            ));
        }
        let cells = counts.into_iter().map(|(classes, weight)| Cell { classes, weight }).collect();
        Ok(Self { places, cells })
    }

    /// Whether it is a table of the `dim` columns of some data.
    pub(crate) fn is_sound(&self, dim: usize) -> bool {
        let rising = self.places.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = self.places.last().is_some_and(|last| *last < dim) && self.places.len() < dim;
        let cells = self
            .cells
            .iter()
            .all(|cell| cell.classes.len() == self.places.len() && cell.weight > 0.0 && cell.weight.is_finite());
        let differ = self.cells.windows(2).all(|pair| pair[0].classes < pair[1].classes);
        rising && inside && cells && differ && (1..=MOST_CELLS).contains(&self.cells.len())
    }

    /// log P of a combination of classes, −∞ where no row has it.
    pub fn log_prob(&self, classes: &[f64]) -> f64 {
        let is = |cell: &&Cell| cell.classes.iter().zip(classes).all(|(class, value)| *class as f64 == *value);
        let total: f64 = self.cells.iter().map(|cell| cell.weight).sum();
        self.cells.iter().find(is).map_or(f64::NEG_INFINITY, |cell| (cell.weight / total).ln())
    }

    /// The classes of the numbers on the latent's side, in place: a class stays, any other number chooses one. False where
    /// there is none.
    fn settle(&self, values: &mut [f64]) -> bool {
        let mut left: Vec<&Cell> = self.cells.iter().collect();
        for (k, value) in values.iter_mut().enumerate() {
            if !value.is_finite() {
                return false;
            }
            if !left.iter().any(|cell| cell.classes[k] as f64 == *value) {
                let total: f64 = left.iter().map(|cell| cell.weight).sum();
                let (share, mut sum) = (cdf(*value) * total, 0.0);
                // In the order of the classes of this column.
                let mut order: Vec<&Cell> = left.clone();
                order.sort_by_key(|cell| cell.classes[k]);
                let chosen = order.iter().find(|cell| {
                    sum += cell.weight;
                    share < sum
                });
                let Some(cell) = chosen.or(order.last()) else { return false };
                *value = cell.classes[k] as f64;
            }
            left.retain(|cell| cell.classes[k] as f64 == *value);
        }
        !left.is_empty()
    }

    /// The columns of classes and those in the places `inner` of the others, rising.
    pub(crate) fn and_apart(&self, inner: &[usize]) -> Vec<usize> {
        let mut others = (0..).filter(|j| self.places.binary_search(j).is_err());
        let mut all = self.places.clone();
        let mut next = 0;
        for j in inner {
            // The columns without classes are counted through.
            all.extend(others.nth(j - next));
            next = j + 1;
        }
        all.sort_unstable();
        all
    }

    /// Rows of the data `[n, d + m]` cut into the other columns `[n, d]` and the classes `[n, m]`.
    pub fn cut(&self, rows: &[f64], dim: usize) -> (Vec<f64>, Vec<f64>) {
        let (mut others, mut classes) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows.chunks_exact(dim) {
            for (j, value) in row.iter().enumerate() {
                if self.places.binary_search(&j).is_ok() { classes.push(*value) } else { others.push(*value) }
            }
        }
        (others, classes)
    }
}

/// A flow under classes as a flow of the classes too: `inner` has them as its conditions.
#[derive(Clone)]
pub(crate) struct WithClasses {
    table: Arc<ClassTable>,
    inner: Chain,
    /// The columns of classes, and those that `inner` has apart, rising.
    apart: Vec<usize>,
}

impl WithClasses {
    /// The flow `inner` under the classes of a table.
    pub fn new(table: Arc<ClassTable>, inner: Chain) -> Self {
        let apart = table.and_apart(inner.apart());
        Self { table, inner, apart }
    }

    /// Takes rows through `inner`, in which a row without a class (`found` false) is one of the others and has no result.
    fn through(&self, rows: &mut Mapped, classes: &[f64], found: &[bool], to_data: bool) -> Result<()> {
        let (dim, m) = (self.dim(), self.table.places.len());
        let (mut others, _) = self.table.cut(&rows.y, dim);
        let mut given = classes.to_vec();
        let d = dim - m;
        let Some(stand_in) = found.iter().position(|found| *found) else {
            rows.y.fill(f64::NAN);
            return Ok(());
        };
        let (row, class) = (others[stand_in * d..][..d].to_vec(), given[stand_in * m..][..m].to_vec());
        for i in (0..found.len()).filter(|i| !found[*i]) {
            others[i * d..(i + 1) * d].copy_from_slice(&row);
            given[i * m..(i + 1) * m].copy_from_slice(&class);
        }
        let mut inner = if rows.with_logdet() { Mapped::new(others, d) } else { Mapped::points(others) };
        match to_data {
            true => self.inner.forward(&mut inner, &given)?,
            false => self.inner.inverse(&mut inner, &given)?,
        }
        rows.add_logdet(inner.logdet.iter().copied());
        for (i, row) in rows.y.chunks_exact_mut(dim).enumerate() {
            let (mut own, mut of_class) = (inner.y[i * d..(i + 1) * d].iter(), classes[i * m..(i + 1) * m].iter());
            for (j, slot) in row.iter_mut().enumerate() {
                let next = if self.table.places.binary_search(&j).is_ok() { of_class.next() } else { own.next() };
                *slot = next.copied().filter(|_| found[i]).unwrap_or(f64::NAN);
            }
            // A row that failed has no class either.
            if inner.y[i * d..(i + 1) * d].iter().any(|v| v.is_nan()) {
                row.fill(f64::NAN);
            }
        }
        inner.cost.failures.retain(|(row, _)| found[*row]);
        inner.cost.outside.retain(|row| found[*row]);
        rows.cost.merge(inner.cost);
        Ok(())
    }
}

impl Bijection for WithClasses {
    fn dim(&self) -> usize {
        self.inner.dim() + self.table.places.len()
    }

    fn apart(&self) -> &[usize] {
        &self.apart
    }

    fn forward(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let (dim, m) = (self.dim(), self.table.places.len());
        check_rows(&rows.y, dim, condition, 0)?;
        let (_, mut classes) = self.table.cut(&rows.y, dim);
        let found: Vec<bool> = classes.chunks_exact_mut(m).map(|classes| self.table.settle(classes)).collect();
        let log_p: Vec<f64> = classes.chunks_exact(m).map(|classes| self.table.log_prob(classes)).collect();
        self.through(rows, &classes, &found, true)?;
        rows.add_logdet(log_p.iter().zip(&found).map(|(log_p, found)| if *found { -log_p } else { f64::NAN }));
        Ok(())
    }

    /// Rows with a class, or a combination of them, that the table does not have are outside the support.
    fn inverse(&self, rows: &mut Mapped, condition: &[f64]) -> Result<()> {
        let (dim, m) = (self.dim(), self.table.places.len());
        check_rows(&rows.y, dim, condition, 0)?;
        let (_, classes) = self.table.cut(&rows.y, dim);
        let log_p: Vec<f64> = classes.chunks_exact(m).map(|classes| self.table.log_prob(classes)).collect();
        let found: Vec<bool> = log_p.iter().map(|log_p| log_p.is_finite()).collect();
        let missing: Vec<bool> = classes.chunks_exact(m).map(|row| row.iter().any(|v| v.is_nan())).collect();
        self.through(rows, &classes, &found, false)?;
        rows.add_logdet(log_p);
        let outside = (0..found.len()).filter(|i| !found[*i] && !missing[*i]).collect();
        rows.cost.merge(Cost { outside, ..Cost::default() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_stands_for_itself_and_other_numbers_choose_by_their_share() {
        // (0, 5) in 1 of 8, (0, 7) in 3, (2, 5) in 4.
        let rows = [0.0, 5.0, 0.0, 7.0, 2.0, 5.0];
        let table = ClassTable::fit(vec![0, 2], &rows, &[1.0, 3.0, 4.0]).unwrap();
        assert!(table.is_sound(3) && !table.is_sound(2));
        assert!((table.log_prob(&[0.0, 7.0]) - 0.375f64.ln()).abs() < 1e-15);
        assert_eq!(table.log_prob(&[2.0, 7.0]), f64::NEG_INFINITY);
        // Columns 0 and 2 are classes: the others are 1, 3, 4, …
        assert_eq!(table.and_apart(&[]), [0, 2]);
        assert_eq!(table.and_apart(&[0, 2, 3]), [0, 1, 2, 4, 5]);
        let settled = |values: [f64; 2]| {
            let mut values = values;
            table.settle(&mut values).then_some(values)
        };
        assert_eq!(settled([0.0, 5.0]), Some([0.0, 5.0]));
        // Below the median of a normal is half of the rows, of which a quarter have 5.
        assert_eq!(settled([-0.01, -0.7]), Some([0.0, 5.0]));
        assert_eq!(settled([-0.01, -0.6]), Some([0.0, 7.0]));
        assert_eq!(settled([0.01, 3.0]), Some([2.0, 5.0]));
        assert_eq!(settled([40.0, -40.0]), Some([2.0, 5.0]));
        assert_eq!(settled([f64::NAN, 0.5]), None);
        let many: Vec<f64> = (0..257).map(f64::from).collect();
        assert!(ClassTable::fit(vec![0], &many, &[]).unwrap_err().to_string().contains("257 combinations"));
        assert!(ClassTable::fit(vec![0], &[0.5], &[]).is_err());
    }
}
