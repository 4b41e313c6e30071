//! Files are written aside and renamed: whoever looks sees the old file or the new one, whole.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::{Error, Result};

/// Writes a file through `fill`: a temporary file in the same folder, flushed to the disk, renamed.
///
/// # Errors
/// [`Error::Write`] where the folder is missing, the name is a folder, the disk refuses, or `fill`
/// fails; nothing new is left then, and an old file of that name stays as it was.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
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
    let failed = |e: std::io::Error| Error::write(path, e);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".cnf-").suffix(".tmp");
    // A temporary file is private by default; this one becomes the user's, under the user's umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut aside = builder.tempfile_in(folder).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, aside.as_file_mut());
    fill(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    aside.as_file().sync_all().map_err(failed)?;
    aside.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}
