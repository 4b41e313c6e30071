//! How the parts of rows sum up: to their total, to it but for rounding, or to something else.

use super::{Simplex, Simplexes};

/// Rows whose sum is off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Off {
    /// How many.
    pub rows: u64,
    /// The one that is farthest off, with its sum and the total.
    pub farthest: Option<(u64, f64, f64)>,
}

impl Off {
    fn add(&mut self, row: u64, sum: f64, total: f64) {
        self.rows += 1;
        let off = |sum: f64, total: f64| (sum / total - 1.0).abs();
        if self.farthest.is_none_or(|(_, other, of)| off(sum, total) > off(other, of)) {
            self.farthest = Some((row, sum, total));
        }
    }
}

/// How the parts of many rows sum up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closing {
    /// Rows seen.
    pub n: u64,
    /// Rows with a part that is not above 0, and the first of them.
    pub without: (u64, Option<u64>),
    /// Rows that are closed: their sum is off by more than round-off, and by less than what is refused.
    pub closed: Off,
    /// Rows whose sum is off by more.
    pub beyond: Off,
}

impl Closing {
    /// A sum that is off by less, in parts of the total, is that of numbers of 32 bits.
    const ROUND_OFF: f64 = 1e-6;

    /// Rows `[n, d]` that come after `first` others. Those with a missing cell are passed over.
    pub fn see(&mut self, parts: &Simplexes, first: u64, rows: &[f64]) {
        for (i, row) in (first..).zip(rows.chunks_exact(parts.dim())) {
            self.n += 1;
            if parts.all().iter().any(|one| one.places.iter().any(|j| row[*j].is_nan())) {
                continue;
            }
            let sums: Option<Vec<f64>> = parts.all().iter().map(|one| one.sum(row)).collect();
            let Some(sums) = sums else {
                self.without = (self.without.0 + 1, self.without.1.or(Some(i)));
                continue;
            };
            let worst = parts.all().iter().zip(sums).max_by(|(a, x), (b, y)| a.off(*x).total_cmp(&b.off(*y)));
            let Some((one, sum)) = worst else { continue };
            match one.off(sum) {
                off if off > Simplex::LOOSEST => self.beyond.add(i, sum, one.total),
                off if off > Self::ROUND_OFF => self.closed.add(i, sum, one.total),
                _ => {}
            }
        }
    }

    /// The rows that were closed, in a sentence; nothing where none were.
    pub fn words(&self) -> Option<String> {
        let (row, sum, total) = self.closed.farthest?;
        let [sum, total] = [sum, total].map(crate::words::rounded);
        Some(format!(
            "{} of {} scaled to the total of the parts: the sum farthest off is {sum} for {total}, in row {row} (counted from \
             0)",
            crate::words::count(self.closed.rows, "row"),
            self.n
        ))
    }
}
