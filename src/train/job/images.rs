//! What a flow of images leaves out: the options of its training that differ from those of a table.
//!
//! Those of a discrete flow are in [`Plan::of_images`], with a rate of 8e-3. Muon was refused there: after 700 steps of
//! Glow on MNIST it has 1.290 bits per dimension where AdamW has 1.299, but after ten minutes one of 10 000 test rows
//! carries its mean (−log p of 4e13), and by AdamW none does. What follows is about the continuous flow.
//!
//! By Muon a run of 6000 steps on MNIST ends at 1.193 bits per dimension where AdamW has 1.229, at 11 % more time a
//! step (with the first net of images; one seed).
//! The rest was measured in small experiments beside this library, in bits per dimension at equal cost: the weight
//! 1/(1 − t) with times crowded at the data 1.542 where uniform ones had 1.580, and better samples than the likelihood's
//! t/(1 − t) with 1.505; batches of 32 and β₂ = 0.99 −0.024; a rate of 4e-3 for 2e-3 −0.029. The rate falls to 2 % after
//! a rise of 100 steps; the gradient's norm is bounded by 1, as everywhere. Pairs of an optimal transport changed nothing
//! (−0.002 ± 0.002). A validation by the likelihood would take some fifty evaluations an image, and the bound takes one;
//! it is 0.01 to 0.02 higher.

use super::Job;
use crate::discrete::{Kind, Plan};
use crate::rows::Dataset;
use crate::train::{Family, Objective, Optimiser, Pairing, Preconditioning, TimeWeight, ValidationScore};

/// The tolerance of the path for images, relative and absolute. On 400 test images of MNIST, 40 s of training, bits per
/// dimension differ by 0.0008 (root mean square) from those at 1e-5, at half the evaluations; at 1e-4 by 0.0003.
const TOLERANCE: f64 = 1e-3;
/// The tolerance of the log-density in nats, by the estimate of its quadrature, which is some twenty times the error. On
/// 128 test images after 10 minutes of training bits per dimension are off by 0.0018 (root mean square) from those at
/// 1e-5 and 0.01, and by 0.0016 with the usual tolerance of 0.1, which takes three times as many traces.
const LOG_DENSITY_TOLERANCE: f64 = 1.0;

impl Job {
    /// The job with the tolerance of images where these data are images: for a caller whose user set none.
    #[must_use]
    pub fn with_tolerance_for(self, data: &Dataset) -> Self {
        self.with(|job| {
            if data.shape.is_some() && job.model.family == Family::Cnf {
                (job.solver.rtol, job.solver.atol) = (TOLERANCE, TOLERANCE);
                job.solver.log_density_atol.get_or_insert(LOG_DENSITY_TOLERANCE);
            }
        })
    }

    /// Fills in what a discrete flow of images with convolutional nets leaves out.
    pub(super) fn fill_discrete_of_images(&mut self, kind: Kind) {
        if let (None, Some(shape)) = (&self.model.init, self.data.image) {
            let Plan { depth, hidden, activation, image, .. } = Plan::of_images(kind, shape);
            self.model.depth.get_or_insert(depth);
            self.model.hidden.get_or_insert(hidden);
            self.model.activation.get_or_insert(activation);
            self.model.levels = self.model.levels.or(image.map(|image| image.levels));
            self.data.spread.get_or_insert(1.0);
        }
        let optimiser = &mut self.optimiser;
        optimiser.batch.get_or_insert(32);
        optimiser.lr.get_or_insert(8e-3);
        optimiser.warm_up.get_or_insert(100);
        optimiser.lr_end.get_or_insert(0.02);
    }

    /// The job with the defaults of a continuous flow of images where it leaves options out; [`Job::resolve`] fills in
    /// the rest.
    #[must_use]
    pub fn with_image_defaults(self) -> Self {
        self.with(|job| {
            // A model to start from has its own.
            if job.model.init.is_none() {
                if job.begins_at_normal() {
                    job.model.preconditioning.get_or_insert(Preconditioning::Gaussian);
                }
                job.data.spread.get_or_insert(1.0);
            }
            let optimiser = &mut job.optimiser;
            optimiser.kind.get_or_insert(Optimiser::Muon);
            optimiser.batch.get_or_insert(32);
            optimiser.lr.get_or_insert(4e-3);
            optimiser.betas.get_or_insert(vec![0.9, 0.99]);
            optimiser.warm_up.get_or_insert(100);
            optimiser.lr_end.get_or_insert(0.02);
            if job.objective.kind != Objective::Likelihood {
                job.objective.matching_weight.get_or_insert(TimeWeight::Inverse);
            }
            // The bound says nothing about a velocity of other pairs, or from another distribution.
            let independent = job.objective.pairing == Pairing::Independent;
            if job.objective.kind == Objective::Matching && independent && job.begins_at_normal() {
                job.optimiser.validation.get_or_insert(ValidationScore::Bound);
            }
        })
    }
}
