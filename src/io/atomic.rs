//! Files are written as temporary files and renamed: at any time the old file or the new one is there, whole.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Writes a file through `fill`: a temporary file in the same folder, flushed to the disk, renamed.
///
/// # Errors
/// [`Error::Write`] where the folder is missing, the name is a folder, the disk refuses, or `fill`
/// fails; nothing new is left then, and an old file of that name stays as it was.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut file = TemporaryFile::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 16, &mut file);
    let filled = fill(&mut out).and_then(|()| out.flush());
    drop(out);
    filled.map_err(|e| Error::write(path, e))?;
    file.keep()
}

/// A file that is being written in the folder where it will be; dropped, it is deleted.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl TemporaryFile {
    /// Begins an empty file that will be called `path`.
    ///
    /// # Errors
    /// [`Error::Write`] where the folder is missing, the name is a folder, or the disk refuses.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(Error::write(path, format!("the folder `{}` does not exist", folder.display())));
        }
        if path.is_dir() || path.file_name().is_none() {
            return Err(Error::write(path, "it is a folder"));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".cnf-").suffix(".tmp");
        // A temporary file is private by default; this one becomes the user's, under the user's umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(|e| Error::write(path, e))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Its path until it is kept.
    pub fn place(&self) -> &Path {
        self.file.path()
    }

    /// Flushes it to the disk and gives it its name.
    ///
    /// # Errors
    /// [`Error::Write`] where the disk refuses; nothing is left then.
    pub fn keep(self) -> Result<()> {
        let Self { file, path } = self;
        file.as_file().sync_all().map_err(|e| Error::write(&path, e))?;
        file.persist(&path).map(drop).map_err(|e| Error::write(&path, e.error))
    }

    fn inner(&mut self) -> &mut File {
        self.file.as_file_mut()
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.inner().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner().flush()
    }
}

impl Read for TemporaryFile {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.inner().read(bytes)
    }
}

impl Seek for TemporaryFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.inner().seek(to)
    }
}
