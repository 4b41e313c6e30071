//! `--condition` and `--given`: the conditions of a conditional model.

use std::path::{Path, PathBuf};

use anyhow::Result;
use cnflow::Error;
use cnflow::apply::Conditions;
use cnflow::io::{Format, Pick, Reader, Words};
use cnflow::model::Model;
use cnflow::names::{Matched, NamedTable, list};
use cnflow::transform::ContextColumn;
use cnflow::words::count;

use super::Context;

/// Conditions, from a file or from the command line.
#[derive(Debug, Default, clap::Args)]
pub struct GivenArgs {
    /// Conditions: a file ([n, c], or one row for all), or columns of the points by name or number.
    #[arg(long, value_name = "COLUMNS|FILE", conflicts_with = "given")]
    condition: Option<String>,
    /// One condition for all rows: values in the model's order, or NAME=VALUE, such as class=1,mass=0.5.
    #[arg(long, value_name = "VALUES", value_delimiter = ',', num_args = 1, allow_hyphen_values = true)]
    given: Vec<String>,
}

/// Where the command line places the conditions.
#[derive(Clone, Debug, PartialEq)]
pub enum Requested {
    /// Not given.
    Nothing,
    /// Not needed: taken from the file of the points where they are in it under their names.
    Optional,
    /// One row for all, in the model's order.
    One(Vec<f64>),
    /// In a file of their own.
    File(PathBuf),
    /// In these columns of the file that holds the points.
    Columns(Vec<String>),
}

impl GivenArgs {
    /// Puts the copy of a pipe in the place of `--condition -`.
    ///
    /// # Errors
    /// As [`Pipes::take`](super::pipes::Pipes::take).
    pub fn take_pipes(&mut self, context: &Context) -> Result<()> {
        self.condition.iter_mut().try_for_each(|text| context.pipes.take_text(text))
    }

    /// The file of conditions, if the command line may mean one.
    pub fn file(&self) -> Option<&Path> {
        self.condition.as_deref().map(Path::new).filter(|path| !path.is_dir())
    }

    /// Whether there are any.
    pub fn is_given(&self) -> bool {
        self.condition.is_some() || !self.given.is_empty()
    }

    /// What the command line gives.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the model has no condition, or other columns.
    pub fn requested(&self, model: &Model) -> Result<Requested> {
        if !self.is_given() {
            return Ok(Requested::Nothing);
        }
        if model.condition_dim() == 0 {
            return Err(Error::invalid("the model has no condition", "leave out --condition and --given").into());
        }
        let Some(text) = &self.condition else { return Ok(Requested::One(self.row(model)?)) };
        let path = Path::new(text);
        Ok(match Format::of(path).is_some() || (path.extension().is_some() && path.is_file()) {
            true => Requested::File(path.to_owned()),
            false => Requested::Columns(text.split(',').map(|name| name.trim().to_owned()).collect()),
        })
    }

    /// Conditions for rows that are not in a file; present if and only if the model has a condition.
    ///
    /// # Errors
    /// As [`Reader::open`]; [`Error::Invalid`] where the model has no condition, or other columns, or none was given.
    pub fn of(&self, model: &Model, context: &Context) -> Result<Conditions> {
        let requested = self.requested(model)?;
        let file = if let Requested::File(file) = &requested { Some(file.as_path()) } else { None };
        context.dialect.check_for(file.as_slice())?;
        match requested {
            Requested::Nothing if model.condition_dim() == 0 => Ok(Conditions::None),
            Requested::Nothing | Requested::Optional => Err(nothing_given(model, false)),
            Requested::One(row) => Ok(Conditions::One(row)),
            // An image has no NaN.
            Requested::File(path) => of_file(&path, model, model.spec.pixels.is_none(), context, &mut Vec::new()),
            Requested::Columns(columns) => {
                let problem =
                    format!("--condition {} names columns, but there is no file of points", columns.join(","));
                Err(Error::invalid(problem, "give a file of conditions, or --given with their values").into())
            }
        }
    }

    /// The values of `--given` in the model's order.
    fn row(&self, model: &Model) -> Result<Vec<f64>> {
        let wanted = model.condition_dim();
        let names = model.spec.given().map_or(&[][..], |condition| &condition.names[..]);
        let mut row: Vec<Option<f64>> = vec![None; wanted];
        let refuse = |problem: String| {
            let hint = format!("give --given {}, for {}", count(wanted as u64, "value"), columns(model));
            anyhow::Error::from(Error::invalid(problem, hint))
        };
        let number = |value: &str| {
            let number = value.trim().parse::<f64>().ok().filter(|value| value.is_finite());
            number.ok_or_else(|| refuse(format!("the condition `{value}` is not a finite number")))
        };
        let words = model.spec.condition_words();
        let value_of = |place: usize, text: &str| match words.get(place).map_or(&[][..], Vec::as_slice) {
            [] => number(text),
            known => known.iter().find(|(word, _)| word == text.trim()).map(|(_, number)| *number).ok_or_else(|| {
                let problem = format!("the condition {} has no class `{}`", name(model, place), text.trim());
                let all: Vec<String> = known.iter().map(|(word, _)| word.clone()).collect();
                Error::invalid(problem, format!("give one of its classes: {}", list(&all))).into()
            }),
        };
        if self.given.len() > wanted {
            let given = count(self.given.len() as u64, "value");
            return Err(refuse(format!("--given has {given}, the condition has {wanted}")));
        }
        for (name, value) in self.given.iter().filter_map(|text| text.rsplit_once('=')) {
            let name = name.trim();
            let named = names.iter().position(|known| known == name);
            let numbered = || name.strip_prefix('c').unwrap_or(name).parse().ok().filter(|j| *j < wanted);
            let place = named
                .or_else(numbered)
                .ok_or_else(|| refuse(format!("the model has no condition `{name}`: it has {}", columns(model))))?;
            if row[place].is_some() {
                return Err(refuse(format!("--given has the condition `{name}` twice")));
            }
            row[place] = Some(value_of(place, value)?);
        }
        // Values without a name go where no name went, in the model's order.
        for text in self.given.iter().filter(|text| !text.contains('=')) {
            if let Some(free) = row.iter().position(Option::is_none) {
                row[free] = Some(value_of(free, text)?);
            }
        }
        let missing: Vec<String> = (0..wanted).filter(|j| row[*j].is_none()).map(|j| name(model, j)).collect();
        if !missing.is_empty() {
            return Err(refuse(format!("--given has no value for {}", list(&missing))));
        }
        Ok(row.into_iter().flatten().collect())
    }
}

/// The conditions of a file, for a model that has some, of which some may be `missing`; `notes` gets what differs from
/// the file.
fn of_file(
    path: &Path,
    model: &Model,
    missing: bool,
    context: &Context,
    notes: &mut Vec<String>,
) -> Result<Conditions> {
    let mut reader = context.table_of(path, &Pick::default(), &may_be_words(model))?;
    let (table, wanted, names) = (format!("`{}`", path.display()), model.condition_dim(), model.spec.condition_names());
    let matched = match reader.columns() {
        Some(own) if !names.is_empty() => {
            let header = NamedTable::of_file(&table, own);
            let matched = Matched::by_name(header, names, "the condition")?;
            if let Some(note) = matched.note(header) {
                context.note(&note);
                notes.push(note);
            }
            matched
        }
        _ if reader.cols() != wanted => {
            let problem =
                format!("{table} holds {}, the condition has {wanted}", count(reader.cols() as u64, "column"));
            return Err(Error::invalid(problem, format!("give conditions of shape [n, {wanted}]")).into());
        }
        _ => Matched::in_order(wanted),
    };
    reader.keep(&matched.places)?;
    read_words(&mut reader, 0, model);
    if missing {
        reader.allow_missing();
    }
    Ok(Conditions::of(reader)?)
}

/// Which columns of a file may hold words: any where a condition of the model has some.
pub fn may_be_words(model: &Model) -> Words {
    Words { columns: Vec::new(), all: (!model.spec.class_words.is_empty()).then_some(true) }
}

/// Reads the words of the conditions, which are the columns of the file from `first` on.
pub fn read_words(reader: &mut Reader, first: usize, model: &Model) {
    for (j, words) in model.spec.condition_words().into_iter().enumerate().filter(|(_, words)| !words.is_empty()) {
        reader.read_words(first + j, words);
    }
}

/// Where the conditions of points that were found in a file are; `notes` gets what differs from the file.
///
/// # Errors
/// As [`GivenArgs::of`].
pub fn beside_points(
    requested: Requested,
    model: &Model,
    context: &Context,
    notes: &mut Vec<String>,
) -> Result<Conditions> {
    match requested {
        Requested::Nothing | Requested::Optional | Requested::Columns(_) => Ok(Conditions::None),
        Requested::One(row) => Ok(Conditions::One(row)),
        Requested::File(path) => of_file(&path, model, true, context, notes),
    }
}

/// A conditional model without a condition; `beside`: the points have as many extra columns as the condition has.
pub fn nothing_given(model: &Model, beside: bool) -> anyhow::Error {
    let problem = format!("the model is conditional on {}, and no condition was given", columns(model));
    let hint = match beside {
        true => "give --condition COLUMNS, the columns of the points that are conditions, by name or number from 0",
        false => "give --given with its values, or --condition c.npy with a row for each point, or one for all",
    };
    Error::invalid(problem, hint).into()
}

/// What a condition is called, as `--given` reads it.
fn name(model: &Model, j: usize) -> String {
    model.spec.condition.as_ref().map_or_else(|| format!("c{j}"), |condition| condition.name(j))
}

/// The conditions of a model, for people.
fn columns(model: &Model) -> String {
    let Some(condition) = &model.spec.condition else { return count(model.condition_dim() as u64, "column") };
    let one = |(j, given): (usize, &ContextColumn)| match given {
        ContextColumn::Number { .. } => condition.name(j),
        ContextColumn::Class { classes } if classes.len() <= 20 => {
            format!("{} (classes {})", condition.name(j), model.spec.class_labels(j).join(", "))
        }
        ContextColumn::Class { classes } => format!("{} ({} classes)", condition.name(j), classes.len()),
    };
    condition.columns.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}
