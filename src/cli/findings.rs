//! Warnings about the data before the first step.

use std::collections::BTreeSet;

use cnflow::io::Array;
use cnflow::rows::diagnose::Finding;
use cnflow::rows::{Dataset, Rows, Source, diagnose};
use cnflow::train::Job;

use super::Context;

/// What was found in the data of a job, each with its hint as a note.
pub fn noted(job: &Job, data: &Dataset, context: &Context) -> Vec<Finding> {
    let numbered = job.data.drop.is_empty() && job.data.keep.is_empty();
    note_each(cnflow::train::findings(job, data, numbered), context)
}

fn note_each(found: Vec<Finding>, context: &Context) -> Vec<Finding> {
    let named = |finding: Finding| Finding { hint: context.with_names(&finding.hint), ..finding };
    let found: Vec<Finding> = found.into_iter().map(named).collect();
    for finding in &found {
        context.note(&format!("warning: {}\nhint: {}", finding.text, finding.hint));
    }
    found
}

/// As [`noted`], of all rows of a file.
pub fn noted_of(array: &Array, context: &Context) -> Vec<Finding> {
    let data = Dataset {
        name: String::new(),
        dim: array.cols,
        shape: None,
        columns: array.columns.clone(),
        train: Source::Rows(Rows::new(array.data.clone())),
        valid: Rows::default(),
        test: Rows::default(),
        context: None,
        words: Vec::new(),
        places: None,
        notes: Vec::new(),
    };
    note_each(diagnose::dataset(&data, true), context)
}

/// What that means for a likelihood; nothing where the data have a density.
pub fn caution(found: &[Finding]) -> Option<String> {
    let kinds = found.iter().filter(|finding| finding.singular).map(|finding| finding.kind);
    let mut seen = BTreeSet::new();
    let kinds = kinds.filter(|kind| seen.insert(*kind)).collect::<Vec<_>>().join(", ");
    (!kinds.is_empty())
        .then(|| format!("the data have no density ({kinds}): the NLL depends on the narrowest scale of the fit"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_kind_is_said_once() {
        let finding = |&(kind, singular): &(&'static str, bool)| Finding {
            kind,
            columns: Vec::new(),
            numbers: BTreeMap::new(),
            singular,
            text: String::new(),
            hint: String::new(),
        };
        let kinds = [("steps", true), ("atoms", true), ("steps", true), ("copies across the split", false)];
        let found: Vec<Finding> = kinds.iter().map(finding).collect();
        assert!(caution(&found).unwrap().contains("(steps, atoms)"));
        assert_eq!(caution(&found[3..]), None);
    }
}
