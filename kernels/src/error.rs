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
            Self::Parameters { .. } => "pass the parameters of this net".into(),
            Self::UnknownActivation { .. } => {
                format!("choose one of {}", Activation::ALL.map(Activation::name).join(", "))
            }
        }
    }
}
