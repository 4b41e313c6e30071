//! Columns of classes that a model gives out: a table of their shares is counted, and a flow of the other columns is trained
//! under them, as under conditions.

use super::Job;
use super::inner::{Inner, Rule, Whole, Wrapper};
use crate::model::FlowSpec;
use crate::rows::{Context, Dataset, Rows, Source};
use crate::transform::{ClassTable, ColumnKind};
use crate::{Error, Result};

/// The training of a job whose data have columns of classes, those that it calls so or that `of` a model to start from
/// has; none where there are none.
///
/// # Errors
/// [`Error::Invalid`] for classes beside conditions or of a model without a net, for too many combinations, and where
/// no other column is left.
pub(super) fn under_classes(job: &Job, of: Option<&FlowSpec>, data: &Dataset) -> Result<Option<Inner>> {
    let (classes, others): (Vec<Rule>, Vec<Rule>) =
        Rule::all(job, data)?.into_iter().partition(|rule| rule.kind == ColumnKind::Class);
    let mut places = Vec::new();
    for rule in &classes {
        places.extend(rule.known(data)?);
    }
    if let Some(table) = of.and_then(|spec| spec.classes.as_ref()) {
        places.clone_from(&table.places);
    }
    places.sort_unstable();
    places.dedup();
    if places.is_empty() {
        return Ok(None);
    }
    let first = data.columns.as_ref().map_or_else(|| places[0].to_string(), |names| names[places[0]].clone());
    let refuse = |problem: &str, hint: &str| Err(Error::invalid(format!("the class `{first}`: {problem}"), hint));
    if data.context.is_some() {
        return refuse("a model with conditions gives out no classes", "make it a condition: `data.condition`");
    }
    if job.model.family.is_reference() {
        let family = job.model.family.name();
        return refuse(
            &format!("the model {family} has no net to be conditioned on it"),
            "train a flow, or leave the column out with `data.drop`",
        );
    }
    if places.len() == data.dim {
        return refuse("no other column is left to model", "give a column of numbers");
    }
    let parts = others.iter().filter(|rule| rule.kind == ColumnKind::Simplex);
    if let Some(both) = parts.flat_map(|rule| rule.places.iter().flatten()).find(|j| places.contains(j)) {
        let name = data.columns.as_ref().map_or_else(|| both.to_string(), |names| names[*both].clone());
        let problem = format!("column `{name}` is a class and a part of a simplex");
        return Err(Error::invalid(problem, "give it one type in `data.columns`"));
    }
    let table = ClassTable { places, cells: Vec::new() };
    let cut = |rows: &Rows| {
        let (x, context) = table.cut(&rows.points(), data.dim);
        Rows { x: x.into(), context, weight: rows.weight.clone() }
    };
    let train = match &data.train {
        Source::Rows(rows) => cut(rows),
        Source::Toy(toy) => {
            return refuse(&format!("the toy `{}` has none", toy.name), "set `data.source` to a table");
        }
    };
    let table = ClassTable::fit(table.places.clone(), &train.context, &train.weight)
        .map_err(|e| Error::invalid(format!("the class `{first}`: {e}"), e.hint().unwrap_or_default()))?;
    let (valid, test) = (cut(&data.valid), cut(&data.test));
    let left: Vec<usize> = (0..data.dim).filter(|j| table.places.binary_search(j).is_err()).collect();
    let at = |j: &usize| data.columns.as_ref().map(|names| names[*j].clone());
    let columns: Option<Vec<String>> = left.iter().map(at).collect();
    let labels = |j: &usize| at(j).unwrap_or_else(|| j.to_string());
    let context = Context {
        dim: table.places.len(),
        columns: table.places.iter().map(labels).collect(),
        words: table.places.iter().map(|j| data.words.get(*j).cloned().unwrap_or_default()).collect(),
    };
    let offsets: Vec<f64> = valid.context.chunks_exact(context.dim).map(|row| -table.log_prob(row)).collect();
    let section = job.data.clone();
    let mut job = job.clone();
    job.data.columns = others.iter().map(|rule| rule.among(&left, data)).collect();
    // Classes are one column each, whatever their number.
    job.data.condition = context.columns.iter().map(|name| format!("{name}:class")).collect();
    let whole = Whole {
        wrapper: Wrapper::Classes(table),
        names: data.columns.clone().unwrap_or_default(),
        section,
        offsets: Rows { x: offsets.into(), context: Vec::new(), weight: valid.weight.clone() },
        scored: job.optimiser.validation_rows,
        log_volume: None,
    };
    let data = Dataset {
        dim: left.len(),
        columns,
        words: Vec::new(),
        train: Source::Rows(train),
        valid,
        test,
        context: Some(context),
        ..data.clone()
    };
    Ok(Some(Inner { job, data, whole, notes: Vec::new() }))
}
