//! The folder of a run: claimed before the training, so that a disk that refuses does so at once.
//!
//! While it trains the folder holds the job and the last checkpoint. The results are written aside and moved in when
//! all are there, the model last; then the checkpoint goes. A run that fails before its first checkpoint leaves
//! nothing; one that is killed later leaves a whole checkpoint, from which `--resume` goes on.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnf::train::{Checkpoint, Job};
use cnf::{Error, Result};

use crate::cli::interrupt;

/// The file that makes a folder a finished run.
const MODEL: &str = "model.safetensors";
/// The file from which a run goes on.
const CHECKPOINT: &str = "checkpoint.safetensors";
/// The job.
const CONFIG: &str = "config.toml";
/// What a run writes: where one is overwritten, those of the old one go.
const FILES: [&str; 8] =
    [MODEL, CHECKPOINT, CONFIG, "metrics.csv", "density.png", "latents.png", "samples.png", "training.png"];

/// A run's folder; taken away again if it is new and nothing was kept in it.
pub struct Folder {
    path: PathBuf,
    /// The job as TOML.
    config: String,
    /// The folder holds another run, which goes when this one has something to keep.
    stale: Cell<bool>,
    aside: Cell<Option<PathBuf>>,
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
    /// The folder that was asked for, or the next free one below `runs/`.
    ///
    /// # Errors
    /// [`Error::Write`] where no folder can be made, [`Error::Invalid`] where a run would be overwritten.
    pub fn claim(job: &Job, out: Option<&Path>, force: bool) -> Result<Self> {
        let config = job.to_toml()?;
        let stem = || {
            let data =
                cnf::io::without_gz(Path::new(&job.data)).file_stem().unwrap_or(OsStr::new("data")).to_string_lossy();
            Path::new("runs").join(format!("{data}-{}", job.label()))
        };
        let path = out.map_or_else(stem, Path::to_owned);
        if out.is_some() && holds_run(&path) && !force {
            let problem = format!("`{}` already holds a run", path.display());
            let unfinished = !path.join(MODEL).exists();
            let hint = if unfinished {
                format!("go on with it by `cnf train --resume {}`, give another --out, or --force", path.display())
            } else {
                "give another --out, or --force to overwrite it".into()
            };
            return Err(Error::invalid(problem, hint));
        }
        if out.is_some() && path.exists() && !path.is_dir() {
            return Err(Error::write(&path, "it is no folder"));
        }
        if let Some(name) = FILES.iter().find(|name| path.join(name).is_dir()) {
            return Err(Error::write(&path, format!("`{name}` in it is a folder")));
        }
        if let Some(file) = path.ancestors().skip(1).find(|folder| folder.is_file()) {
            return Err(Error::write(&path, format!("`{}` is no folder", file.display())));
        }
        let stale = out.is_some() && path.is_dir();
        let path = interrupt::undisturbed(|| {
            if stale {
                // Nothing of what is there is touched yet; only whether a file can be made is asked.
                tempfile::Builder::new()
                    .prefix(".cnf-")
                    .tempfile_in(&path)
                    .map(drop)
                    .map_err(|e| Error::write(&path, e.kind()))?;
                return Ok::<_, Error>(path);
            }
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let made = absent(above);
            let give_back = |e: std::io::Error| {
                made.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
                Error::write(&path, e.kind())
            };
            std::fs::create_dir_all(above).map_err(give_back)?;
            let path = match out {
                Some(_) => std::fs::create_dir(&path).map(|()| path.clone()),
                None => next_free(&path),
            }
            .map_err(give_back)?;
            interrupt::unfinished(&path, &made);
            Ok(path)
        })?;
        let folder = Self { path, config, stale: Cell::new(stale), aside: Cell::new(None) };
        if !stale {
            folder.write_config()?;
        }
        Ok(folder)
    }

    /// The folder of a run that was broken off, and its checkpoint.
    ///
    /// # Errors
    /// [`Error::Read`] where there is none, or it is broken; [`Error::Invalid`] for a finished run.
    pub fn reopen(path: &Path) -> Result<(Self, Checkpoint)> {
        let checkpoint = path.join(CHECKPOINT);
        if !checkpoint.exists() {
            return Err(if path.join(MODEL).exists() {
                Error::invalid(
                    format!("the run `{}` is finished: there is nothing to resume", path.display()),
                    format!("train further with `cnf train --init {}`", path.display()),
                )
            } else {
                let hint = "give the folder of a run that was broken off after its first checkpoint";
                Error::read(path, format!("it holds no `{CHECKPOINT}`"), hint)
            });
        }
        let checkpoint = Checkpoint::load(&checkpoint)?;
        clear_hidden(path);
        let config = checkpoint.job().to_toml()?;
        let folder = Self { path: path.to_owned(), config, stale: Cell::new(false), aside: Cell::new(None) };
        Ok((folder, checkpoint))
    }

    fn write_config(&self) -> Result<()> {
        let path = self.path.join(CONFIG);
        interrupt::undisturbed(|| cnf::io::write_atomically(&path, |out| out.write_all(self.config.as_bytes())))
    }

    /// Keeps a checkpoint in place of the last.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn keep(&self, checkpoint: &Checkpoint) -> Result<()> {
        if self.stale.replace(false) {
            interrupt::undisturbed(|| {
                for name in FILES {
                    let _ = std::fs::remove_file(self.path.join(name));
                }
            });
            self.write_config()?;
        }
        interrupt::undisturbed(|| {
            checkpoint.save(&self.path.join(CHECKPOINT))?;
            // From now on there is something to go on from.
            interrupt::finished();
            Ok(())
        })
    }

    /// Where a result is written until all are there.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn aside(&self) -> Result<PathBuf> {
        interrupt::undisturbed(|| {
            let aside = tempfile::Builder::new()
                .prefix(".results-")
                .tempdir_in(&self.path)
                .map_err(|e| Error::write(&self.path, e.kind()))?
                .keep();
            self.aside.set(Some(aside.clone()));
            Ok(aside)
        })
    }

    /// The results are complete: moves them in, the model last, and takes the checkpoint away unless the run shall go on.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self, goes_on: bool) -> Result<PathBuf> {
        interrupt::undisturbed(|| {
            let Some(aside) = self.aside.take() else { return Ok(self.path.clone()) };
            let moved = || -> std::io::Result<()> {
                let names: Vec<_> =
                    std::fs::read_dir(&aside)?.map(|e| Ok(e?.file_name())).collect::<std::io::Result<_>>()?;
                // What only the old run had goes.
                for name in FILES.iter().filter(|name| self.stale.get() && !aside.join(name).exists()) {
                    let _ = std::fs::remove_file(self.path.join(name));
                }
                let (model, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == MODEL);
                for name in others.iter().chain(&model) {
                    std::fs::rename(aside.join(name), self.path.join(name))?;
                }
                std::fs::remove_dir(&aside)
            };
            moved().map_err(|e| Error::write(&self.path, e))?;
            if self.stale.get() {
                cnf::io::write_atomically(&self.path.join(CONFIG), |out| out.write_all(self.config.as_bytes()))?;
            }
            if !goes_on {
                let _ = std::fs::remove_file(self.path.join(CHECKPOINT));
            }
            interrupt::finished();
            Ok(self.path.clone())
        })
    }
}

/// Takes away what a killed process was writing aside. Nothing can be done about a failure here.
fn clear_hidden(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().filter_map(std::result::Result::ok) {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
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
        interrupt::undisturbed(|| {
            if let Some(aside) = self.aside.take() {
                let _ = std::fs::remove_dir_all(aside);
            }
            // Empty where something was kept, or the run is finished.
            interrupt::take_away();
        });
    }
}
