//! The type of a data column: any number, an angle, a share between two bounds, a positive number, one with heavy tails,
//! a whole number.
//!
//! Each kind is a bijection between the real line (y) and the column's own range (x):
//! - plain: x = y;
//! - unit: x = low + (high − low) Φ(y). The probit, not the logit: a uniform column becomes a normal one, and a column
//!   that falls like a power at its bound gets Gaussian tails, where the logit would leave exponential ones, which
//!   a Lipschitz velocity cannot make from a normal. Each half of the range is measured from its own bound, so that
//!   what lies close to one keeps its digits: with low = 0, down to 1e-300;
//! - angle: as unit on one turn, [cut, cut + period). The cut is where the training data are sparsest, for the density
//!   has a seam there;
//! - positive: x = eʸ. The logarithm, not the inverse of the softplus: a change of the unit of measurement is then a
//!   shift, which the standardisation takes out, and ratios over many decades are resolved alike;
//! - heavy: as [`HeavyTails`] has it;
//! - integer: x = y on all numbers, or as unit from the least whole number to the bin behind the greatest. The numbers on
//!   both sides are real ones: the noise that makes them so is a layer of its own, [`Dequantise`](super::Dequantise).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::normal::{cdf, log_pdf, quantile_of_log};
use super::{BinNoise, HeavyTails, Integers, exact};
use crate::{Error, Result};

/// A full turn, by default.
const DEGREES: f64 = 360.0;
/// The arc whose count measures the density on the circle, as a part of the turn.
const ARC: f64 = 1.0 / 36.0;
/// At most so many different whole numbers are few.
const FEW: usize = 3;
/// A point on the cut itself, which has no side, counts as this far from it, in turns.
const SEAM: f64 = f64::EPSILON / 2.0;

/// The type of a column, as requested.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ColumnKind {
    /// Any number.
    #[default]
    Plain,
    /// A number on a circle.
    Angle {
        /// One turn.
        period: f64,
    },
    /// A number between two bounds.
    Unit {
        /// The lower.
        low: f64,
        /// The upper.
        high: f64,
    },
    /// A number above 0.
    Positive,
    /// Any number, of which some lie very far out.
    Heavy,
    /// A whole number, from `low` to `high`; ±∞ for no bounds.
    Integer {
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
    },
    /// A class: a word or a whole number, which a table gives out. It is no column of the flow.
    Class,
    /// One of the parts of a whole, which the flow has as log-ratios.
    Simplex,
}

impl FromStr for ColumnKind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, given) = text.split_once(':').map_or((text, None), |(name, given)| (name, Some(given)));
        let numbers = given.map(|given| given.split(',').map(|v| v.trim().parse().ok()).collect::<Option<Vec<f64>>>());
        match (name, numbers.as_ref().map(|numbers| numbers.as_deref())) {
            ("plain", None) => Ok(Self::Plain),
            ("positive", None) => Ok(Self::Positive),
            ("heavy", None) => Ok(Self::Heavy),
            ("angle", None) => Ok(Self::Angle { period: DEGREES }),
            ("angle", Some(Some(&[period]))) if period > 0.0 && period.is_finite() => Ok(Self::Angle { period }),
            ("unit", None) => Ok(Self::Unit { low: 0.0, high: 1.0 }),
            ("unit", Some(Some(&[low, high]))) if low < high && (high - low).is_finite() => {
                Ok(Self::Unit { low, high })
            }
            ("class", None) => Ok(Self::Class),
            ("simplex", None) => Ok(Self::Simplex),
            ("integer", None) => Ok(Self::Integer { low: f64::NEG_INFINITY, high: f64::INFINITY }),
            ("integer", Some(Some(&[low, high])))
                if low < high && [low, high].iter().all(|bound| Integers::ALL.has(*bound)) =>
            {
                Ok(Self::Integer { low, high })
            }
            _ => Err(format!(
                "`{text}`: expected plain, angle, angle:PERIOD, unit, unit:LOW,HIGH (LOW < HIGH), positive, heavy, class, \
                 integer, integer:LOW,HIGH (whole, LOW < HIGH), or simplex (several columns: a,b,c:simplex)"
            )),
        }
    }
}

impl std::fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Angle { period } => write!(f, "angle:{period}"),
            Self::Unit { low, high } => write!(f, "unit:{low},{high}"),
            Self::Positive => f.write_str("positive"),
            Self::Heavy => f.write_str("heavy"),
            Self::Integer { low, high } if low.is_finite() => write!(f, "integer:{low},{high}"),
            Self::Integer { .. } => f.write_str("integer"),
            Self::Class => f.write_str("class"),
            Self::Simplex => f.write_str("simplex"),
        }
    }
}

/// A column as it is saved in the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Column {
    /// Any number.
    Plain,
    /// A number on a circle. Any turn is read; samples lie in [0, period) where the cut is at 0 or above, and in
    /// [−period/2, period/2) where it is below: so lay the data that the column was fitted to.
    Angle {
        /// One turn.
        #[serde(deserialize_with = "exact::deserialize")]
        period: f64,
        /// Where the circle is cut open: one turn from here on is the real line.
        #[serde(deserialize_with = "exact::deserialize")]
        cut: f64,
    },
    /// A number between two bounds, which are not part of the range.
    Unit {
        /// The lower.
        #[serde(deserialize_with = "exact::deserialize")]
        low: f64,
        /// The upper.
        #[serde(deserialize_with = "exact::deserialize")]
        high: f64,
    },
    /// A number above 0.
    Positive,
    /// Any number, of which some lie very far out.
    Heavy(HeavyTails),
    /// A whole number.
    Integer {
        /// The least and the greatest; none without bounds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bounds: Option<[f64; 2]>,
        /// The noise within a whole number.
        noise: BinNoise,
    },
}

impl Column {
    /// The column of a kind whose training data are `values`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the row and the number where a value is out of range or not finite, or the kind's
    /// own numbers are not valid.
    pub fn fit(kind: ColumnKind, values: &[f64]) -> Result<Self> {
        Self::fit_beside(kind, values, &[])
    }

    /// As [`Column::fit`]; the numbers of `others`, which are held out, must be in range too, and change nothing else.
    ///
    /// # Errors
    /// As [`Column::fit`], with rows of `others` counted behind those of `values`.
    pub fn fit_beside(kind: ColumnKind, values: &[f64], others: &[f64]) -> Result<Self> {
        let column = match kind {
            ColumnKind::Class => {
                let problem = "a class is no column of a flow";
                return Err(Error::invalid(problem, "train a model of rows: its table has the classes"));
            }
            ColumnKind::Simplex => {
                let problem = "the parts of a whole are no columns of a flow";
                return Err(Error::invalid(problem, "train a model of rows: its flow has their log-ratios"));
            }
            ColumnKind::Plain | ColumnKind::Heavy => Self::Plain,
            ColumnKind::Positive => Self::Positive,
            ColumnKind::Unit { low, high } => Self::Unit { low, high },
            ColumnKind::Angle { period } => Self::Angle { period, cut: 0.0 },
            ColumnKind::Integer { low, high } => {
                let bounds = (low.is_finite() && high.is_finite()).then_some([low, high]);
                Self::Integer { bounds, noise: noise_for(values) }
            }
        };
        column.validate()?;
        let all = || values.iter().chain(others);
        if let Some((row, value)) = all().enumerate().find(|(_, x)| !x.is_finite() || !column.has(**x)) {
            return Err(column.refuse(row, *value));
        }
        Ok(match kind {
            ColumnKind::Angle { period } => {
                let turns: Vec<f64> = all().copied().collect();
                Self::Angle { period, cut: cut(&turns, period) }
            }
            ColumnKind::Heavy => Self::Heavy(HeavyTails::fit(values)?),
            _ => column,
        })
    }

    /// The requested kind.
    pub fn kind(&self) -> ColumnKind {
        match *self {
            Self::Plain => ColumnKind::Plain,
            Self::Angle { period, .. } => ColumnKind::Angle { period },
            Self::Unit { low, high } => ColumnKind::Unit { low, high },
            Self::Positive => ColumnKind::Positive,
            Self::Heavy(_) => ColumnKind::Heavy,
            Self::Integer { bounds, .. } => {
                let [low, high] = bounds.unwrap_or([Integers::ALL.low, Integers::ALL.high]);
                ColumnKind::Integer { low, high }
            }
        }
    }

    /// Checks the column's numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn validate(&self) -> Result<()> {
        let sound = match *self {
            Self::Plain | Self::Positive => true,
            Self::Heavy(ref map) => return map.validate(),
            Self::Integer { bounds, .. } => {
                bounds.is_none_or(|bounds| bounds[0] < bounds[1] && bounds.iter().all(|b| Integers::ALL.has(*b)))
            }
            Self::Angle { period, cut } => period > 0.0 && period.is_finite() && cut.abs() <= 2.0 * period,
            Self::Unit { low, high } => low < high && (high - low).is_finite(),
        };
        if sound {
            return Ok(());
        }
        Err(Error::invalid(
            format!("{self:?} is not a valid column type"),
            "give an angle a period above 0, and a unit or an integer LOW < HIGH",
        ))
    }

    fn refuse(&self, row: usize, value: f64) -> Error {
        let problem = |range: &str| {
            format!("row {row} (counted from 0) has {}, which is not {range}", crate::words::exact(value))
        };
        let widen = "leave such rows out, or give the column another type";
        match *self {
            Self::Positive if value == 0.0 => Error::invalid(
                problem("above 0"),
                "add the resolution of the measurement, or model zeros separately: a positive column has no density at 0",
            ),
            Self::Positive => Error::invalid(problem("above 0"), widen),
            Self::Unit { low, high } if value == low || value == high => Error::invalid(
                problem(&format!("inside ({}, {})", crate::words::exact(low), crate::words::exact(high))),
                "give counts the type integer, or widen the range (unit:LOW,HIGH): its bounds are not part of it",
            ),
            Self::Unit { low, high } => Error::invalid(
                problem(&format!("inside ({}, {})", crate::words::exact(low), crate::words::exact(high))),
                widen,
            ),
            Self::Integer { bounds: Some([low, high]), .. } if value.is_finite() => {
                let range =
                    format!("a whole number from {} to {}", crate::words::exact(low), crate::words::exact(high));
                Error::invalid(problem(&range), widen)
            }
            Self::Integer { .. } if value.is_finite() => Error::invalid(
                problem("a whole number"),
                "round the column, or leave out its type: it is a real number",
            ),
            Self::Plain | Self::Angle { .. } | Self::Heavy(_) | Self::Integer { .. } => {
                Error::invalid(problem("finite"), crate::words::leave_out(value))
            }
        }
    }

    /// Whether a number of the data is in the range.
    fn has(&self, x: f64) -> bool {
        match self.whole_numbers() {
            Some((whole, _)) => whole.has(x),
            None => self.encode(x).is_some(),
        }
    }

    /// The whole numbers of the column and their noise; none for a column of real numbers.
    pub fn whole_numbers(&self) -> Option<(Integers, BinNoise)> {
        let Self::Integer { bounds, noise } = *self else { return None };
        Some((bounds.map_or(Integers::ALL, |[low, high]| Integers { low, high }), noise))
    }

    /// The column of real numbers that a column of whole numbers is behind its noise; the others stay as they are.
    #[must_use]
    pub fn real(self) -> Self {
        match self {
            Self::Integer { bounds: None, .. } => Self::Plain,
            Self::Integer { bounds: Some([low, high]), .. } => Self::Unit { low, high: high + 1.0 },
            other => other,
        }
    }

    /// From the data's side to the real line: y and ln|dy/dx|; none outside the range. NaN gives NaN. Of whole numbers the
    /// data's side is that with their noise.
    pub fn encode(&self, x: f64) -> Option<(f64, f64)> {
        if x.is_nan() {
            return Some((x, x));
        }
        match *self {
            Self::Plain => Some((x, 0.0)),
            Self::Positive => (x > 0.0 && x < f64::INFINITY).then(|| (x.ln(), -x.ln())),
            Self::Integer { bounds: None, .. } => Some((x, 0.0)),
            Self::Integer { bounds: Some([low, high]), .. } => {
                // Noise may be 0: the least number with it is its own bound.
                let inside = x >= low && x < high + 1.0;
                if inside { self.clone().real().encode(x.max(low.next_up())) } else { None }
            }
            Self::Heavy(ref map) => x.is_finite().then(|| {
                let (y, log_slope, _) = map.encode(x);
                (y, log_slope)
            }),
            Self::Unit { low, high } => {
                (low < x && x < high).then(|| probit((x - low) / (high - low), (high - x) / (high - low), high - low))
            }
            Self::Angle { period, cut } => x.is_finite().then(|| {
                let turn = ((x - cut) / period).rem_euclid(1.0);
                let turn = turn.clamp(SEAM, 1.0 - SEAM);
                probit(turn, 1.0 - turn, period)
            }),
        }
    }

    /// The derivative by x of ℓ(y) + ln|dy/dx|, given `bar` = dℓ/dy; NaN outside the range.
    pub(crate) fn pull_back(&self, x: f64, bar: f64) -> f64 {
        let Some((y, log_slope)) = self.encode(x) else { return f64::NAN };
        match self {
            Self::Plain | Self::Integer { bounds: None, .. } => bar,
            Self::Positive => (bar - 1.0) / x,
            Self::Heavy(map) => bar * log_slope.exp() + map.encode(x).2,
            // ln|dy/dx| = ½y² + …
            Self::Unit { .. } | Self::Angle { .. } | Self::Integer { .. } => (bar + y) * log_slope.exp(),
        }
    }

    /// From the real line to the data's side: x, strictly within the range, and ln|dx/dy|. NaN gives NaN.
    pub fn decode(&self, y: f64) -> (f64, f64) {
        if !y.is_finite() {
            return (f64::NAN, f64::NAN);
        }
        match *self {
            Self::Plain | Self::Integer { bounds: None, .. } => (y, 0.0),
            Self::Integer { .. } => self.clone().real().decode(y),
            Self::Positive => (y.exp().clamp(f64::MIN_POSITIVE, f64::MAX), y),
            Self::Heavy(ref map) => map.decode(y),
            Self::Unit { low, high } => {
                let width = high - low;
                let x = if y <= 0.0 { low + width * cdf(y) } else { high - width * cdf(-y) };
                (x.clamp(low.next_up(), high.next_down()), width.ln() + log_pdf(y))
            }
            Self::Angle { period, cut } => {
                let x = if y <= 0.0 { cut + period * cdf(y) } else { (cut + period) - period * cdf(-y) };
                (within_a_turn(x, period, cut), period.ln() + log_pdf(y))
            }
        }
    }
}

/// The noise within whole numbers that suits a net: where they are few, the density of the normal noise falls to 0 between
/// them and a net learns bumps; where they are many, that of uniform noise follows their probabilities smoothly (a Poisson
/// column of mean 3: 0.04 nats above the truth, and 0.28 with bumps).
fn noise_for(values: &[f64]) -> BinNoise {
    let mut different = values.to_vec();
    different.sort_unstable_by(f64::total_cmp);
    different.dedup();
    if different.len() <= FEW { BinNoise::Normal } else { BinNoise::Uniform }
}

/// y = Φ⁻¹(u) and ln|dy/dx| for x = … + width · u, given u and 1 − u, each to its own round-off.
fn probit(below: f64, above: f64, width: f64) -> (f64, f64) {
    let y = if below <= above { quantile_of_log(below.ln()) } else { -quantile_of_log(above.ln()) };
    (y, -width.ln() - log_pdf(y))
}

/// The point in the turn that samples are given in.
fn within_a_turn(x: f64, period: f64, cut: f64) -> f64 {
    let start = if cut < 0.0 { -0.5 * period } else { 0.0 };
    let x = if x >= start + period { x - period } else { x };
    let x = if x < start { x + period } else { x };
    // Rounding may have put it on the end, which is the start.
    if x >= start + period { start } else { x }
}

/// The emptiest place of the circle: the middle of the widest gap in the arc of [`ARC`] that holds the fewest values.
fn cut(values: &[f64], period: f64) -> f64 {
    let negative = values.iter().any(|x| *x < 0.0);
    let mut turns: Vec<f64> = values.iter().map(|x| (x / period).rem_euclid(1.0)).filter(|u| *u < 1.0).collect();
    turns.sort_by(f64::total_cmp);
    let place = |u: f64| {
        let x = (u.rem_euclid(1.0) * 65_536.0).round() / 65_536.0 * period;
        let x = if x >= period { 0.0 } else { x };
        if negative { x - period } else { x }
    };
    let n = turns.len();
    if n < 2 {
        return place(turns.first().map_or(0.0, |u| u + 0.5));
    }
    let at = |i: usize| turns[i % n] + (i / n) as f64;
    // Arcs begin just behind a value: an arc that holds fewest can be turned until it does.
    let mut end = 1;
    let mut best: Option<(usize, f64, f64)> = None;
    for i in 0..n {
        end = end.max(i + 1);
        while end < i + n && at(end) <= at(i) + ARC {
            end += 1;
        }
        let within = end - i - 1;
        let gaps = (i..end).map(|j| (at(j + 1) - at(j), 0.5 * (at(j) + at(j + 1))));
        if best.is_none_or(|(count, ..)| within <= count) {
            let (gap, middle) = gaps.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, at(i)));
            if best.is_none_or(|(count, widest, _)| within < count || gap > widest) {
                best = Some((within, gap, middle));
            }
        }
    }
    place(best.map_or(0.0, |(_, _, middle)| middle))
}
