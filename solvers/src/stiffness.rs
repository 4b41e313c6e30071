//! Placeholder until the detector is merged.
/// Signs of stiffness of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StiffnessMeter {
    /// The largest h·ρ seen.
    pub max_h_rho: f64,
    /// Stiff at some time.
    pub stiff: bool,
}
impl StiffnessMeter {
    /// One accepted step.
    pub fn observe(&mut self, h: f64, dk: f64, dy: f64, stability: f64) {
        let h_rho = h.abs() * dk / dy;
        self.max_h_rho = self.max_h_rho.max(h_rho);
        self.stiff |= h_rho > stability;
    }
}
