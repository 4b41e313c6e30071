//! Short trainings of tables whose columns have types.

use cnflow::Model;
use cnflow::rows::Dataset;
use cnflow::train::{Family, Job, fit};

/// A short training of a family with these rules of columns.
pub fn job(family: &str, rules: &[&str], steps: usize) -> Job {
    let family: Family = family.parse().unwrap();
    Job::default()
        .with(|job| {
            job.model.family = family;
            job.model.hidden = (!family.is_reference()).then(|| vec![12, 12]);
            job.data.columns = rules.iter().map(|rule| (*rule).to_owned()).collect();
            job.optimiser.steps = Some(steps);
            job.optimiser.batch = Some(64);
            job.output.checkpoint = "5".into();
        })
        .applicable()
}

/// The model of such a training.
pub fn trained(job: &Job, data: &Dataset) -> Model {
    fit(&job.clone().resolve_for(data).unwrap(), data, &mut ()).unwrap().model
}
