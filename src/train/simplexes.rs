//! Columns that are the parts of a whole: a flow of their log-ratios and the other columns is trained.

use super::column_types::{choose_kinds, gain_of};
use super::inner::{Inner, Rule, Whole, Wrapper};
use super::{Job, start};
use crate::model::FlowSpec;
use crate::rows::{Dataset, Numbers, Rows, Source};
use crate::stats::Sample;
use crate::transform::{Closing, ColumnKind, Simplex, Simplexes, Standardise};
use crate::{Error, Result, fit, words};

/// The training of a job whose data have columns that are the parts of a whole, those that it calls so or that `of` a model
/// to start from has; none where there are none.
///
/// # Errors
/// [`Error::Invalid`] for parts that are none: fewer than two, one twice or with another type, of images or of a toy, not
/// above 0 or without a common total; [`Error::Unknown`] for a column that there is not.
pub(super) fn of_log_ratios(job: &Job, of: Option<&FlowSpec>, data: &Dataset) -> Result<Option<Inner>> {
    let (simplexes, others): (Vec<Rule>, Vec<Rule>) =
        Rule::all(job, data)?.into_iter().partition(|rule| rule.kind == ColumnKind::Simplex);
    let label = |j: usize| data.columns.as_ref().map_or_else(|| j.to_string(), |names| names[j].clone());
    let trained = of.map(|spec| &spec.simplexes[..]).filter(|all| !all.is_empty());
    if simplexes.is_empty() && trained.is_none() {
        return Ok(None);
    }
    let refuse = |problem: String, hint: &str| Err(Error::invalid(problem, hint));
    if data.shape.is_some() {
        return refuse("pixels of images are no parts of a whole".into(), "leave out `data.columns`");
    }
    let Source::Rows(train) = &data.train else {
        return refuse("the columns of a toy are no parts of a whole".into(), "set `data.source` to a table");
    };
    start::check(data, false)?;
    let x = train.points();
    let all = match trained {
        Some(all) => all.to_vec(),
        None => {
            let mut taken: Vec<usize> = Vec::new();
            let mut all = Vec::new();
            for rule in &simplexes {
                let places = rule.known(data)?;
                for j in &places {
                    if taken.contains(j) {
                        let problem = format!("`data.columns` {}: column `{}` is a part twice", rule.text, label(*j));
                        return refuse(problem, "name each column once, in one simplex");
                    }
                    taken.push(*j);
                }
                all.push(Simplex::fit(places, &x, data.dim).map_err(|e| of_rule(&rule.text, &e))?);
            }
            let both = |rule: &&Rule| rule.places.iter().flatten().any(|j| taken.contains(j));
            if let Some(rule) = others.iter().find(both) {
                let problem = format!("`data.columns` {}: the column is a part of a simplex too", rule.text);
                return refuse(problem, "give each column one type");
            }
            all
        }
    };
    let parts = Simplexes::new(all.clone(), data.dim)?;
    let closing = closed(&parts, data, &label)?;
    let cut = |rows: &Rows| {
        let (x, logs) = parts.inward(&rows.points());
        (Rows { x: x.into(), context: rows.context.clone(), weight: rows.weight.clone() }, logs)
    };
    let (ratios, (valid, logs), test) = (cut(train).0, cut(&data.valid), cut(&data.test).0);
    let names: Vec<String> = (0..data.dim).map(label).collect();
    let columns = parts.inner_names(&names);
    let dim = columns.len();
    let mut inner = job.clone();
    inner.data.columns = others.iter().map(|rule| rule.text.clone()).collect();
    let mut notes: Vec<String> = closing.words().into_iter().collect();
    let (kinds, note) = ratio_kinds(job, &ratios, [&valid, &test], &parts.ratios(), &columns)?;
    if job.model.init.is_none() {
        // A model to start from has its own.
        inner.data.columns.extend(kinds);
    }
    notes.extend(note);
    let (own, weight) = (parts.cut(&x), &train.weight[..]);
    let whole = Whole {
        wrapper: Wrapper::Simplexes(all),
        names: data.columns.clone().unwrap_or_default(),
        section: job.data.clone(),
        offsets: Rows {
            x: logs.into_iter().map(|log| -log).collect::<Vec<f64>>().into(),
            context: Vec::new(),
            weight: valid.weight.clone(),
        },
        scored: job.optimiser.validation_rows,
        log_volume: Some(Standardise::fit(Sample { x: &own, weight }, dim)?.log_volume()),
    };
    let words = match data.words.is_empty() {
        true => Vec::new(),
        false => {
            (0..data.dim).filter(|j| parts.apart().binary_search(j).is_err()).map(|j| data.words[j].clone()).collect()
        }
    };
    let data = Dataset { dim, columns: Some(columns), words, train: Source::Rows(ratios), valid, test, ..data.clone() };
    Ok(Some(Inner { job: inner, data, whole, notes }))
}

/// An error about the columns of a rule.
fn of_rule(text: &str, error: &Error) -> Error {
    Error::invalid(format!("`data.columns` {text}: {error}"), error.hint().unwrap_or_default())
}

/// How the parts of all rows sum up.
///
/// # Errors
/// [`Error::Invalid`] where a part is not above 0, or a sum is off by more than rounding.
fn closed(parts: &Simplexes, data: &Dataset, label: &dyn Fn(usize) -> String) -> Result<Closing> {
    let list = |one: &Simplex| one.places.iter().map(|j| format!("`{}`", label(*j))).collect::<Vec<_>>().join(", ");
    let all = parts.all().iter().map(list).collect::<Vec<_>>().join("; ");
    let mut closing = Closing::default();
    let train = data.training_rows().map(|rows| ("training", rows));
    for (set, rows) in train.into_iter().chain([("validation", &data.valid), ("test", &data.test)]) {
        let mut own = Closing::default();
        own.see(parts, 0, &rows.points());
        if let (many, Some(row)) = own.without {
            let rows = words::count(many, "row");
            let which = format!("the first is row {row}, counted from 0");
            return Err(Error::invalid(
                format!(
                    "the simplex {all}: {rows} of the {} of the {set} set have a part that is 0 or less; {which}",
                    own.n
                ),
                "a part of 0 has no logarithm: add the resolution of the measurement to the parts, or leave such rows out",
            ));
        }
        if let Some((row, sum, total)) = own.beyond.farthest {
            let (many, [sum, total]) = (words::count(own.beyond.rows, "row"), [sum, total].map(words::rounded));
            return Err(Error::invalid(
                format!(
                    "the simplex {all}: {many} of the {} of the {set} set do not sum to the total within 0.5 %; row {row} \
                     (counted from 0) has {sum}, not {total}",
                    own.n
                ),
                "leave such rows out or scale them to the total; columns without a common total are no simplex",
            ));
        }
        closing.n += own.n;
        closing.closed.rows += own.closed.rows;
        // The farthest is one of training where there is one: rows count in their sets.
        closing.closed.farthest = closing.closed.farthest.or(own.closed.farthest);
    }
    Ok(closing)
}

/// The kinds of the log-ratios, a rule each, and a remark where some have heavy tails. They are never positive ones: that
/// would cut a part of the simplex off.
///
/// # Errors
/// [`Error::Invalid`] for a log-ratio that is the same in all rows.
fn ratio_kinds(
    job: &Job,
    train: &Rows,
    held_out: [&Rows; 2],
    ratios: &[usize],
    columns: &[String],
) -> Result<(Vec<String>, Option<String>)> {
    let column = |x: &Numbers, j: usize| -> Vec<f64> { x.column(j, columns.len()).collect() };
    let (mut rules, mut heavy, mut gain) = (Vec::new(), Vec::new(), 0.0);
    for &j in ratios {
        let own = column(&train.x, j);
        let (low, high) = own.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (v.min(a), v.max(b)));
        if own.len() > 1 && high - low <= 1e-9 * high.abs().max(1.0) {
            let problem = format!("the {} of the parts before it is the same in all training rows", columns[j]);
            return Err(Error::invalid(
                problem,
                "such rows have no density: leave one of these parts out of the simplex",
            ));
        }
        let others = held_out.into_iter().flat_map(|rows| column(&rows.x, j));
        let found = if choose_kinds(job) { fit::kind::choose(&own, others) } else { None };
        let kind = match found.filter(|found| found.kind == ColumnKind::Heavy) {
            None => ColumnKind::Plain,
            Some(found) => {
                heavy.push(columns[j].clone());
                gain += found.gain;
                found.kind
            }
        };
        rules.push(format!("{}:{kind}", columns[j]));
    }
    let have = if heavy.len() == 1 { "has heavy tails" } else { "have heavy tails" };
    let listed = heavy.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Ok((rules, (!heavy.is_empty()).then(|| format!("{listed} {have}: {}", gain_of(gain)))))
}
