//! The data of a job: read as it sets, and for a model with the columns in the model's order.

use std::path::Path;

use super::Job;
use crate::io::{Dialect, Format, Reader};
use crate::model::FlowSpec;
use crate::names::{Matched, NamedTable};
use crate::rows::{DataOptions, Dataset, Memory, SplitRule, TableOptions};
use crate::transform::ColumnKind;
use crate::{Error, Result};

impl Job {
    /// The data that the job is about, or those called `name` under the same options.
    ///
    /// # Errors
    /// As [`resolve`](crate::rows::resolve) and [`split_rule`](super::split_rule).
    pub fn dataset(&self, name: Option<&str>) -> Result<Dataset> {
        crate::rows::resolve(name.unwrap_or(&self.data.source), &self.data.options()?, self.split_seed())
    }

    /// The data set of rows in memory, as [`Memory::dataset`], under the options of the job.
    ///
    /// # Errors
    /// As [`Memory::dataset`] and [`split_rule`](super::split_rule).
    pub fn dataset_in_memory(&self, rows: Memory, valid: Option<Memory>) -> Result<Dataset> {
        rows.dataset(&self.data.options()?, self.split_seed(), valid)
    }

    /// The columns of the data that the job calls integers or classes.
    pub fn integers(&self, data: &Dataset) -> Vec<usize> {
        let place = |name: &str| {
            let named = data.columns.as_ref().and_then(|names| names.iter().position(|known| known == name));
            named.or_else(|| name.parse().ok().filter(|j| *j < data.dim))
        };
        let rules = self.data.columns.iter().filter_map(|text| super::column_rule(text).ok());
        let whole = rules.filter(|(_, kind)| matches!(kind, ColumnKind::Integer { .. } | ColumnKind::Class));
        let mut places: Vec<usize> = whole.filter_map(|(name, _)| place(name)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// What a table's random split is drawn by.
    pub fn split_seed(&self) -> u64 {
        self.data.split_seed.unwrap_or(self.seed)
    }

    /// As [`Job::dataset`], for the model of this spec that the job made: its conditions are found by its own names,
    /// and the columns are brought into its order. What was done is returned in words.
    ///
    /// # Errors
    /// As [`Job::dataset`] and [`Dataset::arrange`].
    pub fn dataset_of(&self, spec: &FlowSpec, name: Option<&str>) -> Result<(Dataset, Vec<String>)> {
        let names = spec.condition_names();
        // Numbers of columns mean something in the file of the training only.
        let by_name = !names.is_empty() && !crate::rows::is_file(&self.data.condition) && !spec.names.is_empty();
        let condition = if by_name { names.to_vec() } else { self.data.condition.clone() };
        self.clone().with(|job| job.data.condition = condition).matched(spec, name, true)
    }

    /// As [`Job::dataset`], for a model of this spec: the columns are brought into its order. What was done is returned
    /// in words.
    ///
    /// # Errors
    /// As [`Job::dataset`] and [`Dataset::arrange`].
    pub fn dataset_for(&self, spec: &FlowSpec, name: Option<&str>) -> Result<(Dataset, Vec<String>)> {
        self.matched(spec, name, false)
    }

    fn matched(&self, spec: &FlowSpec, name: Option<&str>, own: bool) -> Result<(Dataset, Vec<String>)> {
        let name = name.unwrap_or(&self.data.source);
        let mut options = self.data.options()?;
        if name != self.data.source && Format::of(Path::new(name)) != Some(Format::Csv) {
            options.table.dialect = Dialect::default();
        }
        if let Some(table) = &spec.classes {
            let name = |j: &usize| spec.names.get(*j).cloned().unwrap_or_else(|| j.to_string());
            options.classes = table.places.iter().map(name).collect();
        }
        let unweighted = self.without_weights(Path::new(name), &mut options)?;
        let surplus = self.surplus(spec, Path::new(name), own, &mut options)?;
        options.table.drop.extend(surplus.iter().cloned());
        let mut data = crate::rows::resolve(name, &options, self.split_seed())?;
        let table = format!("`{name}`");
        // Columns that the training left out too are not reported.
        let news = surplus.into_iter().filter(|name| !self.data.drop.contains(name)).collect();
        let left_out = Matched { places: Vec::new(), left_out: news };
        let mut notes = data.notes.clone();
        notes.extend(unweighted);
        notes.extend(left_out.note(NamedTable::of_file(&table, &[])));
        notes.extend(data.arrange(&spec.names, spec.condition_names())?);
        data.translate(&spec.column_words(), &spec.condition_words())?;
        if data.has_gaps() {
            data = data.without_gaps();
            notes.push(format!("{table}: only its rows without a missing cell are used here"));
            if data.n_train() == Some(0) {
                let hint = "give rows with all their cells";
                return Err(Error::read(Path::new(name), "each row for training has a missing cell", hint));
            }
        }
        Ok((data, notes))
    }

    /// Rows of another table than the job's own count alike where it has no column of the weights' name; a note says so.
    fn without_weights(&self, path: &Path, options: &mut DataOptions) -> Result<Option<String>> {
        let Some(weights) = options.weights.clone() else { return Ok(None) };
        let other = path != Path::new(&self.data.source);
        if !other || (crate::rows::toys::find(&path.to_string_lossy()).is_err() && self.has_column(path, &weights)?) {
            return Ok(None);
        }
        options.weights = None;
        Ok(Some(format!("`{}` has no weights `{weights}`: each row counts alike", path.display())))
    }

    /// Whether a table has a column of this name. Numbers of columns and files of weights belong to one table.
    fn has_column(&self, path: &Path, name: &str) -> Result<bool> {
        if !Format::of(path).is_some_and(Format::names_columns) {
            return Ok(false);
        }
        let reader = Reader::open_as(path, &self.data.dialect())?;
        Ok(reader.columns().unwrap_or_default().iter().any(|known| known == name))
    }

    /// The columns of a text, or of Parquet, that the model does not have, by name: they may hold anything. Its
    /// conditions are named in `options` then. Where the job is the model's own, the columns that were dropped are among
    /// them.
    fn surplus(&self, spec: &FlowSpec, path: &Path, own: bool, options: &mut DataOptions) -> Result<Vec<String>> {
        if !options.table.keep.is_empty() {
            // The model's own columns are kept, by name where they have some.
            if own && !spec.names.is_empty() {
                options.table.keep.clone_from(&spec.names);
            }
            return Ok(Vec::new());
        }
        if spec.names.is_empty()
            || !Format::of(path).is_some_and(Format::names_columns)
            || crate::rows::toys::find(&path.to_string_lossy()).is_ok()
        {
            return Ok(Vec::new());
        }
        let TableOptions { split, drop, .. } = &options.table;
        let dropped = |(at, name): (usize, &String)| drop.contains(name) || drop.contains(&at.to_string());
        let weighs =
            |at: usize, name: &String| options.weights.as_ref().is_some_and(|w| w == name || *w == at.to_string());
        let apart =
            |at: usize, name: &String| matches!(split, SplitRule::Column(column) if column == name) || weighs(at, name);
        let reader = Reader::open_as(path, &self.data.dialect())?;
        // The labels of rows are none of its columns.
        let all = reader.numbers().iter().copied().zip(reader.columns().unwrap_or_default());
        let kept = all.filter(|(at, name)| (own || !dropped((*at, *name))) && !apart(*at, name));
        let (numbers, names): (Vec<usize>, Vec<String>) = kept.map(|(at, name)| (at, name.clone())).unzip();
        if spec.names.iter().any(|name| !names.contains(name)) {
            // Something is missing; the match of the names reports it.
            return Ok(Vec::new());
        }
        let condition = crate::rows::places(&self.data.condition, Some(&names), &numbers).unwrap_or_default();
        let is_surplus = |at: &usize| {
            let name = &names[*at];
            let once = names.iter().filter(|other| *other == name).count() == 1;
            once && !spec.names.contains(name) && !condition.contains(at)
        };
        let surplus: Vec<String> = (0..names.len()).filter(is_surplus).map(|at| names[at].clone()).collect();
        if own {
            // A number of a column means nothing in a file that may have changed.
            options.table.drop.clear();
        }
        if !surplus.is_empty() && !condition.is_empty() {
            // Numbers of columns change with those that are left out.
            options.condition = condition.iter().map(|at| names[*at].clone()).collect();
        }
        Ok(surplus)
    }
}
