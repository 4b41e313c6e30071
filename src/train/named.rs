//! One of a few choices by its name, as typed and as saved.

use crate::{Error, Result};

/// The one of `all` whose name is `text`; `kind` is what errors call them.
pub(super) fn named<T: Copy, const N: usize>(
    kind: &'static str,
    all: [T; N],
    name: fn(T) -> &'static str,
    text: &str,
) -> Result<T> {
    all.into_iter().find(|one| name(*one) == text).ok_or_else(|| Error::Unknown {
        kind,
        name: text.into(),
        known: all.map(name).join(", "),
    })
}
