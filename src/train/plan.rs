//! The phases of a run, and when it is kept: what follows from a job.

use super::batch::BatchSampler;
use super::objective::Draw;
use super::{Batch, Criterion, Job, Objective, Pairing};
use crate::flow::SolverSpec;
use crate::{Error, Result};

/// A stretch of the budget under one criterion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    pub criterion: Criterion,
    /// The parts of the budget at which it begins and ends.
    pub from: f64,
    pub to: f64,
    /// The highest learning rate.
    pub lr: f64,
    draw: Draw,
}

impl Phase {
    /// How much of it is done when so much of the whole budget is.
    pub fn part(&self, done: f64) -> f64 {
        (done - self.from) / (self.to - self.from)
    }

    /// The next batch.
    pub fn draw(&self, sampler: &mut BatchSampler<'_>) -> Result<Batch> {
        self.criterion.draw(sampler, self.draw)
    }
}

/// How often a run is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Every {
    Steps(usize),
    Seconds(f64),
}

impl Job {
    /// What is minimised, one after another.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let (lr, rows) = (self.lr.unwrap_or_default(), self.batch.unwrap_or_default());
        let draw =
            |rows| Draw { rows, pairing: self.pairing, block: self.pairing_block, late: self.late, steer: self.steer };
        let whole = |criterion| Phase { criterion, from: 0.0, to: 1.0, lr, draw: draw(rows) };
        match self.objective {
            Objective::Matching => vec![whole(Criterion::Matching)],
            Objective::Likelihood => vec![whole(Criterion::Likelihood)],
            Objective::Mixed => {
                let change = 1.0 - self.likelihood_share;
                let (lr, rows) = (self.likelihood_lr.unwrap_or(lr), self.likelihood_batch.unwrap_or(rows));
                vec![
                    Phase { to: change, ..whole(Criterion::Matching) },
                    Phase { criterion: Criterion::Likelihood, from: change, to: 1.0, lr, draw: draw(rows) },
                ]
            }
        }
    }

    /// The solver of the likelihood's steps.
    pub(super) fn training_solver(&self) -> SolverSpec {
        match self.likelihood_tol {
            None => self.solver.clone(),
            Some(tol) => SolverSpec { rtol: tol, atol: tol, log_density_atol: None, ..self.solver.clone() },
        }
    }

    /// Whether a checkpoint is due after so many steps and seconds without.
    pub(super) fn checkpoint_due(&self, (steps, seconds): (usize, f64)) -> Result<bool> {
        Ok(match every(&self.checkpoint)? {
            Every::Steps(most) => steps >= most,
            Every::Seconds(most) => seconds >= most,
        })
    }

    /// Refuses a rule of checkpoints that is none.
    pub(super) fn check_plan(&self) -> Result<()> {
        let refuse = |what: String, hint: &str| Err(Error::invalid(what, hint));
        every(&self.checkpoint)?;
        let integrates = self.objective != Objective::Matching;
        let share = self.likelihood_share;
        if !(share > 0.0 && share < 1.0) {
            return refuse(
                format!("a likelihood share of {share}"),
                "give likelihood_share between 0 and 1, such as 0.2",
            );
        }
        if self.likelihood_tol.is_some_and(|tol| !(tol > 0.0 && tol < 1.0)) {
            let tol = self.likelihood_tol.unwrap_or_default();
            return refuse(
                format!("a likelihood tolerance of {}", crate::words::exact(tol)),
                "give likelihood_tol between 0 and 1, such as 1e-4",
            );
        }
        if self.likelihood_batch == Some(0) {
            return refuse("a likelihood batch of 0 rows".into(), "give likelihood_batch of at least 1");
        }
        if let Some(lr) = self.likelihood_lr.filter(|lr| !(*lr > 0.0 && lr.is_finite())) {
            return refuse(
                format!("a likelihood learning rate of {}", crate::words::exact(lr)),
                "give likelihood_lr above 0, such as 0.001",
            );
        }
        for (name, weight) in [("kinetic", self.kinetic), ("jacobian", self.jacobian)] {
            if !(weight >= 0.0 && weight.is_finite()) {
                return refuse(format!("a {name} penalty of {weight}"), "give a weight of at least 0, such as 0.01");
            }
        }
        if !(0.0..1.0).contains(&self.steer) {
            return refuse(format!("an end time of 1 ± {}", self.steer), "give --steer from 0 to below 1, such as 0.5");
        }
        if self.nfe_target.is_some_and(|n| !(n >= 1.0 && n.is_finite())) {
            let n = self.nfe_target.unwrap_or_default();
            return refuse(format!("a target of {n} evaluations"), "give --nfe-target of at least 1, such as 30");
        }
        let asked = [
            ("--nfe-target", self.nfe_target.is_some()),
            ("--kinetic", self.kinetic > 0.0),
            ("--jacobian", self.jacobian > 0.0),
            ("--steer", self.steer > 0.0),
        ];
        if let Some((name, _)) = asked.into_iter().find(|(_, asked)| *asked && !integrates) {
            let problem = format!("{name} has no meaning for matching, which integrates nothing while training");
            return refuse(problem, "give --objective mixed or --objective likelihood with it");
        }
        if self.pairing == Pairing::Optimal && self.pairing_block < 2 {
            return refuse(format!("a pairing among {} rows", self.pairing_block), "give pairing_block of at least 2");
        }
        if self.objective == Objective::Likelihood && self.pairing == Pairing::Optimal {
            return refuse("a likelihood pairs no latents with rows".into(), "leave out --pairing optimal");
        }
        Ok(())
    }
}

fn every(text: &str) -> Result<Every> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let steps = text.parse::<usize>().ok().filter(|steps| *steps > 0).map(Every::Steps);
    let seconds = units.iter().find_map(|(name, unit)| {
        let number: f64 = text.strip_suffix(name)?.parse().ok()?;
        (number >= 0.0 && number.is_finite()).then_some(Every::Seconds(number * unit))
    });
    steps.or(seconds).ok_or_else(|| {
        Error::invalid(format!("a checkpoint every `{text}`"), "give steps, such as 100, or a time, such as 10s")
    })
}
