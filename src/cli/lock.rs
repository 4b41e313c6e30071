//! One training at a time in a folder.
//!
//! The lock is the operating system's, on the file `.lock.tmp` in the folder: it ends with the process, however that
//! ends. A file that a killed process left behind blocks no other. It holds the process number, for the error of the
//! others.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cnflow::{Error, Result};

use super::interrupt;

/// The file, hidden and with an ending of no table and no model.
const NAME: &str = ".lock.tmp";
/// How often a file is opened again that its owner removed between our opening and our locking it.
const TRIES: usize = 100;

/// A folder that is locked until this is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    /// Why there is no lock, where the file system has none.
    missing: Option<String>,
}

impl Lock {
    /// Locks an existing folder.
    ///
    /// # Errors
    /// [`Error::Invalid`] where another process has it, [`Error::Write`] where no file can be made in it.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        for _ in 0..TRIES {
            let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
            let file = opened.map_err(|e| Error::write(&path, e))?;
            let missing = match file.try_lock() {
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => None,
                Err(TryLockError::WouldBlock) => return Err(held(folder)),
                Err(TryLockError::Error(e)) => Some(e.to_string()),
            };
            // The number is for the error message only: the lock works without it.
            let _ = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
            interrupt::ours(&path);
            return Ok(Self { path, file, missing });
        }
        Err(held(folder))
    }

    /// Refuses a folder that another process has locked, and changes nothing in a free one.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(folder: &Path) -> Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(folder.join(NAME));
        match file.map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => Err(held(folder)),
            _ => Ok(()),
        }
    }

    /// A warning where the file system has no locks.
    pub fn warning(&self) -> Option<String> {
        let missing = self.missing.as_ref()?;
        let folder = self.path.parent().unwrap_or(Path::new(".")).display();
        Some(format!("`{folder}` cannot be locked ({missing}): do not start a second training in it"))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only our own: the folder may have gone, and another come in its place.
        if is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
        interrupt::given_up(&self.path);
    }
}

/// Whether the open file is the one that has this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

fn held(folder: &Path) -> Error {
    let number = std::fs::read_to_string(folder.join(NAME)).ok();
    let number = number.and_then(|text| text.trim().parse::<u32>().ok());
    let who = number.map_or("another process".into(), |number| format!("another process ({number})"));
    let problem = format!("{who} is training in `{}`", folder.display());
    Error::invalid(problem, "wait until it ends, or give another --out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_a_file_left_behind_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        std::fs::write(&file, "a process that was killed").unwrap();
        Lock::check(folder.path()).unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        assert!(lock.warning().is_none());
        for refused in [Lock::take(folder.path()).map(drop), Lock::check(folder.path())] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(&format!("({})", std::process::id())), "{error}");
        }
        drop(lock);
        assert!(!file.exists());
        Lock::check(folder.path()).unwrap();
        assert!(!file.exists(), "a look leaves no trace");
        drop(Lock::take(folder.path()).unwrap());
        assert!(Lock::take(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn of_many_that_come_and_go_only_one_is_inside() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (inside, times) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        if let Ok(lock) = Lock::take(folder.path()) {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            times.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(times.load(Ordering::SeqCst) > 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
