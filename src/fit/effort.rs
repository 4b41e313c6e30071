//! How a mixture is fitted, and the budget of the fit, counted in multiplications so that it is the same on every
//! machine.

/// How a mixture is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct EmOptions {
    /// K; the most that [`Mixture::choose`](crate::transform::mixture::Mixture::choose) tries.
    pub components: usize,
    /// The most iterations over all rows.
    pub iterations: usize,
    /// It ends when an iteration gains less than this, in nats a row.
    pub tolerance: f64,
    /// ν, in pseudo-rows for each component.
    pub strength: f64,
    /// Ψ is the diagonal of the pooled covariance alone: towards it covariances of few rows in many columns are shrunk.
    pub diagonal: bool,
    /// The most that a fit may cost, in multiplications; ∞ for no bound. It is counted, not timed, so that a fit is the
    /// same on every machine; the first rung is always finished.
    pub work: f64,
}

impl Default for EmOptions {
    fn default() -> Self {
        Self { components: 1024, iterations: 30, tolerance: 1e-3, strength: 2.0, diagonal: false, work: f64::INFINITY }
    }
}

/// The rest of a fit's budget, and a function that may end the fit early.
pub(crate) struct Effort<'a> {
    left: f64,
    stop: &'a mut dyn FnMut() -> bool,
}

impl<'a> Effort<'a> {
    pub(crate) fn new(work: f64, stop: &'a mut dyn FnMut() -> bool) -> Self {
        Self { left: work, stop }
    }

    /// Whether so much may still be spent.
    pub(crate) fn allows(&mut self, cost: f64) -> bool {
        cost <= self.left && !(self.stop)()
    }

    /// Records work that is done in any case.
    pub(crate) fn spend(&mut self, cost: f64) {
        self.left -= cost;
    }

    /// Spends so much, where it may.
    pub(crate) fn pay(&mut self, cost: f64) -> bool {
        let allowed = self.allows(cost);
        if allowed {
            self.spend(cost);
        }
        allowed
    }
}

/// What an iteration over `n` rows costs at the most, in multiplications: two triangular products and half an outer
/// product for each row and component, and the exponentials.
pub(crate) fn cost_of_step(n: usize, components: usize, d: usize) -> f64 {
    let (n, k, d) = (n as f64, components as f64, d as f64);
    n * k * (1.5 * d * d + 3.0 * d + 20.0) + k * d * d * d / 6.0
}

/// What [`Em::new`](super::Em::new) costs, likewise.
pub(crate) fn cost_of_prior(n: usize, d: usize) -> f64 {
    (n * d * d) as f64
}
