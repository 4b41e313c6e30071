//! Jobs written before there were sections: one flat table, as the config.toml, the model files and the checkpoints of
//! old runs have it. They stay readable; nothing is added here.

use toml::{Table, Value};

use super::Job;
use crate::{Error, Result};

/// The names that stand at the top of a job today.
const TOP: [&str; 7] = ["seed", "data", "model", "objective", "optimiser", "solver", "output"];

/// A field of a flat job, and the section and the name that it has today.
const FIELDS: [(&str, &str, &str); 51] = [
    ("data", "data", "source"),
    ("split", "data", "split"),
    ("split_seed", "data", "split_seed"),
    ("copies_together", "data", "copies_together"),
    ("drop", "data", "drop"),
    ("header", "data", "header"),
    ("condition", "data", "condition"),
    ("columns", "data", "columns"),
    ("standardise", "data", "standardise"),
    ("spread", "data", "spread"),
    ("far_rows", "data", "far_rows"),
    ("model", "model", "family"),
    ("hidden", "model", "hidden"),
    ("activation", "model", "activation"),
    ("time_features", "model", "time_features"),
    ("depth", "model", "depth"),
    ("halves", "model", "mask"),
    ("linear", "model", "linear"),
    ("bins", "model", "bins"),
    ("bound", "model", "bound"),
    ("log_scale", "model", "log_scale"),
    ("sigma", "model", "sigma"),
    ("base", "model", "base"),
    ("init", "model", "init"),
    ("precision", "model", "precision"),
    ("objective", "objective", "kind"),
    ("path", "objective", "path"),
    ("pairing", "objective", "pairing"),
    ("pairing_block", "objective", "pairing_block"),
    ("late", "objective", "time_exponent"),
    ("likelihood_share", "objective", "likelihood_share"),
    ("likelihood_batch", "objective", "likelihood_batch"),
    ("likelihood_lr", "objective", "likelihood_lr"),
    ("likelihood_tol", "objective", "likelihood_tol"),
    ("kinetic", "objective", "kinetic"),
    ("jacobian", "objective", "jacobian"),
    ("steer", "objective", "steer"),
    ("nfe_target", "objective", "nfe_target"),
    ("steps", "optimiser", "steps"),
    ("time", "optimiser", "time"),
    ("batch", "optimiser", "batch"),
    ("lr", "optimiser", "lr"),
    ("weight_decay", "optimiser", "weight_decay"),
    ("clip", "optimiser", "clip"),
    ("ema", "optimiser", "ema"),
    ("validations", "optimiser", "validations"),
    ("keep_best", "optimiser", "keep_best"),
    ("patience", "optimiser", "patience"),
    ("validation_rows", "optimiser", "validation_rows"),
    ("checkpoint", "output", "checkpoint"),
    ("picture", "output", "picture"),
];

/// Whether an entry is one of today's job.
fn of_today(name: &str, value: &Value) -> bool {
    TOP.contains(&name) && (name == "seed" || value.is_table())
}

/// Whether a job has entries outside of today's sections.
pub(super) fn is_flat(job: &Table) -> bool {
    !job.iter().all(|(name, value)| of_today(name, value))
}

impl Job {
    /// Whether a configuration has the flat form of 0.1, whose fields have other names.
    pub fn is_flat(text: &str) -> bool {
        text.parse::<Table>().is_ok_and(|job| is_flat(&job))
    }

    /// The fields of a job as errors name them (`objective.time_exponent`), each with its key in the flat form
    /// (`late`).
    pub fn flat_keys() -> impl Iterator<Item = (String, &'static str)> {
        FIELDS.iter().map(|(key, section, field)| (format!("{section}.{field}"), *key))
    }
}

/// A flat job with its fields in sections. What stands in sections already stays there.
///
/// # Errors
/// [`Error::Unknown`] for a field that no job has; [`Error::Invalid`] for one that is given twice.
pub(super) fn sectioned(flat: Table) -> Result<Table> {
    let mut job = Table::new();
    let (today, old): (Vec<_>, Vec<_>) = flat.into_iter().partition(|(name, value)| of_today(name, value));
    job.extend(today);
    for (name, value) in old {
        let known = FIELDS.iter().find(|(field, ..)| *field == name);
        let Some((_, section, field)) = known else {
            if TOP.contains(&name.as_str()) {
                let hint = format!("write `[{name}]` and its fields below");
                return Err(Error::invalid(format!("`{name}` is not a section"), hint));
            }
            return Err(Error::Unknown { kind: "field", name, known: TOP.join(", ") });
        };
        let fields = job.entry(*section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(fields) = fields
            && fields.insert((*field).to_owned(), value).is_some()
        {
            let problem = format!("`{name}` is given twice: at the top and as `{section}.{field}`");
            return Err(Error::invalid(problem, "give it once"));
        }
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_flat_job_find_their_sections_and_others_are_named() {
        let read = |text: &str| sectioned(text.parse().unwrap());
        let job =
            read("seed = 3\ndata = \"moons\"\nlate = 2.0\n[picture]\ninvert_y = true\n[model]\nbins = 4").unwrap();
        let wanted = "seed = 3\n[data]\nsource = \"moons\"\n[model]\nbins = 4\n[objective]\ntime_exponent = 2.0\n\
                      [output.picture]\ninvert_y = true";
        assert_eq!(job, wanted.parse::<Table>().unwrap());
        assert!(!is_flat(&job) && is_flat(&"steps = 3".parse().unwrap()));
        for (text, part) in [("lerning_rate = 1", "lerning_rate"), ("bins = 3\n[model]\nbins = 4", "twice")] {
            assert!(read(text).unwrap_err().to_string().contains(part), "{text}");
        }
    }

    #[test]
    fn every_field_of_a_flat_job_exists_today() {
        let today: Table = crate::train::Job::default()
            .with(|job| {
                job.data.split_seed = Some(1);
                job.data.spread = Some(1.0);
                job.data.drop = vec!["a".into()];
                job.data.header = crate::io::Header::First;
                job.model.hidden = Some(vec![1]);
                job.model.activation = Some(crate::velocity::Activation::Tanh);
                job.model.depth = Some(1);
                job.model.init = Some("m".into());
                let objective = &mut job.objective;
                (objective.time_exponent, objective.path) = (Some(1.0), Some(crate::velocity::Path::Vp));
                (objective.likelihood_batch, objective.likelihood_lr) = (Some(1), Some(1.0));
                (objective.likelihood_tol, objective.nfe_target) = (Some(1.0), Some(1.0));
                let optimiser = &mut job.optimiser;
                (optimiser.steps, optimiser.time, optimiser.batch) = (Some(1), Some(1.0), Some(1));
                (optimiser.lr, optimiser.patience) = (Some(1.0), Some(1));
            })
            .to_toml()
            .unwrap()
            .parse()
            .unwrap();
        for (flat, section, field) in FIELDS.iter() {
            assert!(today[*section].get(field).is_some(), "{flat}: no {section}.{field}");
        }
    }
}
