//! The rows of the state that a layer acts on.
//!
//! A layer of a table acts on all columns. A flow of images has levels: at level 0 a plane has the pixels of the image;
//! from one level to the next, squares of 2 × 2 pixels become one pixel, channels `[dy][dx][channel]`, and from level 1
//! on the second half of the channels is split off before. Nothing is moved for it: a plane is a list of rows of the
//! state, which stays in the order of the data.  Ref: Dinh, Sohl-Dickstein & Bengio (2017), sections 3.6 and 3.7.

use cnflow_kernels::ImageShape;
use serde::{Deserialize, Serialize};

/// Which part of its plane a coupling of images changes; the other part passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The first half of the channels; of an odd number the smaller one.
    First,
    /// The second half of the channels.
    Second,
    /// The pixels with an even sum of row and column: a checkerboard. At level 0 these are pixels of the plane, beyond
    /// it those within its squares, which are channels.
    Even,
    /// The pixels with an odd sum of row and column.
    Odd,
}

impl Part {
    /// The name, as saved.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Even => "even",
            Self::Odd => "odd",
        }
    }

    /// Whether it is a set of pixels of the plane at `level`, not of channels.
    pub(super) fn is_of_pixels(self, level: usize) -> bool {
        level == 0 && matches!(self, Self::Even | Self::Odd)
    }

    /// Whether a channel out of `channels`, of a pixel in row `y` and column `x` of the plane at `level`, is in it.
    pub(super) fn holds(self, level: usize, channels: usize, (y, x, channel): (usize, usize, usize)) -> bool {
        let even = if level == 0 {
            (y + x).is_multiple_of(2)
        } else {
            // [dy][dx][channel]
            let square = channel / (channels / 4);
            square == 0 || square == 3
        };
        match self {
            Self::First => channel < channels / 2,
            Self::Second => channel >= channels / 2,
            Self::Even => even,
            Self::Odd => !even,
        }
    }
}

/// The rows that a layer acts on.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    /// Pixels and channels; of a table one pixel, whose channels are the columns.
    pub shape: ImageShape,
    /// `[pixel][channel]`.
    pub rows: Vec<usize>,
    /// The rows of the state that the layer leaves alone.
    pub rest: Vec<usize>,
}

/// The shape of the plane at a level of images; none where sizes on the way are odd, or nothing is left.
pub(super) fn shape_at(image: ImageShape, level: usize) -> Option<ImageShape> {
    let mut shape = image;
    for l in 1..=level {
        if !shape.height.is_multiple_of(2) || !shape.width.is_multiple_of(2) || shape.is_empty() {
            return None;
        }
        let channels = if l == 1 { shape.channels } else { shape.channels / 2 };
        shape = ImageShape { height: shape.height / 2, width: shape.width / 2, channels: 4 * channels };
    }
    Some(shape)
}

/// The finest level whose steps come first, and the coarsest one that images of this shape have: from 1 where their
/// sides are even, level 0 alone where one is odd.
pub(super) fn levels(image: ImageShape) -> std::ops::RangeInclusive<usize> {
    let last = (1..).take_while(|level| shape_at(image, *level).is_some()).last();
    last.map_or(0..=0, |last| 1..=last)
}

impl Plane {
    /// All columns of a table.
    pub fn table(dim: usize) -> Self {
        let shape = ImageShape { height: 1, width: 1, channels: dim };
        Self { shape, rows: (0..dim).collect(), rest: Vec::new() }
    }

    /// The plane at a level of images.
    pub fn level(image: ImageShape, level: usize) -> Option<Self> {
        let (mut shape, mut rows) = (image, (0..image.len()).collect::<Vec<_>>());
        for l in 1..=level {
            let coarse = shape_at(image, l)?;
            // All channels of the image, the first half of those of a later plane.
            let kept = coarse.channels / 4;
            let mut squares = Vec::with_capacity(coarse.len());
            for (y, x) in (0..coarse.height).flat_map(|y| (0..coarse.width).map(move |x| (y, x))) {
                for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let pixel = (2 * y + dy) * shape.width + 2 * x + dx;
                    squares.extend_from_slice(&rows[pixel * shape.channels..][..kept]);
                }
            }
            (shape, rows) = (coarse, squares);
        }
        let mut acts = vec![false; image.len()];
        rows.iter().for_each(|row| acts[*row] = true);
        let rest = (0..image.len()).filter(|row| !acts[*row]).collect();
        Some(Self { shape, rows, rest })
    }

    /// The rows of one pixel.
    pub fn pixels(&self) -> impl Iterator<Item = &[usize]> {
        self.rows.chunks_exact(self.shape.channels.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize, channels: usize) -> ImageShape {
        ImageShape { height, width, channels }
    }

    #[test]
    fn levels_end_where_a_side_is_odd() {
        for (shape, expected) in [
            (image(1, 1, 1), 0..=0),
            (image(5, 7, 3), 0..=0),
            (image(4, 7, 1), 0..=0),
            (image(6, 6, 3), 1..=1),
            (image(8, 8, 1), 1..=3),
            (image(28, 28, 1), 1..=2),
        ] {
            assert_eq!(levels(shape), expected, "{shape:?}");
        }
    }

    #[test]
    fn planes_are_squares_of_pixels_and_each_level_has_half_the_numbers_of_the_one_before() {
        let shape = image(4, 4, 1);
        assert_eq!(Plane::level(shape, 0).unwrap().rows, (0..16).collect::<Vec<_>>());
        let first = Plane::level(shape, 1).unwrap();
        assert_eq!(first.rows, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        let second = Plane::level(shape, 2).unwrap();
        // The upper rows of the squares are kept.
        assert_eq!(second.rows, [0, 1, 2, 3, 8, 9, 10, 11]);
        assert_eq!(second.rest, [4, 5, 6, 7, 12, 13, 14, 15]);
        assert_eq!(second.shape, image(1, 1, 8));
        assert!(Plane::level(shape, 3).is_none());
        let colour = Plane::level(image(8, 4, 3), 2).unwrap();
        assert_eq!((colour.shape, colour.rows.len(), colour.rest.len()), (image(2, 1, 24), 48, 48));
        assert_eq!(colour.rows[..6], [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_checkerboard_of_squares_is_that_of_their_pixels() {
        let shape = image(4, 6, 3);
        let plane = Plane::level(shape, 1).unwrap();
        for (p, pixel) in plane.pixels().enumerate() {
            for (c, row) in pixel.iter().enumerate() {
                let place = (row / 3 / 6, row / 3 % 6, row % 3);
                let coarse = (p / 3, p % 3, c);
                for part in [Part::Even, Part::Odd] {
                    assert_eq!(part.holds(1, 12, coarse), part.holds(0, 3, place), "{row}");
                }
            }
        }
    }
}
