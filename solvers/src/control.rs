//! Step control: accept a step or reject it, and by what factor to change its size.
//!
//! The options ([`Controller`]) are shared; each lane has a [`History`] of its own. With error ratios e
//! (1 = at the tolerance) and k the order of the error estimate plus one, the size changes by
//!
//! safety · eₙ^(−β₁) · eₙ₋₁^(−β₂) · eₙ₋₂^(−β₃), βᵢ divided by k.

use std::fmt;
use std::str::FromStr;

use crate::error::SolveError;

/// The exponents (β₁, β₂, β₃), to be divided by k.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Law {
    /// (1, 0, 0): the elementary controller.
    I,
    /// (0.7, −0.4, 0). Ref: Gustafsson (1991); the values of Hairer & Wanner II, IV.2.
    #[default]
    Pi,
    /// (0.64, −0.31, 0.04). Ref: Ranocha et al., *Optimized Runge-Kutta methods with automatic step size
    /// control for compressible computational fluid dynamics* (2022), table 3.
    Pid,
}

impl Law {
    /// Every law.
    pub const ALL: [Law; 3] = [Law::I, Law::Pi, Law::Pid];

    /// The name, as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Law::I => "i",
            Law::Pi => "pi",
            Law::Pid => "pid",
        }
    }

    fn exponents(self) -> [f64; 3] {
        match self {
            Law::I => [1.0, 0.0, 0.0],
            Law::Pi => [0.7, -0.4, 0.0],
            Law::Pid => [0.64, -0.31, 0.04],
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Law {
    type Err = SolveError;

    fn from_str(name: &str) -> Result<Self, SolveError> {
        Self::ALL.into_iter().find(|law| law.name() == name).ok_or_else(|| SolveError::UnknownController {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// The options of step control.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    /// The exponents.
    pub law: Law,
    /// Every proposal is this times the step of the error model.
    pub safety: f64,
    /// The most a step may shrink at once.
    pub min_factor: f64,
    /// The most a step may grow at once.
    pub max_factor: f64,
}

impl Default for Controller {
    fn default() -> Self {
        Self { law: Law::default(), safety: 0.9, min_factor: 0.2, max_factor: 10.0 }
    }
}

/// The history of a lane's controller.
#[derive(Clone, Copy, Debug)]
pub struct History {
    last: f64,
    before: f64,
    rejected: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { last: 1.0, before: 1.0, rejected: false }
    }
}

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The error was at most the tolerance.
    pub accept: bool,
    /// The next step is this many times the last.
    pub factor: f64,
}

// An error far below the tolerance must not send the memory of the law to infinity.
const SMALLEST_ERROR: f64 = 1e-4;

impl Controller {
    /// Judges a step whose error is `err` times the tolerance; `k` is the order of the estimate plus one.
    ///
    /// A NaN is rejected and shrinks the step as much as is allowed.
    pub fn judge(&self, history: &mut History, err: f64, k: f64) -> Verdict {
        if !err.is_finite() {
            history.rejected = true;
            return Verdict { accept: false, factor: self.min_factor };
        }
        if err > 1.0 {
            history.rejected = true;
            let factor = (self.safety * err.powf(-1.0 / k)).clamp(self.min_factor, 1.0);
            return Verdict { accept: false, factor };
        }
        let [b1, b2, b3] = self.law.exponents();
        let now = err.max(1e-10);
        let mut factor = self.safety * now.powf(-b1 / k);
        if b2 != 0.0 {
            factor *= history.last.powf(-b2 / k);
        }
        if b3 != 0.0 {
            factor *= history.before.powf(-b3 / k);
        }
        // After a rejection the error model has just been wrong: do not grow at once.
        let ceiling = if history.rejected { 1.0 } else { self.max_factor };
        let factor = factor.clamp(self.min_factor, ceiling);
        *history = History { last: err.max(SMALLEST_ERROR), before: history.last, rejected: false };
        Verdict { accept: true, factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_law_accepts_at_the_tolerance_and_rejects_above_it() {
        for law in Law::ALL {
            let name = law.name();
            assert_eq!(name.parse(), Ok(law));
            let judge = Controller { law, ..Controller::default() };
            let mut history = History::default();
            assert!(judge.judge(&mut history, 1.0, 5.0).accept, "{name}");
            let verdict = judge.judge(&mut history, 1.001, 5.0);
            assert!(!verdict.accept && verdict.factor < 1.0, "{name}: {verdict:?}");
            let after = judge.judge(&mut history, 1e-6, 5.0);
            assert!(after.accept && after.factor <= 1.0, "{name} grew right after a rejection: {after:?}");
            let later = judge.judge(&mut history, 1e-6, 5.0);
            assert!(later.factor > 1.0 && later.factor <= 10.0, "{name}: {later:?}");
            let nan = judge.judge(&mut history, f64::NAN, 5.0);
            assert_eq!(nan, Verdict { accept: false, factor: 0.2 }, "{name}");
        }
        let unknown = "bang-bang".parse::<Law>().unwrap_err().to_string();
        assert!(unknown.contains("bang-bang") && unknown.contains("i, pi, pid"), "{unknown}");
    }
}
