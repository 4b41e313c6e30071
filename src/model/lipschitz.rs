//! How steep a model's velocity is where its particles are.

use crate::Result;
use crate::continuous::{BoundVelocity, Continuous, End};
use crate::model::Model;
use crate::velocity::Precision;

impl Model {
    /// The largest ‖∂m/∂x‖₂ over points of `paths` of latents, in the flow's own coordinates, and where it was found.
    ///
    /// `paths` starts from `rng`, seen at `times` equal times; one solve and a Jacobian a point. A lower bound of the
    /// Lipschitz constant on the region where the flow lives. Nothing for a conditional model, or one without a
    /// velocity.
    ///
    /// # Errors
    /// As [`Continuous::paths`]; [`Error::Failed`](crate::Error::Failed) where no particle arrives.
    pub fn lipschitz(
        &self,
        paths: usize,
        times: usize,
        rng: &mut crate::Rng,
    ) -> Result<Option<crate::velocity::Steepest>> {
        if self.condition_dim() > 0 || times < 2 || self.spec.architecture.as_velocity().is_none() {
            return Ok(None);
        }
        let spec = self.spec.architecture.velocity()?;
        let theta: Vec<f64> = self.theta.iter().map(|w| f64::from(*w)).collect();
        let continuous = Continuous::new(spec, &theta, self.spec.solver.clone(), Precision::F64)?;
        let z = self.spec.base().draw(paths, rng);
        let seen: Vec<f64> = (0..times).map(|k| k as f64 / (times - 1) as f64).collect();
        let found = continuous.paths(&z, End::Latent, &[], &seen, false)?;
        if found.cost.failures.len() == paths {
            crate::transform::check_failures(&found.cost, paths)?;
        }
        let at: Vec<f64> = seen.iter().flat_map(|t| std::iter::repeat_n(*t, paths)).collect();
        let BoundVelocity::F64(velocity) = continuous.velocity() else {
            return Ok(None);
        };
        Ok(crate::velocity::steepest(&**velocity, &at, &found.states))
    }
}
