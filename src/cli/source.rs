//! The rows of a request, from the sources that the command line names.

use std::path::Path;

use anyhow::Result;
use clap::builder::TypedValueParser;
use cnflow::Rng;
use cnflow::apply::{Conditions, RowSource};

use super::Context;
use super::columns::{self, Plan, Role};
use super::given::{self, GivenArgs};
use super::setup::Setup;

/// The points of a file, in the model's columns, with their conditions; `block` rows at a time, or as many as suit.
///
/// # Errors
/// As [`Context::table`], and for columns that do not fit those of the model.
pub fn of_file(
    setup: &Setup,
    path: &Path,
    role: Role,
    given: &GivenArgs,
    block: Option<usize>,
    context: &Context,
) -> Result<RowSource> {
    let model = &setup.model;
    let requested = given.requested(model)?;
    let mut reader = context.table(path)?;
    let Plan { places, own, mut notes } =
        columns::plan(&reader, format!("`{}`", path.display()), model, role, &requested)?;
    reader.keep(&places)?;
    context.notes_on_tables(&notes);
    let conditions = given::beside_points(requested, model, context, &mut notes)?;
    Ok(RowSource::of_reader(reader, model.dim(), own, conditions, block)?.with_notes(notes).watched(model)?)
}

/// `n` latents, or as many as there are conditions, drawn in their order from one generator.
///
/// # Errors
/// For another number of conditions.
pub fn of_latents(
    setup: &Setup,
    n: Option<u64>,
    rng: Rng,
    conditions: Conditions,
    block: Option<usize>,
) -> Result<RowSource> {
    Ok(RowSource::of_latents(n, setup.model.dim(), rng, conditions, block)?.watched(&setup.model)?)
}

/// `--block`: from one row to as many as surely fit.
pub fn block() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u32).range(1..=1 << 24).map(|rows| rows as usize)
}
