//! The rows of a request, from the sources that the command line names.

use std::path::Path;

use anyhow::Result;
use clap::builder::TypedValueParser;
use cnflow::apply::{Conditions, RowSource};
use cnflow::io::{Format, Pick, Reader, Words};
use cnflow::transform::{Latents, Pixels};
use cnflow::{Error, words};

use super::Context;
use super::columns::{self, ColumnArgs, Plan, Role};
use super::given::{self, GivenArgs, Requested};
use super::setup::Setup;

/// The points of a file, in the model's columns, with their conditions; `block` rows at a time, or as many as suit.
///
/// # Errors
/// As [`Context::table_of`], and for columns that do not fit those of the model.
pub fn of_file(
    setup: &Setup,
    path: &Path,
    (role, picked): (Role, &ColumnArgs),
    given: &GivenArgs,
    block: Option<usize>,
    context: &Context,
) -> Result<RowSource> {
    let requested = given.requested(&setup.model)?;
    of_requested(setup, path, (role, picked), requested, block, context)
}

/// As [`of_file`], of points whose conditions may be missing: they are then empty.
///
/// # Errors
/// As [`of_file`].
pub fn of_points(
    setup: &Setup,
    path: &Path,
    picked: &ColumnArgs,
    given: &GivenArgs,
    block: Option<usize>,
    context: &Context,
) -> Result<RowSource> {
    let requested = match given.requested(&setup.model)? {
        Requested::Nothing => Requested::Optional,
        requested => requested,
    };
    of_requested(setup, path, (Role::Points, picked), requested, block, context)
}

fn of_requested(
    setup: &Setup,
    path: &Path,
    (role, picked): (Role, &ColumnArgs),
    requested: Requested,
    block: Option<usize>,
    context: &Context,
) -> Result<RowSource> {
    let model = &setup.model;
    let conditions = if let Requested::File(file) = &requested { Some(file.as_path()) } else { None };
    context.dialect.check_for(&[Some(path), conditions].into_iter().flatten().collect::<Vec<_>>())?;
    let mut reader = context.table_of(path, &picked.pick(&requested, model), &given::may_be_words(model))?;
    same_images(&reader, path, model.spec.pixels.as_ref().filter(|_| role == Role::Points), role)?;
    let Plan { places, own, mut notes } =
        columns::plan(&reader, format!("`{}`", path.display()), model, role, (&requested, picked))?;
    reader.keep(&places)?;
    if role == Role::Points {
        for (j, words) in model.spec.column_words().into_iter().enumerate().filter(|(_, words)| !words.is_empty()) {
            reader.read_words(j, words);
        }
    }
    if own > 0 {
        given::read_words(&mut reader, model.dim(), model);
    }
    if role == Role::Points {
        reader.allow_missing();
    }
    context.notes_on_tables(&notes);
    let conditions = given::beside_points(requested, model, context, &mut notes)?;
    Ok(RowSource::of_reader(reader, model.dim(), own, conditions, block)?.with_notes(notes).watched(model)?)
}

/// `rows` with the weights that are `wanted`: a file of them, or a column of the file of the points.
///
/// # Errors
/// As [`Context::table_of`]; [`Error::Invalid`] for another number of weights than points.
pub fn with_weights(rows: RowSource, wanted: &str, points: &Path, context: &Context) -> Result<RowSource> {
    let file = Path::new(wanted);
    let of_file = Format::of(file).is_some();
    let texts: Vec<&Path> = [points].into_iter().chain(of_file.then_some(file)).collect();
    context.dialect.check_for(&texts)?;
    let reader = match of_file {
        true => context.table_of(file, &Pick::default(), &Words::default())?,
        false => Reader::open_pick(
            points,
            (&context.dialect, context.layout),
            &Pick { keep: vec![wanted.to_owned()], ..Pick::default() },
            None,
            &Words::default(),
        )?,
    };
    if reader.shape().is_some() {
        let problem = format!("the weights `{wanted}`: images have no weights among their pixels");
        return Err(Error::invalid(problem, "give a file with a weight for each image").into());
    }
    if reader.cols() != 1 {
        let problem = format!("`{wanted}` holds {}, not one of weights", words::count(reader.cols() as u64, "column"));
        return Err(Error::invalid(problem, "give one weight for each point").into());
    }
    Ok(rows.with_weights(reader)?)
}

/// Refuses points of a file that are not images of the model's shape, and images where the model is not one of images.
fn same_images(reader: &Reader, path: &Path, pixels: Option<&Pixels>, role: Role) -> Result<()> {
    let (found, wanted) = (reader.shape(), pixels.map(|pixels| pixels.shape));
    if found == wanted {
        return Ok(());
    }
    let path = path.display();
    let (problem, hint) = match (found, wanted) {
        (Some(found), Some(wanted)) => (
            format!(
                "`{path}` holds images of {}, the model was trained on images of {}",
                words::image(found),
                words::image(wanted)
            ),
            "give images of the model's size and kind".to_owned(),
        ),
        (Some(found), None) if role == Role::Latents => (
            format!("`{path}` holds images of {}, not latents", words::image(found)),
            "give latents, [n, d], as `cnf invert` writes them".to_owned(),
        ),
        (Some(found), None) => (
            format!(
                "`{path}` holds images of {}, the model was trained on rows that are not images",
                words::image(found)
            ),
            "give points of shape [n, d]".to_owned(),
        ),
        (None, wanted) => (
            format!(
                "`{path}` holds no images, the model was trained on images of {}",
                wanted.map_or(String::new(), words::image)
            ),
            "give u8 images of shape [n, height, width] or [n, height, width, channels]".to_owned(),
        ),
    };
    Err(Error::invalid(problem, hint).into())
}

/// `n` latents of the sample of `seed` from row `first` on, or as many as there are conditions.
///
/// # Errors
/// For another number of conditions, and for rows that have no number.
pub fn of_latents(
    setup: &Setup,
    seed: u64,
    first: u64,
    n: Option<u64>,
    conditions: Conditions,
    block: Option<usize>,
) -> Result<RowSource> {
    Ok(RowSource::of_latents(Latents::new(setup.model.dim(), seed), first, n, conditions, block)?
        .watched(&setup.model)?)
}

/// `--block`: from one row to as many as surely fit.
pub fn block() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u32).range(1..=1 << 24).map(|rows| rows as usize)
}
