//! Which columns of a file are the points, and which are their conditions.
//!
//! Columns are found by name where both the file and the model have names, else by their order. A file that holds the
//! conditions beside the points gives both.

use anyhow::Result;
use cnflow::Error;
use cnflow::io::{Pick, Reader};
use cnflow::model::Model;
use cnflow::names::{Matched, NamedTable, list};
use cnflow::rows::{self, name_of};
use cnflow::train::Job;
use cnflow::words::count;

use super::given::{Requested, nothing_given};

/// Which columns of a file are the points.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ColumnArgs {
    /// Columns of the file that are the points, by name or number from 0; names other than the model's in its order
    /// [default: by the model's names, else as in the training]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1, conflicts_with = "drop")]
    columns: Vec<String>,
    /// Columns of the file to leave out, by name or number from 0
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', num_args = 1)]
    drop: Vec<String>,
}

impl ColumnArgs {
    /// Refuses them where there is no file of points.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self, points: bool) -> Result<()> {
        let given = [("--columns", !self.columns.is_empty()), ("--drop", !self.drop.is_empty())];
        match given.into_iter().find(|(_, given)| *given && !points) {
            None => Ok(()),
            Some((flag, _)) => {
                let hint = format!("leave out {flag}, or give a file; --axes chooses the columns of pictures");
                Err(Error::invalid(format!("{flag} has no meaning without a file of points"), hint).into())
            }
        }
    }

    /// Leaves out one more column, which is no point: that of the weights.
    pub fn leave_out(&mut self, column: &str) {
        if self.columns.is_empty() && !self.drop.iter().any(|known| known == column) {
            self.drop.push(column.to_owned());
        }
    }

    /// The columns that are read, with the conditions that are requested beside the points.
    pub fn pick(&self, requested: &Requested, model: &Model) -> Pick {
        let names = match requested {
            Requested::Columns(names) => &names[..],
            Requested::Nothing | Requested::Optional => model.spec.condition_names(),
            Requested::One(_) | Requested::File(_) => &[],
        };
        let also = names.iter().map(|name| vec![name.clone(), name_of(name).to_owned()]).collect();
        Pick { keep: self.columns.clone(), drop: self.drop.clone(), also }
    }
}

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Points, in the columns of the model's data.
    Points,
    /// Latents: z0, z1, …
    Latents,
}

/// What a file holds.
#[derive(Clone, Debug)]
struct Found<'a> {
    /// As errors call it.
    table: String,
    cols: usize,
    /// It has one axis only.
    vector: bool,
    names: Option<&'a [String]>,
    /// The number of each column in the file.
    numbers: &'a [usize],
    /// How many of the first columns the command line names as the points; 0 where it names none.
    chosen: usize,
}

/// The columns of a file that are used.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The places of the points' columns, then of their conditions' where the file holds them.
    pub places: Vec<usize>,
    /// The columns of the conditions among them.
    pub own: usize,
    /// What differs from the file: columns reordered or left out.
    pub notes: Vec<String>,
}

/// The names of d latents.
pub fn latents(d: usize) -> Vec<String> {
    (0..d).map(|j| format!("z{j}")).collect()
}

/// Matches the columns of the file that `reader` opened to those of a model.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::Unknown`] where columns are missing, or their number does not fit.
pub fn plan(
    reader: &Reader,
    table: String,
    model: &Model,
    role: Role,
    (requested, picked): (&Requested, &ColumnArgs),
) -> Result<Plan> {
    let (names, numbers) = (reader.columns(), reader.numbers());
    let chosen = picked.columns.len();
    let found = Found { table, cols: reader.cols(), vector: reader.vector(), names, numbers, chosen };
    found.plan(model, role, requested)
}

/// The numbers of the columns that the training left out of its file.
fn dropped(model: &Model) -> Vec<usize> {
    let names = Job::of_provenance(&model.provenance).map_or_else(Vec::new, |job| job.data.drop);
    let mut numbers: Vec<usize> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The numbers of the columns of its file that the training kept, in its order; none where it kept all, or by name.
fn kept(model: &Model) -> Vec<usize> {
    let names = Job::of_provenance(&model.provenance).map_or_else(Vec::new, |job| job.data.keep);
    names.iter().map(|name| name.parse().ok()).collect::<Option<_>>().unwrap_or_default()
}

impl Found<'_> {
    fn plan(&self, model: &Model, role: Role, requested: &Requested) -> Result<Plan> {
        let wanted = self.wanted(model, role);
        let (d, c, conditions) = (model.dim(), model.condition_dim(), model.spec.condition_names());
        let all: Vec<usize> = (0..self.cols).collect();
        let holds = |wanted: &[String]| {
            !wanted.is_empty() && self.names.is_some_and(|names| wanted.iter().all(|name| names.contains(name)))
        };
        // The places of the conditions that are called as the model's, and whether nothing but the points is left then.
        let beside = holds(conditions) && if wanted.is_empty() { self.cols == d + c } else { holds(&wanted) };
        let given = match requested {
            Requested::Columns(columns) => Some(self.named(columns, conditions, c)?),
            Requested::Nothing | Requested::Optional if c > 0 && beside => Some(self.called(conditions)?),
            Requested::Optional if self.cols == d + c => return Err(nothing_given(model, true)),
            Requested::Nothing if c > 0 => {
                return Err(nothing_given(model, role == Role::Points && self.cols == d + c));
            }
            _ => None,
        };
        let set_aside = match (&given, beside && wanted.is_empty()) {
            (Some(given), _) => given.places.clone(),
            // The points of a model without names are what the conditions leave.
            (None, true) => self.called(conditions)?.places,
            (None, false) => Vec::new(),
        };
        // A column may be a condition and one of the points too.
        let both = |j: &usize| self.names.is_some_and(|names| wanted.contains(&names[*j]));
        let mut rest: Vec<usize> = match self.chosen {
            0 => all.into_iter().filter(|j| !set_aside.contains(j) || both(j)).collect(),
            chosen => (0..chosen).collect(),
        };
        let dropped = dropped(model);
        let without: Vec<usize> = rest.iter().copied().filter(|j| !dropped.contains(&self.numbers[*j])).collect();
        let mut left_out = None;
        // A file like that of the training, whose columns have no names.
        let nameless = role == Role::Points && wanted.is_empty() && self.chosen == 0;
        let alike = nameless && rest.len() == d + dropped.len() && without.len() == d;
        if !dropped.is_empty() && alike {
            let numbers = dropped.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            left_out = Some(format!(
                "{}: left out, as in the training (--drop): {numbers} (columns counted from 0)",
                self.table
            ));
            rest = without;
        }
        let kept = kept(model);
        if nameless && let Some(places) = self.remembered(&rest, &kept) {
            let numbers = kept.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            left_out = Some(format!("{}: its columns {numbers} are used, as in the training (--columns)", self.table));
            rest = places;
        }
        let (points, note) = self.points(&rest, &wanted, d)?;
        let mut notes: Vec<String> = left_out.into_iter().chain(note).collect();
        if matches!(requested, Requested::Nothing | Requested::Optional) && given.is_some() {
            notes.insert(0, format!("{}: the conditions are its columns {}", self.table, list(conditions)));
        }
        if given.is_none() && !set_aside.is_empty() {
            notes.push(format!("{}: its columns {} are left out", self.table, list(conditions)));
        }
        let given = given.map_or(Vec::new(), |given| given.places);
        Ok(Plan { own: given.len(), places: [points.places, given].concat(), notes })
    }

    /// The places of the columns that the training kept, by their numbers; none where `rest` are as many columns in the
    /// model's order.
    fn remembered(&self, rest: &[usize], kept: &[usize]) -> Option<Vec<usize>> {
        let place = |number: &usize| rest.iter().copied().find(|j| self.numbers[*j] == *number);
        let places: Vec<usize> = kept.iter().map(place).collect::<Option<_>>()?;
        // As many columns are the model's own, unless their numbers in the file are those of the training.
        (!places.is_empty() && places != rest).then_some(places)
    }

    /// The names of the points' columns, where they have any.
    fn wanted(&self, model: &Model, role: Role) -> Vec<String> {
        match role {
            Role::Points => model.spec.names.clone(),
            Role::Latents => {
                let all = latents(model.dim());
                let any = self.names.is_some_and(|names| names.iter().any(|name| all.contains(name)));
                if any { all } else { Vec::new() }
            }
        }
    }

    /// The columns that `--condition` names, in the model's order.
    fn named(&self, columns: &[String], conditions: &[String], c: usize) -> Result<Matched> {
        let places = rows::places(columns, self.names, self.numbers)?;
        let order = match self.names {
            Some(names) if !conditions.is_empty() => {
                let own: Vec<String> = places.iter().map(|j| names[*j].clone()).collect();
                let hint = format!("give --condition {}", conditions.join(","));
                let header = NamedTable { table: "--condition", names: &own, hint: &hint };
                let matched = Matched::by_name(header, conditions, "the model")?;
                if let Some(name) = matched.left_out.first() {
                    let problem = format!(
                        "--condition names `{name}`, which is not a condition of the model: it has {}",
                        list(conditions)
                    );
                    return Err(Error::invalid(problem, hint).into());
                }
                matched.places
            }
            _ => (0..places.len()).collect(),
        };
        if order.len() != c {
            let problem = format!("--condition names {}, the condition has {c}", count(order.len() as u64, "column"));
            return Err(
                Error::invalid(problem, format!("name {}, in the model's order", count(c as u64, "column"))).into()
            );
        }
        Ok(Matched { places: order.into_iter().map(|k| places[k]).collect(), left_out: Vec::new() })
    }

    /// The columns of these names.
    fn called(&self, names: &[String]) -> Result<Matched> {
        let header = NamedTable::of_file(&self.table, self.names.unwrap_or_default());
        Ok(Matched::by_name(header, names, "the condition")?)
    }

    /// The points among the columns that are left, and a note on what differs from the file.
    fn points(&self, rest: &[usize], wanted: &[String], d: usize) -> Result<(Matched, Option<String>)> {
        if let (Some(names), false) = (self.names, wanted.is_empty()) {
            let own: Vec<String> = rest.iter().map(|j| names[*j].clone()).collect();
            if self.chosen > 0 && rest.len() == d && !wanted.iter().any(|name| own.contains(name)) {
                // Other names, in the model's order.
                return Ok((Matched { places: rest.to_vec(), left_out: Vec::new() }, None));
            }
            let header = NamedTable::of_file(&self.table, &own);
            let matched = Matched::by_name(header, wanted, "the model")?;
            let note = matched.note(header);
            let places = matched.places.into_iter().map(|k| rest[k]).collect();
            return Ok((Matched { places, left_out: matched.left_out }, note));
        }
        if rest.len() == d {
            return Ok((Matched { places: rest.to_vec(), left_out: Vec::new() }, None));
        }
        let axes = if self.vector { " (it has one axis)" } else { "" };
        let besides = if rest.len() == self.cols { "" } else { " beside its conditions" };
        let problem =
            format!("{} holds {}{besides}{axes}, the model has {d}", self.table, count(rest.len() as u64, "column"));
        Err(Error::invalid(problem, format!("give points of shape [n, {d}]")).into())
    }
}
