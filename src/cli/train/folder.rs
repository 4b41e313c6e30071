//! The folder of a run: claimed before the training, so that an unwritable disk is an error at once.
//!
//! While it trains the folder holds the job, the last checkpoint and a lock. At the end the model is written first and
//! the pictures last; then the checkpoint goes. A run that fails before it has kept anything leaves nothing; one that
//! is killed later leaves a complete checkpoint, from which `--resume` continues.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnflow::train::{Checkpoint, Job};
use cnflow::{Error, Result};

use crate::cli::files::{CHECKPOINT, CONFIG, METRICS, MODEL};
use crate::cli::lock::Lock;
use crate::cli::pipes::STDIN;
use crate::cli::{interrupt, place};

/// What a run writes: where one is overwritten, those of the old one go.
pub const FILES: [&str; 10] = [
    MODEL,
    CHECKPOINT,
    CONFIG,
    METRICS,
    "density.png",
    "interpolation.png",
    "latents.png",
    "nearest.png",
    "samples.png",
    "training.png",
];

/// A run's folder; taken away again if it is new and nothing was kept in it.
pub struct Folder {
    path: PathBuf,
    /// The job as TOML.
    config: String,
    /// The folder holds another run, which goes when this one has something to keep.
    stale: Cell<bool>,
    /// The job of the other run is gone, and this one's not yet written.
    config_due: Cell<bool>,
    /// The folders that were made for this one; none where it was there before.
    made: Option<Vec<PathBuf>>,
    lock: Lock,
}

/// The folders on the way to `path` that do not exist yet, the innermost first.
fn absent(path: &Path) -> Vec<PathBuf> {
    let named = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    path.ancestors().take_while(named).map(Path::to_owned).collect()
}

fn holds_run(path: &Path) -> bool {
    [MODEL, CHECKPOINT].iter().any(|name| path.join(name).exists())
}

impl Folder {
    /// The given folder, or the next free one below `runs/`.
    ///
    /// # Errors
    /// [`Error::Write`] where no folder can be made, [`Error::Invalid`] where a run would be overwritten, or another
    /// process is training in it.
    pub fn claim(job: &Job, out: Option<&Path>, force: bool) -> Result<Self> {
        let config = job.to_toml()?;
        let stem = || {
            let source = if job.data.source == STDIN { "stdin" } else { &job.data.source };
            let data =
                cnflow::io::without_gz(Path::new(source)).file_stem().unwrap_or(OsStr::new("data")).to_string_lossy();
            Path::new("runs").join(format!("{data}-{}", job.label()))
        };
        let path = out.map_or_else(stem, Path::to_owned);
        if out.is_some() {
            // Before a word about the run that is there: it may be on its way.
            Lock::check(&path)?;
        }
        if out.is_some() && holds_run(&path) && !force {
            let problem = format!("`{}` already holds a run", path.display());
            let unfinished = !path.join(MODEL).exists();
            let hint = if unfinished {
                format!("resume it with `cnf train --resume {}`, or give another --out, or --force", path.display())
            } else {
                "give another --out, or --force to overwrite it".into()
            };
            return Err(Error::invalid(problem, hint));
        }
        if out.is_some() && path.exists() && !path.is_dir() {
            return Err(Error::write(&path, "it is not a folder"));
        }
        if let Some(name) = FILES.iter().find(|name| path.join(name).is_dir()) {
            return Err(Error::write(&path, format!("`{name}` in it is a folder")));
        }
        if let Some(file) = path.ancestors().skip(1).find(|folder| folder.is_file()) {
            return Err(Error::write(&path, format!("`{}` is not a folder", file.display())));
        }
        let folder = interrupt::critical_section(|| {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let made = absent(above);
            let give_back = |e: std::io::Error| {
                made.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
                Error::write(&path, e.kind())
            };
            std::fs::create_dir_all(above).map_err(give_back)?;
            let (path, new) = match out {
                None => (next_free(&path).map_err(give_back)?, true),
                Some(_) => match std::fs::create_dir(&path) {
                    Ok(()) => (path.clone(), true),
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => (path.clone(), false),
                    Err(e) => return Err(give_back(e)),
                },
            };
            // Of what is there nothing is touched yet: the lock also shows that a file can be made.
            let lock = Lock::take(&path)?;
            if new {
                // Only now: without the lock the folder may already be another's.
                interrupt::unfinished(&path, &made);
            }
            Ok(Self {
                path,
                config,
                stale: Cell::new(!new),
                config_due: Cell::new(new),
                made: new.then_some(made),
                lock,
            })
        })?;
        folder.write_config()?;
        Ok(folder)
    }

    /// The folder of an interrupted run, and its checkpoint.
    ///
    /// # Errors
    /// [`Error::Read`] where there is none, or it is invalid; [`Error::Invalid`] for a finished run.
    pub fn reopen(path: &Path) -> Result<(Self, Checkpoint)> {
        let checkpoint = path.join(CHECKPOINT);
        if !checkpoint.exists() {
            return Err(if path.join(MODEL).exists() {
                Error::invalid(
                    format!("the run `{}` is finished: there is nothing to resume", path.display()),
                    format!("train further with `cnf train --init {}`", path.display()),
                )
            } else {
                let hint = "give the folder of a run that was interrupted after its first checkpoint";
                Error::read(path, format!("it holds no `{CHECKPOINT}`"), hint)
            });
        }
        // Before it is read: whoever has the folder may be about to finish.
        let lock = interrupt::critical_section(|| Lock::take(path))?;
        let checkpoint = Checkpoint::load(&checkpoint)?;
        clear_hidden(path);
        let config = checkpoint.job().to_toml()?;
        Ok((
            Self {
                path: path.to_owned(),
                config,
                stale: Cell::new(false),
                // A run that was killed when it took the place of another has none yet.
                config_due: Cell::new(!path.join(CONFIG).is_file()),
                made: None,
                lock,
            },
            checkpoint,
        ))
    }

    /// Writes the job, where that is still to be done.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write_config(&self) -> Result<()> {
        if !self.config_due.get() {
            return Ok(());
        }
        interrupt::critical_section(|| {
            cnflow::io::write_atomically(&self.path.join(CONFIG), |out| out.write_all(self.config.as_bytes()))
        })?;
        self.config_due.set(false);
        Ok(())
    }

    /// Keeps a checkpoint in place of the last.
    ///
    /// # Errors
    /// [`Error::Write`]; the last one stays then.
    pub fn keep(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.save(CHECKPOINT, |path| checkpoint.save(path))
    }

    /// Writes one of the run's files. With the first of them an old run in the folder goes; where the disk then has no
    /// room for the job, the next file and [`Folder::write_config`] try it again.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn save(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        interrupt::critical_section(|| {
            write(&self.path.join(name))?;
            // From now on there is something to keep.
            interrupt::finished();
            if self.stale.replace(false) {
                for old in FILES.iter().filter(|old| **old != name) {
                    let _ = std::fs::remove_file(self.path.join(old));
                }
                self.config_due.set(true);
            }
            Ok::<_, Error>(())
        })?;
        let _ = self.write_config();
        Ok(())
    }

    /// Whether another run is here that nothing has replaced yet.
    pub fn replaces(&self) -> bool {
        self.stale.get()
    }

    /// What was saved is not a run: model and curve go, and the folder too where nothing else is to be kept.
    pub fn abandon(&self) {
        if self.replaces() {
            return;
        }
        let gone = [MODEL, METRICS].map(|name| self.path.join(name));
        interrupt::critical_section(|| gone.iter().for_each(|path| drop(std::fs::remove_file(path))));
        if let Some(made) = self.made.as_ref().filter(|_| !self.has_checkpoint()) {
            interrupt::unfinished(&self.path, made);
        }
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether `--resume` can go on from here.
    pub fn has_checkpoint(&self) -> bool {
        self.path.join(CHECKPOINT).is_file()
    }

    /// Takes the checkpoint away.
    pub fn drop_checkpoint(&self) {
        interrupt::critical_section(|| drop(std::fs::remove_file(self.path.join(CHECKPOINT))));
    }

    /// Takes the pictures away.
    pub fn drop_pictures(&self) {
        let pictures = FILES.iter().filter(|name| name.ends_with(".png"));
        interrupt::critical_section(|| pictures.for_each(|name| drop(std::fs::remove_file(self.path.join(name)))));
    }

    /// A word for people where the folder cannot be locked.
    pub fn warning(&self) -> Option<String> {
        self.lock.warning()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Refuses a folder in which the run's files would overwrite what is read: what the job names, or one of `read`.
///
/// # Errors
/// [`Error::Invalid`].
pub fn spared(job: &Job, folder: &Path, read: &[&Path]) -> Result<()> {
    let (written, named) = (FILES.map(|name| folder.join(name)), named_by(job));
    let read: Vec<&Path> = named.iter().map(PathBuf::as_path).chain(read.iter().copied()).collect();
    place::spared(&written.each_ref().map(PathBuf::as_path), &read)
}

/// The files that a job names: its data, and what may be a file of codes, of conditions, or a start.
pub fn named_by(job: &Job) -> Vec<PathBuf> {
    let texts =
        std::iter::once(&job.data.source).chain([&job.data.split]).chain(&job.data.condition).chain(&job.data.weights);
    let texts = texts.map(PathBuf::from);
    // A toy, a rule or a column may be called as a folder is.
    texts.filter(|path| !path.is_dir()).chain(job.model.init.clone()).collect()
}

/// Takes away what a killed process was writing aside. Nothing can be done about a failure here.
fn clear_hidden(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().filter_map(std::result::Result::ok) {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        // Earlier versions wrote their results into a folder aside.
        if name.starts_with(".results-") && path.is_dir() {
            let _ = std::fs::remove_dir_all(path);
        } else if name.starts_with(".cnf-") && path.is_file() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Makes the first folder `STEM-N` that is not there yet. Of two runs that begin at once each gets its own.
fn next_free(stem: &Path) -> std::io::Result<PathBuf> {
    let mut n = 1_u64;
    loop {
        let mut name = stem.as_os_str().to_owned();
        name.push(format!("-{n}"));
        let path = PathBuf::from(name);
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => n += 1,
            Err(e) => return Err(e),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing where something was kept.
        interrupt::critical_section(interrupt::take_away);
    }
}
