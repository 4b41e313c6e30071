//! What a run remembers of its steps, in a memory that does not grow with their number.

/// The mean over some consecutive steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mark {
    /// The number of steps done at its end.
    pub step: usize,
    /// Seconds since the start at its end.
    pub seconds: f64,
    /// Mean loss.
    pub loss: f64,
    /// Mean length of the gradient before it was clipped.
    pub grad_norm: f64,
    /// The learning rate at its end.
    pub lr: f64,
}

/// A held-out score along the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The number of steps done.
    pub step: usize,
    /// Seconds since the start.
    pub seconds: f64,
    /// Negative log-likelihood in nats, in the units of the data; where the truth is known, its entropy and the
    /// excess over it.
    pub nll: f64,
    /// Its standard error.
    pub se: f64,
}

/// The most marks kept.
const MOST: usize = 4096;

/// Losses along a run, and the held-out scores.
#[derive(Clone, Debug)]
pub struct History {
    marks: Vec<Mark>,
    /// Steps in a mark.
    width: usize,
    /// The sums of the steps since the last mark, and how many they are.
    open: (Mark, usize),
    /// In the order of time.
    pub validations: Vec<Validation>,
}

impl Default for History {
    fn default() -> Self {
        Self { marks: Vec::new(), width: 1, open: (Mark::default(), 0), validations: Vec::new() }
    }
}

impl History {
    /// Takes note of one step.
    pub fn push(&mut self, now: Mark) {
        let (sum, count) = &mut self.open;
        *sum = Mark { loss: sum.loss + now.loss, grad_norm: sum.grad_norm + now.grad_norm, ..now };
        *count += 1;
        if *count == self.width {
            self.close();
        }
    }

    /// Makes a mark of the steps since the last, if there are any.
    pub fn finish(&mut self) {
        if self.open.1 > 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        let (sum, count) = std::mem::take(&mut self.open);
        let n = count as f64;
        self.marks.push(Mark { loss: sum.loss / n, grad_norm: sum.grad_norm / n, ..sum });
        if self.marks.len() == MOST {
            // Marks of half the width each.
            let mean = |pair: &[Mark]| Mark {
                loss: 0.5 * (pair[0].loss + pair[1].loss),
                grad_norm: 0.5 * (pair[0].grad_norm + pair[1].grad_norm),
                ..pair[1]
            };
            self.marks = self.marks.chunks_exact(2).map(mean).collect();
            self.width *= 2;
        }
    }

    /// The marks so far, in the order of time; the steps since the last are left out until [`History::finish`].
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_stays_short_and_keeps_its_means() {
        let mut history = History::default();
        for step in 1..=100_000 {
            history.push(Mark { step, loss: step as f64, ..Mark::default() });
        }
        assert!(history.marks().len() < MOST && history.marks().len() >= MOST / 4);
        for pair in history.marks().windows(2) {
            let width = pair[1].step - pair[0].step;
            assert_eq!(pair[1].loss, pair[1].step as f64 - 0.5 * (width as f64 - 1.0));
        }
        history.finish();
        assert_eq!(history.marks().last().unwrap().step, 100_000);
    }
}
