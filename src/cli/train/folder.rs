//! The folder of a run: claimed before the training, so that a disk that refuses does so at once.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnf::train::Job;
use cnf::{Error, Result};

/// The file that makes a folder a run.
const MODEL: &str = "model.safetensors";

/// The folders on the way to `path` that do not exist yet, the innermost first.
fn absent(path: &Path) -> Vec<PathBuf> {
    let named = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    path.ancestors().take_while(named).map(Path::to_owned).collect()
}

/// A run's folder; taken away again where it stays empty.
pub struct Folder {
    path: PathBuf,
    /// Folders made for it, the innermost first.
    made: Vec<PathBuf>,
    kept: Cell<bool>,
}

impl Folder {
    /// The folder that was asked for, or the next free one below `runs/`.
    pub fn claim(job: &Job, out: Option<&Path>, force: bool) -> Result<Self> {
        if let Some(path) = out {
            if path.join(MODEL).exists() && !force {
                return Err(Error::invalid(
                    format!("`{}` already holds a run", path.display()),
                    "give another --out, or --force to overwrite it",
                ));
            }
            let made = absent(path);
            std::fs::create_dir_all(path).map_err(|e| Error::write(path, e))?;
            return Ok(Self { path: path.to_owned(), made, kept: Cell::new(false) });
        }
        let runs = Path::new("runs");
        let above = absent(runs);
        std::fs::create_dir_all(runs).map_err(|e| Error::write(runs, e))?;
        let data = Path::new(&job.data).file_stem().map_or("data".into(), |stem| stem.to_string_lossy().into_owned());
        let mut n = 1;
        loop {
            let path = runs.join(format!("{data}-{}-{n}", job.objective.name()));
            // Two runs that start at once do not get the same.
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    let made = std::iter::once(path.clone()).chain(above).collect();
                    return Ok(Self { path, made, kept: Cell::new(false) });
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => n += 1,
                Err(e) => return Err(Error::write(&path, e)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a text.
    pub fn text(&self, name: &str, text: &str) -> Result<()> {
        cnf::io::write_atomically(&self.file(name), |out| out.write_all(text.as_bytes()))
    }

    /// It is complete.
    pub fn keep(&self) {
        self.kept.set(true);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept.get() {
            // Only what is empty goes: what was written stays. Nothing can be done about a failure here.
            for folder in &self.made {
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}
