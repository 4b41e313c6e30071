//! The order of the axes of images, and the shape of an image.

use std::path::Path;

use cnflow_kernels::ImageShape;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The most numbers in an image: far beyond use, within memory.
pub(super) const MOST_NUMBERS: usize = 1 << 24;
/// Grey, grey with one more, colour, colour with one more.
const MOST_CHANNELS: usize = 4;

/// Where the channels are among the four axes of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// By the sizes: the axis of 1 to 4 is that of the channels, the last where both are.
    #[default]
    Auto,
    /// `[n, height, width, channels]`.
    Hwc,
    /// `[n, channels, height, width]`.
    Chw,
}

impl Layout {
    /// Whether it is by the sizes.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl std::str::FromStr for Layout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "hwc" => Ok(Self::Hwc),
            "chw" => Ok(Self::Chw),
            _ => Err(Error::Unknown { kind: "layout", name: text.into(), known: "auto, hwc, chw".into() }),
        }
    }
}

/// The images of an array, as its axes behind the first say.
pub(crate) struct Plan {
    pub shape: ImageShape,
    /// For each number of an image, `[y][x][channel]`, its place in the file; none where the order is that of the file.
    pub places: Option<Vec<usize>>,
    /// What was decided by the sizes.
    pub note: Option<String>,
}

/// How the axes behind the first, of which there are two or three, are those of an image.
///
/// # Errors
/// [`Error::Read`] where none of them can be that of the channels, and for images beyond use.
pub(crate) fn plan(path: &Path, axes: &[usize], layout: Layout) -> Result<Plan> {
    let sizes = |sizes: &[usize]| sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let (shape, chw, note) = match *axes {
        [height, width] => (ImageShape { height, width, channels: 1 }, false, None),
        [first, second, third] => {
            let few = |n: usize| n <= MOST_CHANNELS;
            let chw = match layout {
                Layout::Hwc => false,
                Layout::Chw => true,
                Layout::Auto if few(third) => false,
                Layout::Auto if few(first) => true,
                Layout::Auto => {
                    let problem = format!("neither the first nor the last axis of {} is that of channels", sizes(axes));
                    return Err(Error::read(path, problem, "set `data.layout` to hwc or chw"));
                }
            };
            let order = if chw { "[n, channels, height, width]" } else { "[n, height, width, channels]" };
            let said = format!("`{}`: its axes are read as {order}", path.display());
            let note = (layout.is_auto() && third != 1).then_some(said);
            match chw {
                true => (ImageShape { height: second, width: third, channels: first }, true, note),
                false => (ImageShape { height: first, width: second, channels: third }, false, note),
            }
        }
        _ => return Err(Error::read(path, "it does not hold images", "give u8 images of shape [n, height, width]")),
    };
    if shape.channels > MOST_CHANNELS {
        let problem = format!("its images have {} channels, expected at most {MOST_CHANNELS}", shape.channels);
        return Err(Error::read(path, problem, "set `data.layout` to the other order of the axes"));
    }
    if shape.len() > MOST_NUMBERS {
        let problem = format!("an image of {} is larger than {MOST_NUMBERS} numbers", sizes(axes));
        return Err(Error::read(path, problem, "give smaller images"));
    }
    let ImageShape { height, width, channels } = shape;
    let places = (chw && channels > 1).then(|| {
        let pixels = height * width;
        (0..pixels).flat_map(|pixel| (0..channels).map(move |c| c * pixels + pixel)).collect()
    });
    Ok(Plan { shape, places, note })
}
