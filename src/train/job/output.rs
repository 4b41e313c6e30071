//! The checkpoints of a run, and how its pictures are drawn.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The output of a run: `[output]` of its config.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSection {
    /// A checkpoint is kept after so many steps (`100`), or so much time (`10s`).
    pub checkpoint: String,
    /// How the pictures are drawn.
    pub picture: Picture,
}

impl Default for OutputSection {
    fn default() -> Self {
        Self { checkpoint: "10s".into(), picture: Picture::default() }
    }
}

/// How the pictures of a run are drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Picture {
    /// Names of the columns; none for those of the file.
    pub names: Vec<String>,
    /// The second axis grows downwards, as magnitudes do.
    pub invert_y: bool,
    /// Columns to show, by name or counted from 0; none for all that fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Densities by their logarithm, over so many decades.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<u16>,
}

/// How often a checkpoint is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Every {
    Steps(usize),
    Seconds(f64),
}

impl OutputSection {
    /// Validates the fields.
    pub(super) fn validate(&self) -> Result<()> {
        every(&self.checkpoint).map(drop)
    }

    /// Whether a checkpoint is due after so many steps and seconds without.
    pub(in crate::train) fn checkpoint_due(&self, (steps, seconds): (usize, f64)) -> Result<bool> {
        Ok(match every(&self.checkpoint)? {
            Every::Steps(most) => steps >= most,
            Every::Seconds(most) => seconds >= most,
        })
    }
}

fn every(text: &str) -> Result<Every> {
    let steps = text.parse::<usize>().ok().filter(|steps| *steps > 0).map(Every::Steps);
    steps.or_else(|| crate::words::seconds(text).map(Every::Seconds)).ok_or_else(|| {
        Error::invalid(
            format!("invalid checkpoint interval `{text}`"),
            "set `output.checkpoint` to steps, such as 100, or a time, such as 10s",
        )
    })
}
