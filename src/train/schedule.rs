//! The learning rate over a run: a linear rise, then half a cosine.
//!
//! Ref: Loshchilov & Hutter, *SGDR* (2017), eq. 5, without restarts.

/// The part of a run in which the learning rate rises.
const RISE: f64 = 0.02;
/// What is left of the learning rate at the end.
const END: f64 = 0.01;

/// The learning rate as a function of the part of the run that is done.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
}

impl Schedule {
    /// The learning rate after `done` of the run, between 0 and 1.
    pub fn at(self, done: f64) -> f64 {
        let done = done.clamp(0.0, 1.0);
        if done < RISE {
            return self.peak * (0.02 + 0.98 * done / RISE);
        }
        let part = (done - RISE) / (1.0 - RISE);
        self.peak * (END + (1.0 - END) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_to_its_peak_and_falls_to_a_hundredth() {
        let schedule = Schedule { peak: 2.0 };
        assert!(schedule.at(0.0) > 0.0 && schedule.at(0.0) < 0.1);
        assert!((schedule.at(RISE) - 2.0).abs() < 1e-12);
        assert!((schedule.at(1.0) - 0.02).abs() < 1e-12);
        assert_eq!(schedule.at(7.0), schedule.at(1.0));
        let places: Vec<f64> = (2..=100).map(|i| schedule.at(f64::from(i) / 100.0)).collect();
        assert!(places.windows(2).all(|pair| pair[1] <= pair[0]));
    }
}
