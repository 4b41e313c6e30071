//! Where results go: names are checked before the long computation; temporary files grow while it runs, or files are
//! written after it. A table may leave through stdout (`-`) or another pipe as text, row by row.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use cnflow::io::{self, Array, Dtype, Writer};
use cnflow::{Error, ImageShape, io::Format};

use super::interrupt::{self, critical_section};
use super::pipes::{STDIN, is_pipe};
use super::place;

/// What a file will hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `.npy`, `.csv`.
    Table,
    /// `.png`, `.svg`.
    Picture,
    /// `.gif`.
    Film,
    /// `.safetensors`.
    Model,
}

/// Refuses names that cannot be written: unknown endings, missing or read-only folders, folders, one file twice, and a
/// file that is read: one of `inputs`, by whatever name.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Write`] or [`Error::Invalid`].
pub fn check(outputs: &[(Kind, Option<&Path>)], inputs: &[Option<&Path>]) -> Result<()> {
    let named: Vec<(Kind, &Path)> = outputs.iter().filter_map(|(kind, path)| Some((*kind, (*path)?))).collect();
    for (kind, path) in named.iter().filter(|(kind, path)| !(*kind == Kind::Table && is_stream(path))) {
        check_ending(*kind, path)?;
        check_place(path)?;
    }
    let paths: Vec<&Path> = named.iter().map(|(_, path)| *path).collect();
    let read: Vec<&Path> = inputs.iter().copied().flatten().collect();
    Ok(place::apart(&paths, &read)?)
}

/// Whether a name stands for stdout.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new(STDIN) || path == Path::new("/dev/stdout")
}

/// Whether what is written there leaves at once: stdout, a FIFO, a device.
fn is_stream(path: &Path) -> bool {
    is_stdout(path) || (is_pipe(path) && !path.is_file())
}

/// A reader of a result has left before the end.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Whether a reader of a result has left before the end: there is nobody to tell.
pub fn reader_left() -> bool {
    LEFT.load(Ordering::SeqCst)
}

/// A way out that remembers when its reader has left.
struct Stream<W>(W);

impl<W: Write> Write for Stream<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).inspect_err(|e| LEFT.store(e.kind() == ErrorKind::BrokenPipe, Ordering::SeqCst))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().inspect_err(|e| LEFT.store(e.kind() == ErrorKind::BrokenPipe, Ordering::SeqCst))
    }
}

/// A text that leaves at once.
fn stream(path: &Path, cols: usize) -> cnflow::Result<Writer> {
    if is_stdout(path) {
        return Writer::stream(Path::new("stdout"), Box::new(Stream(std::io::stdout())), cols);
    }
    let file = std::fs::OpenOptions::new().write(true).open(path).map_err(|e| Error::write(path, e))?;
    Writer::stream(path, Box::new(Stream(file)), cols)
}

fn check_ending(kind: Kind, path: &Path) -> Result<(), Error> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let (fits, what, known) = match kind {
        Kind::Table => (Format::written(path).is_some(), "file type", io::WRITABLE),
        Kind::Picture => (matches!(&*ending, "png" | "svg"), "picture format", ".png, .svg"),
        Kind::Film => (ending == "gif", "animation format", ".gif"),
        Kind::Model => (ending == "safetensors", "model file type", ".safetensors"),
    };
    if fits {
        Ok(())
    } else {
        Err(Error::Unknown { kind: what, name: path.display().to_string(), known: known.into() })
    }
}

fn check_place(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::write(path, "it is a folder"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::write(path, format!("the folder `{}` does not exist", folder.display())));
    }
    // The only sure test whether a file can be made is to make one.
    critical_section(|| tempfile::Builder::new().prefix(".cnf-").tempfile_in(folder).map(drop))
        .map_err(|e| Error::write(path, e.kind()))
}

/// A table of f64, or images as bytes, that grows while the rows pass; an error or a signal leaves nothing of it.
///
/// Always f64: a date near 2.46e6 has steps of 0.25 in f32, and a log-density of -1e40 becomes the -inf of a row
/// outside.
pub struct Growing {
    /// Dropped before `aside`: the file is removed, then its record.
    writer: Writer,
    aside: Option<Aside>,
}

/// The temporary file of a table that grows.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        interrupt::grown(&self.0);
    }
}

impl Growing {
    /// Begins a table `[n, cols]` if a file is given.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn table(path: Option<&Path>, cols: usize) -> Result<Option<Self>> {
        path.map(|path| {
            Self::begin(|| match is_stream(path) {
                true => stream(path, cols),
                false => Writer::create(path, cols, Dtype::F64, false),
            })
        })
        .transpose()
    }

    /// Begins images of one shape, as u8, if a file is given.
    ///
    /// # Errors
    /// As [`Writer::images`].
    pub fn images(path: Option<&Path>, shape: ImageShape) -> Result<Option<Self>> {
        path.map(|path| {
            Self::begin(|| match is_stream(path) {
                true => stream(path, shape.len()),
                false => Writer::images(path, shape),
            })
        })
        .transpose()
    }

    /// Begins a vector `[n]` if a file is given.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn vector(path: Option<&Path>) -> Result<Option<Self>> {
        path.map(|path| {
            Self::begin(|| match is_stream(path) {
                true => stream(path, 1),
                false => Writer::create(path, 1, Dtype::F64, true),
            })
        })
        .transpose()
    }

    fn begin(create: impl FnOnce() -> cnflow::Result<Writer>) -> Result<Self> {
        critical_section(|| {
            let writer = create()?;
            let aside = writer.aside().map(|aside| Aside(aside.to_owned()));
            aside.iter().for_each(|aside| interrupt::growing(&aside.0));
            Ok(Self { writer, aside })
        })
    }

    /// Names the columns of a text, before any number; no names leave it without a header.
    ///
    /// # Errors
    /// As [`Writer::named`].
    pub fn named(self, names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Ok(self);
        }
        Ok(Self { writer: self.writer.named(names)?, aside: self.aside })
    }

    /// Writes words for some numbers of a text, as [`Writer::worded`].
    pub fn worded(self, words: Vec<Vec<(String, f64)>>) -> Self {
        Self { writer: self.writer.worded(words), aside: self.aside }
    }

    /// Appends numbers.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub fn push(&mut self, values: &[f64]) -> Result<()> {
        Ok(self.writer.push(values)?)
    }

    /// Gives the file its name. Call it inside a [`critical_section`].
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn finish(self) -> Result<()> {
        let Self { writer, aside } = self;
        writer.finish()?;
        drop(aside);
        Ok(())
    }
}

/// Writes images of one shape, as u8.
///
/// # Errors
/// As [`Writer::images`].
pub fn images(path: &Path, values: &[f64], shape: ImageShape) -> Result<()> {
    if is_stream(path) {
        return streamed(path, values, shape.len());
    }
    let mut writer = Writer::images(path, shape)?;
    writer.push(values)?;
    Ok(writer.finish()?)
}

fn streamed(path: &Path, values: &[f64], cols: usize) -> Result<()> {
    let mut writer = stream(path, cols)?;
    writer.push(values)?;
    Ok(writer.finish()?)
}

/// Writes a vector `[n]`.
///
/// # Errors
/// As [`io::write`].
pub fn vector(path: &Path, values: &[f64]) -> Result<()> {
    if is_stream(path) {
        return streamed(path, values, 1);
    }
    Ok(io::write(path, &Array::vector(values.to_vec(), Dtype::F64))?)
}

/// Writes a table `[n, cols]`.
///
/// # Errors
/// As [`io::write`].
pub fn table(path: &Path, values: &[f64], cols: usize) -> Result<()> {
    if is_stream(path) {
        return streamed(path, values, cols);
    }
    Ok(io::write(path, &Array::table(values.to_vec(), cols, Dtype::F64)?)?)
}
