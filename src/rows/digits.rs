//! The handwritten digits that are built in: 1797 images of 8 × 8 grey levels from 0 to 16.
//!
//! They are those of `examples/data`, which has their source. A model of images is trained on them in seconds, without
//! a file.

use std::path::Path;

use cnflow_kernels::ImageShape;

use super::table::{at_random, by_codes, by_file, code};
use super::{Context, SplitRule, Table, TableOptions, context};
use crate::io::npy;
use crate::{Error, Result};

/// The name of the data set.
pub const NAME: &str = "digits";
/// What it is, in a few words.
pub const ABOUT: &str = "handwritten digits, 1797 images of 8 × 8";
/// The name of the column that is the condition where one is set: which digit it is.
pub const LABEL: &str = "digit";
/// The shape of an image.
pub const SHAPE: ImageShape = ImageShape { height: 8, width: 8, channels: 1 };

static IMAGES: &[u8] = include_bytes!("../../examples/data/digits8x8.npy");
static LABELS: &[u8] = include_bytes!("../../examples/data/digits8x8_labels.npy");
static SPLIT: &[u8] = include_bytes!("../../examples/data/digits8x8_split.npy");

/// The images, `[1797, 64]`.
///
/// # Errors
/// None: the file is part of the program.
pub fn images() -> Result<Vec<u8>> {
    Ok(npy::parse(Path::new(NAME), IMAGES)?.data.into_iter().map(|v| v as u8).collect())
}

/// Which digit each is, `[1797]`.
///
/// # Errors
/// None: the file is part of the program.
pub fn labels() -> Result<Vec<f64>> {
    Ok(npy::parse(Path::new(NAME), LABELS)?.data)
}

/// The images with their own split, or with that of the options, whose other fields have no meaning here.
///
/// # Errors
/// [`Error::Invalid`] for columns to leave out; as for a table for another split.
pub(super) fn table(options: &TableOptions, seed: u64) -> Result<Table> {
    if let Some(column) = options.drop.first() {
        let problem = format!("the column `{column}` of the data set `{NAME}`: images have no columns to leave out");
        return Err(Error::invalid(problem, "leave out `data.drop`"));
    }
    let mut table = Table::of_images(images()?, SHAPE, Vec::new());
    let codes = npy::parse(Path::new(NAME), SPLIT)?.data;
    let codes: Vec<_> = codes.iter().map(|v| code(*v).ok_or_else(|| v.to_string())).collect();
    let path = Path::new(NAME);
    table.split = match &options.split {
        SplitRule::Auto => by_codes(path, "the split", &codes, &|row| format!("row {row}"))?,
        SplitRule::File(file) => {
            let mut notes = Vec::new();
            let split = by_file(file, path, &table, &options.dialect, &mut notes)?;
            table.notes.extend(notes);
            split
        }
        &SplitRule::Fractions { train, valid } => {
            at_random(path, &table, (train, valid), options.copies_together, seed)?
        }
        SplitRule::Column(column) => {
            let problem = format!("the data set `{NAME}` has no column `{column}`");
            return Err(Error::invalid(problem, "give the split as a file of codes, or as shares"));
        }
    };
    Ok(table)
}

/// The labels as the context, where `wanted` names them.
///
/// # Errors
/// [`Error::Unknown`] for another column.
pub(super) fn context(wanted: &[String]) -> Result<Option<(Context, Vec<f64>)>> {
    match wanted {
        [] => Ok(None),
        [one] if context::name_of(one) == LABEL => {
            Ok(Some((Context { dim: 1, columns: vec![LABEL.into()], ..Context::default() }, labels()?)))
        }
        [first, ..] => Err(Error::Unknown { kind: "column", name: first.clone(), known: LABEL.into() }),
    }
}
