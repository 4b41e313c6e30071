//! Ctrl-C ends a command at once, but never in the middle of a file, and what was half done goes with it.
//!
//! A training is asked first: it ends after its step and finishes its files; the second Ctrl-C is meant.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// Held while files are written.
static WRITING: Mutex<()> = Mutex::new(());
/// What must be set right before the process ends, such as the terminal.
static LAST_ACT: Mutex<Option<fn()>> = Mutex::new(None);
/// The first Ctrl-C only asks.
static PATIENT: AtomicBool = AtomicBool::new(false);
/// It did.
static ASKED: AtomicBool = AtomicBool::new(false);
/// Folders that nobody shall find: the first with all that is in it, the others if they are empty.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Files that grow aside.
static GROWING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on Ctrl-C waits for the file being written, if any, and exits with 130 (128 + SIGINT).
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if PATIENT.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
            return;
        }
        let _held = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        take_away();
        if let Some(act) = *LAST_ACT.lock().unwrap_or_else(PoisonError::into_inner) {
            act();
        }
        std::process::exit(130);
    })
    .context("Ctrl-C cannot be caught")
}

/// Before Ctrl-C ends the process, `act` is called too.
pub fn before_exit(act: fn()) {
    *LAST_ACT.lock().unwrap_or_else(PoisonError::into_inner) = Some(act);
}

/// As [`install`], but the first Ctrl-C only makes [`asked`] true.
pub fn install_patient() -> Result<()> {
    PATIENT.store(true, Ordering::SeqCst);
    install()
}

/// Whether a patient command was asked to end.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Runs `write` where Ctrl-C cannot cut it short.
pub fn undisturbed<R>(write: impl FnOnce() -> R) -> R {
    let _held = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}

/// An unfinished folder, and those that were made for it (the innermost first): they go unless [`finished`] is called.
pub fn unfinished(folder: &Path, above: &[PathBuf]) {
    let mut list = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    *list = std::iter::once(folder.to_owned()).chain(above.iter().cloned()).collect();
}

/// Nothing is half done any more.
pub fn finished() {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// A file begins to grow: it goes with an interruption unless [`grown`] is called. To be called [`undisturbed`].
pub fn growing(file: &Path) {
    GROWING.lock().unwrap_or_else(PoisonError::into_inner).push(file.to_owned());
}

/// The file has its name, or is gone.
pub fn grown(file: &Path) {
    GROWING.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other != file);
}

/// Takes away what is unfinished. Nothing can be done about a failure here.
pub fn take_away() {
    for file in std::mem::take(&mut *GROWING.lock().unwrap_or_else(PoisonError::into_inner)) {
        let _ = std::fs::remove_file(file);
    }
    let list = std::mem::take(&mut *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner));
    if let [folder, above @ ..] = &list[..] {
        let _ = std::fs::remove_dir_all(folder);
        for folder in above {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
