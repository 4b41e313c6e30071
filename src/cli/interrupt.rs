//! Ctrl-C ends a command at once, but never in the middle of a file.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// Held while files are written.
static WRITING: Mutex<()> = Mutex::new(());

/// From now on Ctrl-C waits for the file being written, if any, and exits with 130 (128 + SIGINT).
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        let _held = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        std::process::exit(130);
    })
    .context("Ctrl-C cannot be caught")
}

/// Runs `write` where Ctrl-C cannot cut it short.
pub fn undisturbed<R>(write: impl FnOnce() -> R) -> R {
    let _held = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}
