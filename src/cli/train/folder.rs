//! The folder of a run: filled aside under a hidden name and renamed when it is complete.
//!
//! It is made before the training, so that a disk that refuses does so at once; a run that fails, however late,
//! leaves nothing.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnf::train::Job;
use cnf::{Error, Result};

use crate::cli::interrupt;

/// The file that makes a folder a run.
const MODEL: &str = "model.safetensors";
/// Files that only some runs have: where a run is overwritten, those of the old one go.
const SOMETIMES: [&str; 2] = ["density.png", "latents.png"];

/// Where the run goes.
enum Target {
    /// A folder that was asked for.
    Asked(PathBuf),
    /// The next free `STEM-N`.
    Free(PathBuf),
}

/// A run's folder; taken away again unless it is finished.
pub struct Folder {
    aside: PathBuf,
    target: Target,
}

/// The folders on the way to `path` that do not exist yet, the innermost first.
fn absent(path: &Path) -> Vec<PathBuf> {
    let named = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    path.ancestors().take_while(named).map(Path::to_owned).collect()
}

impl Folder {
    /// The folder that was asked for, or the next free one below `runs/`.
    ///
    /// # Errors
    /// [`Error::Write`] where no folder can be made, [`Error::Invalid`] where a run would be overwritten.
    pub fn claim(job: &Job, out: Option<&Path>, force: bool) -> Result<Self> {
        let target = match out {
            Some(path) => Target::Asked(path.to_owned()),
            None => {
                let data = Path::new(&job.data).file_stem().unwrap_or(OsStr::new("data")).to_string_lossy();
                Target::Free(Path::new("runs").join(format!("{data}-{}", job.objective.name())))
            }
        };
        let (Target::Asked(path) | Target::Free(path)) = &target;
        if out.is_some() && path.join(MODEL).exists() && !force {
            let problem = format!("`{}` already holds a run", path.display());
            return Err(Error::invalid(problem, "give another --out, or --force to overwrite it"));
        }
        let there = out.is_some() && path.is_dir();
        if out.is_some() && path.exists() && !there {
            return Err(Error::write(path, "it is no folder"));
        }
        // Beside its place or inside it: on the same disk in any case.
        let beside = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let above = if there { path } else { beside };
        let made = absent(above);
        if let Some(file) = above.ancestors().find(|folder| folder.is_file()) {
            return Err(Error::write(path, format!("`{}` is no folder", file.display())));
        }
        let name = format!(".{}-", path.file_name().unwrap_or(OsStr::new("run")).to_string_lossy());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&name);
        // A temporary folder is private by default; this one becomes the user's, under the user's umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let aside = interrupt::undisturbed(|| {
            let aside = std::fs::create_dir_all(above).and_then(|()| builder.tempdir_in(above)).map_err(|e| {
                made.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
                Error::write(path, e.kind())
            })?;
            let aside = aside.keep();
            interrupt::unfinished(&aside, &made);
            Ok::<_, Error>(aside)
        })?;
        Ok(Self { aside, target })
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.aside.join(name)
    }

    /// Writes a text.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn text(&self, name: &str, text: &str) -> Result<()> {
        interrupt::undisturbed(|| cnf::io::write_atomically(&self.file(name), |out| out.write_all(text.as_bytes())))
    }

    /// It is complete: gives it its name, and returns that.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self) -> Result<PathBuf> {
        interrupt::undisturbed(|| {
            let path = match &self.target {
                Target::Free(stem) => self.next_free(stem)?,
                Target::Asked(path) => {
                    if path.is_dir() { self.fill(path) } else { std::fs::rename(&self.aside, path) }
                        .map_err(|e| Error::write(path, e))?;
                    path.clone()
                }
            };
            interrupt::finished();
            Ok(path)
        })
    }

    fn next_free(&self, stem: &Path) -> Result<PathBuf> {
        let mut n = 1_u64;
        loop {
            let mut name = stem.as_os_str().to_owned();
            name.push(format!("-{n}"));
            let path = PathBuf::from(name);
            n += 1;
            if path.exists() {
                continue;
            }
            // Of two runs that end at once the second is refused: what is there is not empty.
            match std::fs::rename(&self.aside, &path) {
                Ok(()) => return Ok(path),
                Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {}
                Err(e) => return Err(Error::write(&path, e)),
            }
        }
    }

    /// Moves the files into a folder that is there, the model last; other files in it stay.
    fn fill(&self, path: &Path) -> std::io::Result<()> {
        let names: Vec<_> =
            std::fs::read_dir(&self.aside)?.map(|e| Ok(e?.file_name())).collect::<std::io::Result<_>>()?;
        // Refused before anything is moved, not halfway.
        if let Some(name) = names.iter().find(|name| path.join(name).is_dir()) {
            let problem = format!("`{}` in it is a folder", name.to_string_lossy());
            return Err(std::io::Error::other(problem));
        }
        for stale in SOMETIMES.iter().filter(|name| !self.file(name).exists()) {
            let _ = std::fs::remove_file(path.join(stale));
        }
        let (model, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == MODEL);
        for name in others.iter().chain(&model) {
            std::fs::rename(self.aside.join(name), path.join(name))?;
        }
        std::fs::remove_dir(&self.aside)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Empty where it was finished.
        interrupt::undisturbed(interrupt::take_away);
    }
}
