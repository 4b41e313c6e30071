//! Ctrl-C, and the signals by which a queue system or a closing terminal ends a process: SIGINT, SIGTERM, SIGHUP.
//!
//! A command ends at once with 128 + the signal's number, but never in the middle of a file, and removes its unfinished
//! files. For a training or a comparison the first signal is a request: it ends after the current step and finishes its
//! files. The second signal ends it at once. `timeout` and terminals send the same signal twice within moments, so a
//! SIGTERM or SIGHUP within a second of the first signal counts as that one.
//!
//! Under `nohup` SIGHUP is ignored, and stays ignored.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Ctrl-C's number.
const SIGINT: i32 = 2;
#[cfg(unix)]
const SIGHUP: i32 = 1;
#[cfg(unix)]
const SIGTERM: i32 = 15;
/// Within this time of the first signal a SIGTERM or SIGHUP is taken for the same.
const ECHO: Duration = Duration::from_secs(1);

/// Held while files are written.
static WRITING: Mutex<()> = Mutex::new(());
/// Called before the process ends, to restore the terminal for example.
static LAST_ACT: Mutex<Option<fn()>> = Mutex::new(None);
/// The first signal is a request to end.
static PATIENT: AtomicBool = AtomicBool::new(false);
/// The signal of the request; 0 for none.
static REQUESTED: AtomicI32 = AtomicI32::new(0);
/// The time of the request.
static REQUESTED_AT: Mutex<Option<Instant>> = Mutex::new(None);
/// Folders to remove at the end: the first with all that is in it, the others if they are empty.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Temporary files that are being written.
static GROWING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Files that only the running process needs: lock files, temporary folders.
static OURS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn held<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a signal waits for the file being written, if any, and ends the process with 128 + its number.
pub fn install() -> Result<()> {
    listen().context("signals cannot be caught")
}

#[cfg(unix)]
fn listen() -> std::io::Result<()> {
    let caught = [SIGINT, SIGTERM].into_iter().chain((!hangup_is_ignored()).then_some(SIGHUP));
    let mut signals = signal_hook::iterator::Signals::new(caught)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(received)).map(drop)
}

#[cfg(not(unix))]
fn listen() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| received(SIGINT))
}

/// Whether whoever started the process had SIGHUP ignored, as `nohup` does.
///
/// Linux reports it in /proc. Elsewhere, stderr without a terminal is taken as the sign of `nohup`.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    use std::io::IsTerminal as _;
    match std::fs::read_to_string("/proc/self/status").ok().and_then(|status| ignored_signals(&status)) {
        Some(mask) => mask & 1 << (SIGHUP - 1) != 0,
        None => !std::io::stderr().is_terminal(),
    }
}

/// The mask of ignored signals, bit n − 1 for signal n, in the text of Linux' `/proc/self/status`.
#[cfg(unix)]
fn ignored_signals(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn received(signal: i32) {
    if PATIENT.load(Ordering::SeqCst) {
        let first = REQUESTED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let mut at = held(&REQUESTED_AT);
        let echo = signal != SIGINT && at.is_some_and(|at| at.elapsed() < ECHO);
        at.get_or_insert_with(Instant::now);
        if first || echo {
            return;
        }
    }
    let _held = held(&WRITING);
    take_away();
    std::mem::take(&mut *held(&OURS)).iter().for_each(|path| remove(path));
    if let Some(act) = *held(&LAST_ACT) {
        act();
    }
    std::process::exit(128 + signal);
}

/// Before a signal ends the process, `act` is called too.
pub fn before_exit(act: fn()) {
    *held(&LAST_ACT) = Some(act);
}

/// As [`install`], but the first signal only makes [`requested`] true.
pub fn install_patient() -> Result<()> {
    PATIENT.store(true, Ordering::SeqCst);
    install()
}

/// Whether a signal has requested a patient command to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst) != 0
}

/// What requested a patient command to end, in words: a signal here, or one of the processes that train together.
pub fn cause() -> &'static str {
    match REQUESTED.load(Ordering::SeqCst) {
        #[cfg(unix)]
        SIGHUP => "SIGHUP",
        #[cfg(unix)]
        SIGTERM => "SIGTERM",
        0 => "another process",
        _ => "Ctrl-C",
    }
}

/// Runs `write` as a critical section: signals wait until it returns.
pub fn critical_section<R>(write: impl FnOnce() -> R) -> R {
    let _held = held(&WRITING);
    write()
}

/// An unfinished folder, and those that were made for it (the innermost first): a signal removes them unless
/// [`finished`] is called.
pub fn unfinished(folder: &Path, above: &[PathBuf]) {
    *held(&UNFINISHED) = std::iter::once(folder.to_owned()).chain(above.iter().cloned()).collect();
}

/// No folder is unfinished any more.
pub fn finished() {
    held(&UNFINISHED).clear();
}

/// Registers a temporary file: a signal removes it unless [`grown`] is called. Call it inside a [`critical_section`].
pub fn growing(file: &Path) {
    held(&GROWING).push(file.to_owned());
}

/// The file has its final name, or was removed.
pub fn grown(file: &Path) {
    held(&GROWING).retain(|other| other != file);
}

/// Registers a file or a folder: a signal removes it unless [`given_up`] is called.
pub fn ours(path: &Path) {
    held(&OURS).push(path.to_owned());
}

/// What was [`ours`] was removed, or belongs to another process.
pub fn given_up(path: &Path) {
    held(&OURS).retain(|other| other != path);
}

/// Removes what is unfinished. Nothing can be done about a failure here.
pub fn take_away() {
    std::mem::take(&mut *held(&GROWING)).iter().for_each(|file| remove(file));
    let list = std::mem::take(&mut *held(&UNFINISHED));
    if let [folder, above @ ..] = &list[..] {
        let _ = std::fs::remove_dir_all(folder);
        for folder in above {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Removes a file, or a folder with all that is in it. Nothing can be done about a failure here.
fn remove(path: &Path) {
    let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernel_text() {
        let status = "Name:\tcnf\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert_eq!(ignored_signals(status), Some(0x1001));
        assert_eq!(ignored_signals("Name:\tcnf\n"), None);
        assert_eq!(ignored_signals("SigIgn:\tnone\n"), None);
    }
}
