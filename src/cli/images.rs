//! Images in pictures: which of them, in which columns, and how near they are to others.

use cnflow::ImageShape;
use cnflow::apply::BitsPerDim;
use cnflow::model::Model;
use cnflow::plot::ImageBlock;
use cnflow::transform::{ContextColumn, Pixels};
use rayon::prelude::*;

/// Columns of a block without classes.
pub const COLUMNS: usize = 8;

/// The classes that a model is conditioned on, where there is one such condition and no other; none else, or for more
/// than 12.
pub fn classes(model: &Model) -> Option<&[i64]> {
    match &model.spec.condition.as_ref()?.columns[..] {
        [ContextColumn::Class { classes }] if classes.len() <= 12 => Some(classes),
        _ => None,
    }
}

/// The greatest grey level of a model's images.
pub fn most(pixels: &Pixels) -> f64 {
    pixels.levels() as f64 - 1.0
}

/// What scores of rows are counted in: nats, or for images bits per dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreUnit {
    /// Of one unit.
    pub nats: f64,
    /// `nats` or `bits/dim`.
    pub name: &'static str,
}

impl ScoreUnit {
    /// Of rows that are images of this shape, if they are any.
    pub fn of(shape: Option<ImageShape>) -> Self {
        match shape {
            Some(shape) => Self { nats: BitsPerDim::unit(shape.len()), name: "bits/dim" },
            None => Self { nats: 1.0, name: "nats" },
        }
    }

    /// A running score in words, its figure in this unit: `NLL 1.25`, or `1.25 bits/dim`.
    pub fn score(&self, figure: &str) -> String {
        if *self == Self::of(None) { format!("NLL {figure}") } else { format!("{figure} {}", self.name) }
    }
}

/// Images `[n, d]` and their conditions as a block of at most `rows` rows: a class a column where the model has
/// classes.
pub fn block(
    title: &str,
    model: &Model,
    pixels: &Pixels,
    images: &[f64],
    conditions: &[f64],
    rows: usize,
) -> ImageBlock {
    let d = pixels.dim();
    let Some(classes) = classes(model) else {
        let columns = COLUMNS.min(images.len() / d).max(1);
        let taken = (rows * columns).min(images.len() / d);
        return ImageBlock::new(title, &images[..taken * d], most(pixels), columns);
    };
    let of = |class: &i64| -> Vec<&[f64]> {
        let with = images.chunks_exact(d).zip(conditions).filter(|(_, c)| **c == *class as f64);
        with.map(|(image, _)| image).take(rows).collect()
    };
    let columns: Vec<Vec<&[f64]>> = classes.iter().map(of).collect();
    let high = columns.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let empty = vec![f64::NAN; d];
    let cells = (0..high).flat_map(|row| columns.iter().map(move |column| column.get(row).copied()));
    let all: Vec<f64> = cells.flat_map(|cell| cell.unwrap_or(&empty)).copied().collect();
    let labels = model.spec.class_labels(0);
    ImageBlock::new(title, &all, most(pixels), classes.len()).labelled(labels)
}

/// For each of the images `[n, d]` the nearest of the known ones `[m, d]`, by the sum of squares.
pub fn nearest(images: &[f64], known: &[u8], shape: ImageShape) -> Vec<f64> {
    let d = shape.len();
    let one = |image: &[f64]| -> Vec<f64> {
        let bytes: Vec<i32> = image.iter().map(|v| *v as i32).collect();
        let distance = |row: &[u8]| -> u64 {
            let squares = row.iter().zip(&bytes).map(|(a, b)| (i32::from(*a) - b).pow(2) as u32);
            squares.map(u64::from).sum()
        };
        let best = known.chunks_exact(d).min_by_key(|row| distance(row));
        best.unwrap_or_default().iter().map(|v| f64::from(*v)).collect()
    };
    images.par_chunks_exact(d).flat_map(one).collect()
}

/// The latents as grey levels: 0 is half grey, three deviations are black and white.
pub fn of_latents(title: &str, z: &[f64], columns: usize) -> ImageBlock {
    let images = z.iter().map(|z| 0.5 + z / 6.0).collect();
    ImageBlock { title: title.into(), images, columns, ..ImageBlock::default() }
}

/// The point at part `s` of the arc from one latent to another: its length is between theirs, which that of a straight
/// line is not.
pub fn on_arc(from: &[f64], to: &[f64], s: f64) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let angle = (dot(from, to) / (dot(from, from) * dot(to, to)).sqrt()).clamp(-1.0, 1.0).acos();
    let (a, b) = match angle.sin() {
        sin if sin > 1e-9 => (((1.0 - s) * angle).sin() / sin, (s * angle).sin() / sin),
        _ => (1.0 - s, s),
    };
    from.iter().zip(to).map(|(x, y)| a * x + b * y).collect()
}
