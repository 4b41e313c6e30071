//! How the conditions of a run are encoded, by what its job says of them and by their training rows.

use crate::rows::Dataset;
use crate::transform::{Condition, ContextColumn};
use crate::{Error, Result};

/// How the conditions of the data are encoded: as the texts of the job (`data.condition`) set, or else by their
/// training rows.
pub(super) fn condition(kinds: &[String], data: &Dataset) -> Result<Option<Condition>> {
    let Some(context) = &data.context else { return Ok(None) };
    let fit = |j: usize| {
        let name = context.columns.get(j).map_or_else(|| j.to_string(), Clone::clone);
        // One kind for all columns of a file.
        let text = if context.dim > 1 && kinds.len() == 1 { kinds.first() } else { kinds.get(j) };
        // A name may end like a kind.
        let kind = text.filter(|text| **text != name).and_then(|text| text.rsplit_once(':'));
        let kind = kind.and_then(|(_, kind)| kind.parse().ok());
        let values = column(data, j, context.dim);
        ContextColumn::fit(kind.unwrap_or_default(), &values)
            .map_err(|e| Error::invalid(format!("the condition `{name}`: {e}"), e.hint().unwrap_or_default()))
    };
    let columns = (0..context.dim).map(fit).collect::<Result<Vec<_>>>()?;
    let condition = Condition { columns, names: context.columns.clone() };
    check_context(&condition, data)?;
    Ok(Some(condition))
}

/// Rejects conditions of held-out rows that the model cannot encode, before the training instead of after it.
pub(super) fn check_context(condition: &Condition, data: &Dataset) -> Result<()> {
    let train = data.training_rows().map(|rows| ("training", rows));
    for (set, rows) in train.into_iter().chain([("validation", &data.valid), ("test", &data.test)]) {
        condition.encode(&rows.context).map_err(|e| {
            let hint = format!("{}; or read the column as a number, not as a class", e.hint().unwrap_or_default());
            Error::invalid(format!("the conditions of the {set} set: {e}"), hint)
        })?;
    }
    Ok(())
}

/// Column `j` of the `c` columns of the training rows' context.
pub(super) fn column(data: &Dataset, j: usize, c: usize) -> Vec<f64> {
    let context = data.training_rows().map_or(&[][..], |rows| &rows.context);
    context.iter().skip(j).step_by(c).copied().collect()
}
