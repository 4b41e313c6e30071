//! `--condition` and `--given`: what a conditional model is told.

use std::path::PathBuf;

use anyhow::Result;
use cnf::Error;
use cnf::flow::Model;
use cnf::io::Reader;

use super::feed::Conditions;

/// Conditions, from a file or from the command line.
#[derive(Debug, Default, clap::Args)]
pub struct GivenArgs {
    /// Conditions, [n, c], or one row for all.
    #[arg(long, value_name = "FILE", conflicts_with = "given")]
    condition: Option<PathBuf>,
    /// The one condition of all rows: its values in the model's order, or NAME=VALUE, such as class=1,mass=0.5.
    #[arg(long, value_name = "VALUES", value_delimiter = ',', num_args = 1, allow_hyphen_values = true)]
    given: Vec<String>,
}

impl GivenArgs {
    /// Conditions, there exactly if the model wants them.
    ///
    /// # Errors
    /// As [`Reader::open`]; [`Error::Invalid`] where the model has none, wants some, or other columns.
    pub fn of(&self, model: &Model) -> Result<Conditions> {
        let wanted = model.condition_dim();
        let nothing = self.condition.is_none() && self.given.is_empty();
        if wanted == 0 {
            return match nothing {
                true => Ok(Conditions::None),
                false => Err(Error::invalid("the model has no condition", "leave out --condition and --given").into()),
            };
        }
        if nothing {
            let problem = format!("the model is conditional on {}, and no condition was given", columns(model));
            let hint = "give --given with its values, or --condition c.npy with a row for each point, or one for all";
            return Err(Error::invalid(problem, hint).into());
        }
        if let Some(path) = &self.condition {
            let reader = Reader::open(path)?;
            if reader.cols() != wanted {
                let problem =
                    format!("`{}` holds {} columns, the condition has {wanted}", path.display(), reader.cols());
                return Err(Error::invalid(problem, format!("give conditions of shape [n, {wanted}]")).into());
            }
            return Conditions::of(reader);
        }
        let row = self.row(model)?;
        if let Some(condition) = &model.spec.condition {
            condition.encode(&row)?;
        }
        Ok(Conditions::One(row))
    }

    /// The values of `--given` in the model's order.
    fn row(&self, model: &Model) -> Result<Vec<f64>> {
        let wanted = model.condition_dim();
        let names = model.spec.condition.as_ref().map_or(&[][..], |condition| &condition.names[..]);
        let mut row = vec![f64::NAN; wanted];
        let refuse = |problem: String| {
            let hint = format!("give --given {wanted} values, for {}", columns(model));
            anyhow::Error::from(Error::invalid(problem, hint))
        };
        if self.given.len() != wanted {
            return Err(refuse(format!("--given has {} values, the condition {wanted}", self.given.len())));
        }
        for (i, text) in self.given.iter().enumerate() {
            let (place, value) = match text.split_once('=') {
                None => (i, text.as_str()),
                Some((name, value)) => {
                    let place = names.iter().position(|known| known == name);
                    let place = place.or_else(|| name.parse().ok().filter(|j| *j < wanted));
                    (place.ok_or_else(|| refuse(format!("the model has no condition `{name}`")))?, value)
                }
            };
            let number = value.trim().parse::<f64>().ok().filter(|value| value.is_finite());
            row[place] = number.ok_or_else(|| refuse(format!("the condition `{value}` is no finite number")))?;
        }
        match row.iter().position(|value| value.is_nan()) {
            None => Ok(row),
            Some(j) => Err(refuse(format!("no value was given for condition {j}"))),
        }
    }
}

/// What a model is conditioned on, for people.
fn columns(model: &Model) -> String {
    match &model.spec.condition {
        Some(condition) if !condition.names.is_empty() => condition.names.join(", "),
        _ => format!("{} columns", model.condition_dim()),
    }
}
