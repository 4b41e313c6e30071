//! The learning rate over a run: a linear rise, then half a cosine.
//!
//! The rise is a part of the run, or a number of steps. In the latter case the cosine falls over the whole run and the
//! rise is a factor before it, so that a run bounded by time, whose number of steps nobody knows, has one too. Ref:
//! Loshchilov & Hutter, *SGDR* (2017), eq. 5, without restarts.

/// The part of a run in which the learning rate rises.
const RISE: f64 = 0.02;

/// The learning rate as a function of the part of the run that is done.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// What is left of it at the end.
    pub end: f64,
    /// The steps in which it rises; none for the usual part of the run.
    pub warm_up: Option<usize>,
}

impl Schedule {
    /// What is usually left of the learning rate at the end.
    pub const USUAL_END: f64 = 0.01;

    /// The usual one with this peak.
    pub fn new(peak: f64) -> Self {
        Self { peak, end: Self::USUAL_END, warm_up: None }
    }

    /// The learning rate of a step when `steps` steps and `done` of the run, between 0 and 1, are over.
    pub fn at(self, done: f64, steps: u64) -> f64 {
        let done = done.clamp(0.0, 1.0);
        if let Some(most) = self.warm_up {
            let risen = ((steps + 1) as f64 / most.max(1) as f64).min(1.0);
            return risen * self.fall(done);
        }
        if done < RISE {
            return self.peak * (0.02 + 0.98 * done / RISE);
        }
        self.fall((done - RISE) / (1.0 - RISE))
    }

    fn fall(self, part: f64) -> f64 {
        self.peak * (self.end + (1.0 - self.end) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_to_its_peak_and_falls_to_a_hundredth() {
        let schedule = Schedule::new(2.0);
        assert!(schedule.at(0.0, 0) > 0.0 && schedule.at(0.0, 0) < 0.1);
        assert!((schedule.at(RISE, 9) - 2.0).abs() < 1e-12);
        assert!((schedule.at(1.0, 9) - 0.02).abs() < 1e-12);
        assert_eq!(schedule.at(7.0, 9), schedule.at(1.0, 9));
        let places: Vec<f64> = (2..=100).map(|i| schedule.at(f64::from(i) / 100.0, 9)).collect();
        assert!(places.windows(2).all(|pair| pair[1] <= pair[0]));
    }

    #[test]
    fn a_rise_of_so_many_steps_is_over_after_them() {
        let schedule = Schedule { end: 0.5, warm_up: Some(100), ..Schedule::new(2.0) };
        let still = |steps| schedule.at(0.0, steps);
        assert!((still(0) - 0.02).abs() < 1e-12 && (still(49) - 1.0).abs() < 1e-12);
        assert!((still(99) - 2.0).abs() < 1e-12 && still(99) == still(100_000));
        assert!((schedule.at(1.0, 1000) - 1.0).abs() < 1e-12);
    }
}
