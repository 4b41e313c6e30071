//! One column of a table: masses on bins of equal width, tails at both ends, and its distribution function.
//!
//! Inside a bin the distribution function is a straight line, beyond the ends F(x) = s e^(−(low − x)/c), s the share
//! and c the scale of the tail. Sums are kept from either end and the smaller one is used, as a logarithm, so that z =
//! Φ⁻¹(F) is finite and invertible however far out x is. A half-normal tail was refused: a point k scales out would
//! cost k²/2 nats, so that one outlier would decide a held-out score; an exponential tail costs k, and inverts in
//! closed form.

use std::f64::consts::LN_2;

use super::Tail;
use crate::transform::normal::{log_cdf, quantile_of_log};
use crate::{Error, Result};

/// Where a number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the lower tail.
    Below,
    /// In a bin: the first number is part of it, the last is that of the next; the last bin has both.
    Bin(usize),
    /// In the upper tail.
    Above,
}

/// The bins of a column, and its tails.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    /// n + 1 of them, rising.
    edges: Vec<f64>,
    tails: [Tail; 2],
}

impl Axis {
    /// `bins` bins of equal width over `range`, and nothing beyond.
    ///
    /// # Errors
    /// [`Error::Invalid`] where bins are none, or too narrow for an f64 to lie strictly inside.
    pub(crate) fn new([low, high]: [f64; 2], bins: usize) -> Result<Self> {
        let hint = "give finite bounds, LOW < HIGH, and bins wide enough for an f64 to lie inside each";
        let share = |i: usize| i as f64 / bins as f64;
        let edges: Vec<f64> = (0..=bins).map(|i| low * (1.0 - share(i)) + high * share(i)).collect();
        let apart = |pair: &[f64]| pair[0].next_up() < pair[1].next_down();
        if bins == 0 || !(high - low).is_finite() || !edges.windows(2).all(apart) {
            return Err(Error::invalid(
                format!(
                    "{bins} bins over [{}, {}] are not a column of a table",
                    crate::words::exact(low),
                    crate::words::exact(high)
                ),
                hint,
            ));
        }
        Ok(Self { edges, tails: [Tail::NONE; 2] })
    }

    /// With tails (below, above); they are sound.
    pub(crate) fn with_tails(self, tails: [Tail; 2]) -> Self {
        Self { tails, ..self }
    }

    /// The lower and the upper tail.
    pub(crate) fn tails(&self) -> [Tail; 2] {
        self.tails
    }

    fn bins(&self) -> usize {
        self.edges.len() - 1
    }

    fn ends(&self) -> (f64, f64) {
        (self.edges[0], self.edges[self.bins()])
    }

    /// Where `x` lies; it is not NaN.
    pub(crate) fn place(&self, x: f64) -> Place {
        let (low, high) = self.ends();
        if x < low {
            Place::Below
        } else if x > high {
            Place::Above
        } else {
            Place::Bin(self.edges.partition_point(|edge| *edge <= x).clamp(1, self.bins()) - 1)
        }
    }

    /// The two ends of a bin.
    fn bin(&self, i: usize) -> (f64, f64) {
        (self.edges[i], self.edges[i + 1])
    }
}

/// A number's place in a column's distribution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// Where it lies.
    pub(crate) place: Place,
    /// Its log-density.
    pub(crate) log_p: f64,
    /// ln F or ln (1 − F), whichever is less.
    log_tail: f64,
    /// Whether it is 1 − F.
    upper: bool,
}

impl Spot {
    /// From ln F (or ln (1 − F) if `upper`), which may be that of the greater side.
    fn in_tail(place: Place, log_p: f64, log_tail: f64, upper: bool) -> Self {
        if log_tail <= -LN_2 {
            return Self { place, log_p, log_tail, upper };
        }
        Self { place, log_p, log_tail: (-log_tail.exp_m1()).ln(), upper: !upper }
    }

    /// Φ⁻¹(F).
    pub(crate) fn z(&self) -> f64 {
        let z = quantile_of_log(self.log_tail);
        if self.upper { -z } else { z }
    }
}

/// A distribution on an [`Axis`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Law {
    /// `[n]`, add up to 1 with the shares of the tails.
    mass: Vec<f64>,
    /// `[n + 1]`: F at the edges.
    below: Vec<f64>,
    /// `[n + 1]`: 1 − F at the edges.
    above: Vec<f64>,
    /// The first and the last bin with any mass.
    ends: (usize, usize),
}

impl Law {
    /// Inside proportional to the `weights`, one a bin, all or none of them 0; what is over goes to the tails.
    pub(crate) fn new(weights: &[f64], [lower, upper]: [Tail; 2]) -> Self {
        let total: f64 = weights.iter().sum();
        let inside = 1.0 - lower.share - upper.share;
        let mass: Vec<f64> = weights.iter().map(|w| if *w > 0.0 { w / total * inside } else { 0.0 }).collect();
        let mut below = vec![lower.share; mass.len() + 1];
        let mut above = vec![upper.share; mass.len() + 1];
        for i in 0..mass.len() {
            below[i + 1] = below[i] + mass[i];
        }
        for i in (0..mass.len()).rev() {
            above[i] = above[i + 1] + mass[i];
        }
        let full = |m: &f64| *m > 0.0;
        let ends = (mass.iter().position(full).unwrap_or(0), mass.iter().rposition(full).unwrap_or(0));
        Self { mass, below, above, ends }
    }

    /// The place of `x`, which is not NaN; none outside the support, whose ends are not part of it.
    pub(crate) fn spot(&self, axis: &Axis, x: f64) -> Option<Spot> {
        let (place, [lower, upper], (low, high)) = (axis.place(x), axis.tails, axis.ends());
        let spot = match place {
            Place::Below => {
                let log_below = lower.share.ln() - (low - x) / lower.scale;
                Spot::in_tail(place, log_below - lower.scale.ln(), log_below, false)
            }
            Place::Above => {
                let log_above = upper.share.ln() - (x - high) / upper.scale;
                Spot::in_tail(place, log_above - upper.scale.ln(), log_above, true)
            }
            Place::Bin(i) => {
                let ((from, to), mass) = (axis.bin(i), self.mass[i]);
                let below = self.below[i] + mass * ((x - from) / (to - from));
                let above = self.above[i + 1] + mass * ((to - x) / (to - from));
                let log_tail = below.min(above).ln();
                Spot { place, log_p: mass.ln() - (to - from).ln(), log_tail, upper: above < below }
            }
        };
        (spot.log_p > f64::NEG_INFINITY && spot.log_tail > f64::NEG_INFINITY).then_some(spot)
    }

    /// The x with F(x) = Φ(z), its place and log-density; `z` is finite. Where F is flat, an end of the stretch.
    pub(crate) fn x_of(&self, axis: &Axis, z: f64) -> (f64, Place, f64) {
        let ([lower, upper], (low, high)) = (axis.tails, axis.ends());
        let (log_below, log_above) = (log_cdf(z), log_cdf(-z));
        // A number that rounding would move to another place is held in its own: the next column depends on the place.
        if log_below < lower.share.ln() {
            let x = low - lower.scale * (lower.share.ln() - log_below);
            return (x.min(low.next_down()), Place::Below, log_below - lower.scale.ln());
        }
        if log_above < upper.share.ln() {
            let x = high + upper.scale * (upper.share.ln() - log_above);
            return (x.max(high.next_up()), Place::Above, log_above - upper.scale.ln());
        }
        let (first, last) = self.ends;
        let (i, x) = if z <= 0.0 {
            let u = log_below.exp();
            let i = self.below.partition_point(|f| *f <= u).saturating_sub(1).clamp(first, last);
            let (from, to) = axis.bin(i);
            (i, from + (to - from) * ((u - self.below[i]) / self.mass[i]))
        } else {
            let u = log_above.exp();
            let i = self.above.partition_point(|f| *f > u).saturating_sub(1).clamp(first, last);
            let (from, to) = axis.bin(i);
            (i, to - (to - from) * ((u - self.above[i + 1]) / self.mass[i]))
        };
        let (from, to) = axis.bin(i);
        // The lowest end of the support is not part of it.
        let least = if self.below[i] > 0.0 { from } else { from.next_up() };
        (x.clamp(least, to.next_down()), Place::Bin(i), self.mass[i].ln() - (to - from).ln())
    }
}
