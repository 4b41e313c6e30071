//! Detects a stiff trajectory, at no cost, from the stages of an explicit method.
//!
//! The last two stages of a 5(4) pair that propagates its last stage stand at the same time, so
//! ρ ≈ |k_s − k_{s−1}| / |Y_s − Y_{s−1}| estimates the largest eigenvalue of ∂f/∂y in the direction that matters.
//! Where h·ρ comes to the edge of the method's stability region, stability, not accuracy, limits the step.
//! Rule: Hairer & Wanner, *Solving ODEs II*, IV.2: 15 such steps with never 6 others in a row between them.

/// This many steps at the edge of stability make a trajectory stiff.
const STIFF_STEPS: u32 = 15;
/// This many steps in a row away from it clear the record.
const CLEARING_STEPS: u32 = 6;

/// A running judgement over the accepted steps of one trajectory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StiffnessMeter {
    /// The largest h·ρ so far.
    pub max_h_rho: f64,
    /// Accepted steps at the edge of stability.
    pub stiff_steps: u32,
    /// Accepted steps.
    pub accepted: u32,
    /// Steps at the edge since the record was last cleared.
    pending: u32,
    /// Steps away from the edge, in a row.
    calm: u32,
    /// Whether the rule has found stiffness.
    spoken: bool,
}

impl StiffnessMeter {
    /// No steps yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records an accepted step.
    ///
    /// `h` is its length (the sign does not matter), `dk_norm` is |k_s − k_{s−1}|, `dy_norm` is |Y_s − Y_{s−1}|, and
    /// `stability` is how far the method's region of stability reaches along the negative axis (about 3.3 for dopri5,
    /// 3.5 for tsit5). Where the two stages coincide, or a norm is not finite, there is no estimate and the step
    /// counts as calm.
    pub fn observe(&mut self, h: f64, dk_norm: f64, dy_norm: f64, stability: f64) {
        self.accepted += 1;
        let h_rho = h.abs() * dk_norm / dy_norm;
        let known = dy_norm > 0.0 && h_rho.is_finite();
        if known {
            self.max_h_rho = self.max_h_rho.max(h_rho);
        }
        if known && h_rho > stability {
            self.stiff_steps += 1;
            self.calm = 0;
            self.pending += 1;
            self.spoken |= self.pending == STIFF_STEPS;
        } else {
            self.calm += 1;
            if self.calm == CLEARING_STEPS {
                self.pending = 0;
            }
        }
    }

    /// Whether the rule has found stiffness at any time: an implicit method would likely be cheaper.
    pub fn stiff(&self) -> bool {
        self.spoken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y' = λy by dopri5 at a fixed step; its stages 6 and 7 both stand at t + h.
    fn run(lambda: f64, h: f64, steps: usize) -> StiffnessMeter {
        let a: [&[f64]; 6] = [
            &[1.0 / 5.0],
            &[3.0 / 40.0, 9.0 / 40.0],
            &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
            &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
            &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
            &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
        ];
        let mut meter = StiffnessMeter::new();
        let mut y = 1.0;
        for _ in 0..steps {
            let mut stages = vec![y];
            let mut k = vec![lambda * y];
            for row in a {
                let stage = y + h * row.iter().zip(&k).map(|(a, k)| a * k).sum::<f64>();
                stages.push(stage);
                k.push(lambda * stage);
            }
            meter.observe(h, (k[6] - k[5]).abs(), (stages[6] - stages[5]).abs(), 3.3066);
            y = stages[6];
        }
        meter
    }

    #[test]
    fn the_estimate_of_a_scalar_linear_problem_is_its_rate() {
        for (lambda, h) in [(-50.0, 0.05), (-50.0, -0.05), (3.0, 0.1)] {
            let meter = run(lambda, h, 4);
            // the quotient is λ itself, up to the cancellation in Y₇ − Y₆
            let expected = (lambda * h).abs();
            assert!((meter.max_h_rho - expected).abs() < 1e-6 * expected, "{} against {expected}", meter.max_h_rho);
        }
    }

    #[test]
    fn fifteen_steps_at_the_edge_make_it_stiff_and_fourteen_do_not() {
        assert!(!run(-100.0, 0.034, 14).stiff());
        assert!(run(-100.0, 0.034, 15).stiff());
        let meter = run(-100.0, 0.034, 20);
        assert_eq!((meter.stiff_steps, meter.accepted), (20, 20));
        assert!(!run(-100.0, 0.03, 200).stiff());
    }

    #[test]
    fn six_calm_steps_clear_the_record_and_five_do_not() {
        for (calm, stiff) in [(5, true), (6, false)] {
            let mut meter = StiffnessMeter::new();
            for _ in 0..10 {
                meter.observe(1.0, 4.0, 1.0, 3.3);
            }
            for _ in 0..calm {
                meter.observe(1.0, 1.0, 1.0, 3.3);
            }
            for _ in 0..5 {
                meter.observe(1.0, 4.0, 1.0, 3.3);
            }
            assert_eq!(meter.stiff(), stiff, "after {calm} calm steps");
            assert_eq!(meter.stiff_steps, 15);
        }
    }

    #[test]
    fn a_step_that_says_nothing_counts_as_calm() {
        let mut meter = StiffnessMeter::new();
        for (dk, dy) in [(0.0, 0.0), (1.0, 0.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, f64::NAN)] {
            meter.observe(1.0, dk, dy, 3.3);
        }
        assert_eq!((meter.max_h_rho, meter.stiff_steps, meter.accepted), (0.0, 0, 5));
    }
}
