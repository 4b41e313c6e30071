//! tmp
use serde::{Deserialize, Serialize};
/// tmp
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// tmp
    #[default]
    Straight,
}
impl std::str::FromStr for Path {
    type Err = String;
    fn from_str(_: &str) -> Result<Self, String> {
        Ok(Self::Straight)
    }
}
