//! The errors of a net, with their numbers.

use thiserror::Error;

use crate::Activation;

/// The result of everything fallible here.
pub type Result<T> = std::result::Result<T, Error>;

/// An error in one sentence; [`Error::hint`] gives the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A net without layers.
    #[error("a net needs at least one layer")]
    NoLayers,
    /// A layer without units, or a net without inputs.
    #[error("{what} has size 0")]
    Empty {
        /// Which.
        what: String,
    },
    /// A size beyond any memory.
    #[error("{what} has size {size}, the most is {most}")]
    TooLarge {
        /// Which.
        what: String,
        /// Its size.
        size: usize,
        /// The largest size.
        most: usize,
    },
    /// More inputs are differentiated than there are.
    #[error("{active} inputs are differentiated, the net has {inputs}")]
    Active {
        /// How many are to be differentiated.
        active: usize,
        /// How many there are.
        inputs: usize,
    },
    /// Two operations that do not fit each other.
    #[error("operation {index} takes {expected} rows, the one before it gives {found}")]
    Joint {
        /// Which operation, counted from 0.
        index: usize,
        /// The rows that it takes.
        expected: usize,
        /// The rows that it is given.
        found: usize,
    },
    /// A convolution with a kernel of another size than 1 and 3.
    #[error("operation {index} has a kernel of {kernel} × {kernel} pixels")]
    Kernel {
        /// Which operation, counted from 0.
        index: usize,
        /// The width and height of the kernel.
        kernel: usize,
    },
    /// Channels that cannot be spread over squares of pixels.
    #[error("operation {index} cannot spread {} × {} pixels of {} channels over {height} × {width} pixels by a factor \
        of {factor}", found[0], found[1], found[2])]
    Spread {
        /// Which operation, counted from 0.
        index: usize,
        /// The side of the squares.
        factor: usize,
        /// Height, width and channels of the plane.
        found: [usize; 3],
        /// Rows of pixels of the result.
        height: usize,
        /// Pixels in a row of the result.
        width: usize,
    },
    /// A plane is added that is not an earlier one.
    #[error("operation {index} adds plane {plane}, which must come before plane {index}")]
    Plane {
        /// Which operation, counted from 0.
        index: usize,
        /// The plane.
        plane: usize,
    },
    /// Planes of different shapes are added.
    #[error("operation {index} adds plane {plane} of {} × {} pixels and {} channels to one of {} × {} and {}",
        found[0], found[1], found[2], expected[0], expected[1], expected[2])]
    Planes {
        /// Which operation, counted from 0.
        index: usize,
        /// The plane.
        plane: usize,
        /// Height, width and channels of the plane before the operation.
        expected: [usize; 3],
        /// Those of the plane that is added.
        found: [usize; 3],
    },
    /// A modulation in a net that has no embedding.
    #[error("operation {index} is a modulation, but the net has no embedding")]
    Unembedded {
        /// Which operation, counted from 0.
        index: usize,
    },
    /// A θ of the wrong length.
    #[error("θ has {found} numbers, expected {expected}")]
    Parameters {
        /// The length that fits.
        expected: usize,
        /// The length given.
        found: usize,
    },
    /// A name that is not in [`Activation::ALL`].
    #[error("unknown activation `{name}`")]
    UnknownActivation {
        /// As typed.
        name: String,
    },
}

impl Error {
    /// The remedy: one imperative.
    pub fn hint(&self) -> String {
        match self {
            Self::NoLayers => "give the net a layer".into(),
            Self::Empty { .. } => "give every layer at least one unit".into(),
            Self::TooLarge { .. } => "use smaller layers".into(),
            Self::Active { .. } => "differentiate no more inputs than the net has".into(),
            Self::Joint { .. } => "give every operation as many input rows as the one before it returns".into(),
            Self::Kernel { .. } => "use a kernel of 1 or 3".into(),
            Self::Spread { .. } => "give factor², times the channels of the result, channels to it".into(),
            Self::Plane { .. } => "add an earlier plane: 0 is the image, k + 1 the result of operation k".into(),
            Self::Planes { .. } => "add a plane of the same shape".into(),
            Self::Unembedded { .. } => "give the net an embedding".into(),
            Self::Parameters { .. } => "pass the parameters of this net".into(),
            Self::UnknownActivation { .. } => {
                format!("choose one of {}", Activation::ALL.map(Activation::name).join(", "))
            }
        }
    }
}
