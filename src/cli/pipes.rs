//! Tables that come through a pipe: stdin (`-`), a FIFO, what a shell puts in place of `<(…)`.
//!
//! They are copied into a temporary file first, in the folder of `TMPDIR`, whose room is the only limit: a training looks
//! at its table twice, and archives and Parquet are read from their ends. What the bytes are decides how the copy ends,
//! for a pipe has no ending. To stream texts past the disk was refused: a header, a number of rows, and two reads of one
//! table would each need an exception.

use std::fs::File;
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use cnflow::Error;
use cnflow::io::Format;
use cnflow::train::Job;
use flate2::read::MultiGzDecoder;
use tempfile::TempPath;

use super::interrupt::{self, critical_section};

/// What stands for stdin, and for stdout.
pub const STDIN: &str = "-";
/// Bytes that show what a pipe holds.
const HEAD: u64 = 1 << 16;

/// The pipes of a command, as they were copied.
#[derive(Debug, Default)]
pub struct Pipes(Mutex<Vec<Copied>>);

#[derive(Debug)]
struct Copied {
    /// As the user named it.
    name: PathBuf,
    /// Removed with this.
    file: TempPath,
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        interrupt::given_up(&self.file);
    }
}

impl Pipes {
    /// Puts the copy of a pipe in the place of its name; other names stay.
    ///
    /// # Errors
    /// [`Error::Read`] where stdin is a terminal, a pipe is empty, or the disk has no room; [`Error::Invalid`] for a
    /// pipe that is named twice.
    pub fn take(&self, path: &mut PathBuf) -> Result<()> {
        if !is_pipe(path) {
            return Ok(());
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = std::mem::take(path);
        if all.iter().any(|copied| copied.name == name) {
            let problem = format!("{} is named twice, and a pipe can be read once", shown(&name));
            return Err(Error::invalid(problem, "save one of the tables in a file").into());
        }
        let file = copy(&name)?;
        *path = file.to_path_buf();
        all.push(Copied { name, file });
        Ok(())
    }

    /// As [`Pipes::take`], of what may be a name.
    ///
    /// # Errors
    /// As [`Pipes::take`].
    pub fn take_text(&self, text: &mut String) -> Result<()> {
        let mut path = PathBuf::from(&*text);
        self.take(&mut path)?;
        *text = path.to_string_lossy().into_owned();
        Ok(())
    }

    /// A job that reads the copy where its data come through a pipe.
    ///
    /// # Errors
    /// As [`Pipes::take`].
    pub fn job(&self, job: &Job) -> Result<Job> {
        let mut job = job.clone();
        self.take_text(&mut job.data.source)?;
        Ok(job)
    }

    /// Words with the names of pipes in place of their copies.
    pub fn named(&self, words: &str) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().fold(words.to_owned(), |words, copied| {
            words.replace(&copied.file.display().to_string(), &shown(&copied.name))
        })
    }
}

/// A pipe in words.
fn shown(name: &Path) -> String {
    if name == Path::new(STDIN) { "stdin".into() } else { name.display().to_string() }
}

/// Whether a name stands for what can be read once: stdin, or what is neither a file nor a folder.
pub fn is_pipe(path: &Path) -> bool {
    path == Path::new(STDIN)
        || std::fs::metadata(path).is_ok_and(|about| {
            // What a shell opened, whatever it is.
            let open = ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|open| path.starts_with(open));
            !about.is_dir() && (!about.is_file() || open)
        })
}

/// Copies what a pipe holds into a temporary file, which ends as its format is named.
fn copy(name: &Path) -> Result<TempPath> {
    let failed = |e: std::io::Error| Error::read(Path::new(&shown(name)), e.to_string(), "");
    let mut source: Box<dyn Read> = if name == Path::new(STDIN) {
        if std::io::stdin().is_terminal() {
            let hint = "pipe a table into the command, such as `cat x.csv | cnf data -`, or name a file";
            return Err(Error::read(Path::new("stdin"), "it is a terminal", hint).into());
        }
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(name).map_err(failed)?)
    };
    let mut head = Vec::new();
    source.by_ref().take(HEAD).read_to_end(&mut head).map_err(failed)?;
    if head.is_empty() {
        let hint = "check the command that writes into it";
        return Err(Error::read(Path::new(&shown(name)), "it is empty", hint).into());
    }
    let (own, folder) = (Format::of(name).and_then(|_| name.file_name()), std::env::temp_dir());
    let ending = own.map_or_else(|| ending(&head).to_owned(), |own| format!("-{}", own.to_string_lossy()));
    let unwritten = |e: std::io::Error| {
        let problem = format!("it cannot be copied into `{}`: {e}", folder.display());
        let hint = "set TMPDIR to a folder with more room, or save the table in a file";
        Error::read(Path::new(&shown(name)), problem, hint)
    };
    let mut file = critical_section(|| {
        let file = tempfile::Builder::new().prefix("cnf-").suffix(&ending).tempfile_in(&folder)?;
        interrupt::ours(file.path());
        Ok(file)
    })
    .map_err(unwritten)?;
    file.write_all(&head).map_err(unwritten)?;
    let mut buffer = vec![0; HEAD as usize];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => file.write_all(&buffer[..count]).map_err(unwritten)?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e).into()),
        }
    }
    file.flush().map_err(unwritten)?;
    Ok(file.into_temp_path())
}

/// How a file is called that begins so: text, unless it is surely something else.
fn ending(head: &[u8]) -> &'static str {
    let mut unpacked = Vec::new();
    if head.starts_with(b"\x1f\x8b") {
        // The head of what is packed is cut short.
        let _ = MultiGzDecoder::new(head).take(64).read_to_end(&mut unpacked);
    }
    let first = if unpacked.is_empty() { head } else { &unpacked[..] };
    match first {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => "-stdin.npy",
        [b'P', b'K', 3, 4, ..] => "-stdin.npz",
        [b'P', b'A', b'R', b'1', 0x15, ..] => "-stdin.parquet",
        [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] => "-stdin.arrow",
        [0, 0, 8, 1..=4, ..] => "-stdin-idx3-ubyte",
        // The length of its header, and that.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => "-stdin.safetensors",
        _ => "-stdin.csv",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide_what_a_pipe_holds() {
        let packed = |bytes: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        for (bytes, wanted) in [
            (&b"\x93NUMPY\x01\x00"[..], "-stdin.npy"),
            (b"PK\x03\x04", "-stdin.npz"),
            (b"PAR1\x15\x04", "-stdin.parquet"),
            (b"ARROW1\0\0\xff\xff\xff\xff", "-stdin.arrow"),
            (b"PAR1,b\n1,2\n", "-stdin.csv"),
            (b"\0\0\x08\x03\0\0\0\x02", "-stdin-idx3-ubyte"),
            (b"a,b\n1,2\n", "-stdin.csv"),
            (b"1", "-stdin.csv"),
        ] {
            assert_eq!(ending(bytes), wanted);
            if !bytes.starts_with(b"PK") {
                assert_eq!(ending(&packed(bytes)), wanted);
            }
        }
    }

    #[test]
    fn files_and_folders_are_no_pipes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.csv"), "1\n").unwrap();
        assert!(is_pipe(Path::new("-")));
        for path in [folder.path().join("x.csv"), folder.path().to_owned(), folder.path().join("absent.csv")] {
            assert!(!is_pipe(&path), "{}", path.display());
        }
        #[cfg(unix)]
        assert!(is_pipe(Path::new("/dev/null")));
    }
}
